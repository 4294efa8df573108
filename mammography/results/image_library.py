"""The Image Library of the report: every image with its view, orientation, time and size (PS3.16 TID 4020)."""

import re
from collections.abc import Iterator

from pydicom.dataset import Dataset

from mammography.results import codes
from mammography.results.codes import Code
from mammography.results.content import (
    ImageReference,
    Item,
    Quantity,
    Relationship,
    Value,
    Words,
    WordType,
)
from mammography.results.marks import AnsweredImage
from mammography.results.source import numbers_of, required, value_of
from mammography.view import Laterality

_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?")
_DATES_AND_TIMES = (
    ("StudyDate", codes.STUDY_DATE, WordType.DATE),
    ("StudyTime", codes.STUDY_TIME, WordType.TIME),
    ("ContentDate", codes.CONTENT_DATE, WordType.DATE),
    ("ContentTime", codes.CONTENT_TIME, WordType.TIME),
)


def library_entry(image: AnsweredImage) -> Item:
    """Return one image with what its header states; what it does not state is left out, never guessed."""
    header = image.header
    return Item(
        relationship=Relationship.CONTAINS,
        concept=None,
        value=ImageReference(
            sop_class_uid=required(header, "SOPClassUID"),
            sop_instance_uid=required(header, "SOPInstanceUID"),
        ),
        children=(
            *_side(header),
            *_view(image),
            *_orientation(header),
            *_dates_and_times(header),
            *_spacing(header),
            *_size(header),
        ),
    )


def side_of(header: Dataset) -> Laterality | None:
    """Return Image Laterality (0020,0062), or Laterality (0020,0060) of older images, or None."""
    stated = str(value_of(header, "ImageLaterality") or value_of(header, "Laterality") or "")
    return Laterality(stated) if stated in set(Laterality) else None


def spacing_of_entry(header: Dataset) -> tuple[float, ...]:
    """Return (vertical, horizontal) pixel spacing in mm, at the detector plane where the image states it."""
    return numbers_of(header, "ImagerPixelSpacing", 2) or numbers_of(header, "PixelSpacing", 2)


def _context(concept: Code, value: Value, *modifiers: Item) -> Item:
    """Return one attribute of an image."""
    return Item(relationship=Relationship.HAS_ACQ_CONTEXT, concept=concept, value=value, children=modifiers)


def _side(header: Dataset) -> Iterator[Item]:
    """Say which breast."""
    side = side_of(header)
    if side is not None:
        yield _context(codes.IMAGE_LATERALITY, codes.SIDES[side])


def _view(image: AnsweredImage) -> Iterator[Item]:
    """Say which view, with its modifiers, in SNOMED CT whatever the header uses."""
    if image.reading.view is None:
        return
    stated = [
        str(modifier.get("CodeValue", ""))
        for view in value_of(image.header, "ViewCodeSequence") or []
        for modifier in view.get("ViewModifierCodeSequence") or []
    ]
    modifiers = [
        Item(
            relationship=Relationship.HAS_CONCEPT_MOD,
            concept=codes.IMAGE_VIEW_MODIFIER,
            value=codes.VIEW_MODIFIERS[value],
        )
        for value in stated
        if value in codes.VIEW_MODIFIERS
    ]
    yield _context(codes.IMAGE_VIEW, codes.VIEWS[image.reading.view.position], *modifiers)


def _orientation(header: Dataset) -> Iterator[Item]:
    """Say where rows and columns point (Patient Orientation (0020,0020))."""
    directions = value_of(header, "PatientOrientation") or ()
    if isinstance(directions, str) or len(directions) != 2:
        return
    for concept, direction in zip(
        (codes.PATIENT_ORIENTATION_ROW, codes.PATIENT_ORIENTATION_COLUMN), directions, strict=True
    ):
        if direction:
            yield _context(concept, Words(value_type=WordType.TEXT, text=str(direction)))


def _dates_and_times(header: Dataset) -> Iterator[Item]:
    """Say when, where the header holds lawful DA and TM values."""
    for keyword, concept, value_type in _DATES_AND_TIMES:
        text = str(value_of(header, keyword) or "").strip()
        lawful = _DATE if value_type is WordType.DATE else _TIME
        if lawful.fullmatch(text):
            yield _context(concept, Words(value_type=value_type, text=text))


def _spacing(header: Dataset) -> Iterator[Item]:
    """Say the pixel spacing: the first value is between rows, thus vertical (PS3.3 10.7.1.3)."""
    spacing = spacing_of_entry(header)
    if spacing:
        vertical, horizontal = spacing
        yield _context(codes.HORIZONTAL_PIXEL_SPACING, Quantity(number=horizontal, unit=codes.MILLIMETER))
        yield _context(codes.VERTICAL_PIXEL_SPACING, Quantity(number=vertical, unit=codes.MILLIMETER))


def _size(header: Dataset) -> Iterator[Item]:
    """Say how many rows and columns."""
    for keyword, concept in (("Rows", codes.PIXEL_DATA_ROWS), ("Columns", codes.PIXEL_DATA_COLUMNS)):
        for number in numbers_of(header, keyword, 1):
            yield _context(concept, Quantity(number=number, unit=codes.PIXELS))
