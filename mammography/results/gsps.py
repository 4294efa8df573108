"""The presentation states: one GSPS for each image that was read (PS3.3 A.33.1), which draws its marks.

A presentation state replaces the image's whole pipeline, so the window and function or the LUT through which the
image is shown is kept, MONOCHROME1 becomes INVERSE, and nothing is flipped or turned: hanging belongs to the viewer.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from mammography.coordinates import ImagePoint
from mammography.finding import Assessment, FindingAssessment
from mammography.results.composed import GRAYSCALE_PRESENTATION_STATE, ComposedObject, finished
from mammography.results.content import flat
from mammography.results.image_library import side_of, spacing_of_entry
from mammography.results.labels import Box, label_box, notice_box
from mammography.results.marks import AnsweredImage, Mark
from mammography.results.source import (
    add_creation,
    add_equipment,
    identity_of,
    local_date_and_time,
    plain,
    reference_to,
    required,
    series_description,
)
from mammography.uid import UidRole, mint
from mammography.view import Laterality

SERIES_NUMBERS: dict[Laterality | None, int] = {Laterality.RIGHT: 9902, Laterality.LEFT: 9903, None: 9904}
"""Of the first revision's presentation states, a series for each side; each revision adds ten."""
CONTENT_LABEL = "MAMMOCALC"
CONTENT_CREATOR = "Mammocalc^Reader"
TECHNICAL = "TECHNICAL"


class Layer(NamedTuple):
    """A graphic layer (PS3.3 C.10.7): name, description, and the colour that viewers are recommended (CIELab)."""

    name: str
    description: str
    cielab: tuple[int, int, int]


LAYERS: tuple[Layer, ...] = (
    Layer("CALC_BENIGN", "Benign calcifications, marked by Mammocalc", (53_739, 21_000, 26_000)),
    Layer("CALC_SUSPICIOUS", "Suspicious calcifications, marked by Mammocalc", (43_253, 47_000, 50_000)),
    Layer(TECHNICAL, "What Mammocalc is and how much it marked", (52_428, 32_896, 32_896)),
)
"""In drawing order: later layers lie on top (Graphic Layer Order (0070,0062))."""


def layer_of(assessment: FindingAssessment) -> str:
    """Return the layer on which a finding is drawn."""
    return "CALC_SUSPICIOUS" if assessment is FindingAssessment.SUSPICIOUS else "CALC_BENIGN"


def compose_gsps(
    image: AnsweredImage, assessment: Assessment, *, study_instance_uid: str, revision: int, number: int
) -> ComposedObject:
    """Return the presentation state of one image; `number` is its Instance Number, from 1."""
    header, reader = image.header, assessment.reader
    side = _single_side(header)
    identity = (study_instance_uid, str(revision), reader.weights_sha256)
    dataset = identity_of(header)
    dataset.SOPClassUID = GRAYSCALE_PRESENTATION_STATE
    dataset.SOPInstanceUID = mint(UidRole.GSPS, *identity, image.reading.sop_instance_uid)
    dataset.SeriesInstanceUID = mint(UidRole.GSPS_SERIES, *identity, side or "")
    dataset.Modality = "PR"
    dataset.SeriesNumber = SERIES_NUMBERS[side] + 10 * (revision - 1)
    dataset.SeriesDescription = series_description(f"Mammocalc marks {side or ''}".rstrip(), revision)
    dataset.Laterality = side or ""
    dataset.InstanceNumber = number
    add_equipment(dataset, reader)
    date, time = local_date_and_time(assessment.read_at, header)
    add_creation(dataset, date, time)
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = date, time
    dataset.ContentLabel = CONTENT_LABEL
    later = f"Revision {revision}, m" if revision > 1 else "M"
    marked_by = plain(f"{later}arked by {reader.name} {reader.version}")
    dataset.ContentDescription = marked_by.replace("\\", "/")[:64]
    dataset.ContentCreatorName = CONTENT_CREATOR
    _add_relationship(dataset, header)
    _add_display(dataset, header)
    _add_annotations(dataset, image, notice_text(image, revision))
    return finished("gsps", dataset)


def _single_side(header: Dataset) -> Laterality | None:
    """Return right or left; Laterality (0020,0060) knows no other value."""
    side = side_of(header)
    return None if side is Laterality.BOTH else side


def _add_relationship(dataset: Dataset, header: Dataset) -> None:
    """Name the image (Presentation State Relationship, PS3.3 C.11.11)."""
    series = Dataset()
    series.SeriesInstanceUID = required(header, "SeriesInstanceUID")
    series.ReferencedImageSequence = [reference_to(header)]
    dataset.ReferencedSeriesSequence = [series]


def _add_display(dataset: Dataset, header: Dataset) -> None:
    """Show the whole image through its own LUTs (PS3.3 C.10.4, C.11.1, C.11.6, C.11.8)."""
    area = Dataset()
    area.ReferencedImageSequence = [reference_to(header)]
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [int(header.Columns), int(header.Rows)]
    area.PresentationSizeMode = "SCALE TO FIT"
    vertical, horizontal = spacing_of_entry(header) or (1.0, 1.0)
    square = abs(vertical - horizontal) < 1e-6
    area.PresentationPixelAspectRatio = (
        [1, 1] if square else [round(10_000 * vertical), round(10_000 * horizontal)]
    )
    dataset.DisplayedAreaSelectionSequence = [area]
    if header.get("ModalityLUTSequence"):
        dataset.ModalityLUTSequence = [_lut(item) for item in header.ModalityLUTSequence]
    elif header.get("RescaleSlope") is not None:
        dataset.RescaleIntercept = header.get("RescaleIntercept", 0)
        dataset.RescaleSlope = header.RescaleSlope
        dataset.RescaleType = header.get("RescaleType") or "US"
    voi = voi_of(header)
    if voi is not None:
        voi.ReferencedImageSequence = [reference_to(header)]
        dataset.SoftcopyVOILUTSequence = [voi]
    inverted = header.PhotometricInterpretation == "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"


def voi_of(header: Dataset) -> Dataset | None:
    """Return the VOI through which an image is shown first: its first LUT, else its first window; None without one.

    A presentation state is one way of showing an image, so that further windows, which a person may choose on the
    image itself, have no place in it: dcmtk refuses several windows, and a window beside a LUT.
    """
    voi = Dataset()
    if header.get("VOILUTSequence"):
        voi.VOILUTSequence = [_voi_lut(header.VOILUTSequence[0])]
        return voi
    if header.get("WindowCenter") is None or header.get("WindowWidth") is None:
        return None
    for keyword in ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation"):
        values = header.get(keyword)
        if values is not None and values != "":
            setattr(voi, keyword, values[0] if isinstance(values, MultiValue) else values)
    if header.get("VOILUTFunction"):
        voi.VOILUTFunction = str(header.VOILUTFunction)
    return voi


def _voi_lut(item: Dataset) -> Dataset:
    """Return a VOI LUT with entries of 8 or 16 bits, which is what a presentation state may have (PS3.3 C.11.8).

    A mammogram's may have 10 to 16 (C.8.11.3): those are stretched to 16, which shows the same, because the range
    of the entries' bits is the range of the display.
    """
    lut = _lut(item)
    bits = lut.LUTDescriptor[2]
    if bits not in {8, 16}:
        entries = lut_entries(item).astype(np.uint32)
        stretched = (entries * 65_535 + (1 << bits >> 1)) // ((1 << bits) - 1)
        lut.LUTDescriptor = [*lut.LUTDescriptor[:2], 16]
        lut.add_new("LUTData", "OW", np.minimum(stretched, 65_535).astype("<u2").tobytes())
    return lut


def lut_entries(item: Dataset) -> NDArray[np.uint16]:
    """Return the entries of a LUT, whichever representation its data has: 16 bit words in bytes, or numbers."""
    data = item.LUTData
    return np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.array(data, np.uint16)


def _lut(item: Dataset) -> Dataset:
    """Return one LUT item (PS3.3 C.11.1, C.11.2); its descriptor is signed where it starts below zero."""
    lut = Dataset()
    descriptor = [int(number) for number in item.LUTDescriptor]
    lut.add_new("LUTDescriptor", "SS" if min(descriptor) < 0 else "US", descriptor)
    for keyword in ("LUTExplanation", "ModalityLUTType"):
        if item.get(keyword):
            setattr(lut, keyword, str(item[keyword].value))
    lut.add_new("LUTData", "OW", lut_entries(item).astype("<u2").tobytes())
    return lut


def _add_annotations(dataset: Dataset, image: AnsweredImage, words: str) -> None:
    """Draw every mark with its label on its layer, and say on the technical layer how much is marked."""
    annotations = [
        _annotation(image, layer.name, marks)
        for layer in LAYERS
        if (marks := [mark for mark in image.marks if layer_of(mark.finding.assessment) == layer.name])
    ]
    notice = Dataset()
    notice.ReferencedImageSequence = [reference_to(image.header)]
    notice.GraphicLayer = TECHNICAL
    notice.TextObjectSequence = [_text(words, notice_box(image, words))]
    dataset.GraphicAnnotationSequence = [*annotations, notice]
    dataset.GraphicLayerSequence = list(_layers())


def notice_text(image: AnsweredImage, revision: int) -> str:
    """Return the words of the technical layer: how much is marked, and which revision it is if not the first."""
    calls = [mark.finding.assessment for mark in image.marks]
    parts = [f"{calls.count(call)} {call}" for call in reversed(list(FindingAssessment)) if call in calls]
    later = f", revision {revision}" if revision > 1 else ""
    return f"Mammocalc: {', '.join(parts) or 'no calcifications'} marked{later}"


def _annotation(image: AnsweredImage, layer: str, marks: Sequence[Mark]) -> Dataset:
    """Return the marks of one layer (Graphic Annotation, PS3.3 C.10.5)."""
    annotation = Dataset()
    annotation.ReferencedImageSequence = [reference_to(image.header)]
    annotation.GraphicLayer = layer
    annotation.TextObjectSequence = [_text(mark.label, label_box(image, mark)) for mark in marks]
    annotation.GraphicObjectSequence = [_graphic(mark) for mark in marks]
    return annotation


def _graphic(mark: Mark) -> Dataset:
    """Return one closed outline, which carries the tracking UID of the report's finding."""
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.TrackingID = mark.tracking_identifier
    graphic.TrackingUID = mark.tracking_uid
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(mark.outline)
    graphic.GraphicData = flat(mark.outline)
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    return graphic


def _text(words: str, box: Box) -> Dataset:
    """Return a text in its box on the image."""
    text = Dataset()
    text.BoundingBoxAnnotationUnits = "PIXEL"
    text.UnformattedTextValue = words
    text.BoundingBoxTopLeftHandCorner = flat([ImagePoint(box.left, box.top)])
    text.BoundingBoxBottomRightHandCorner = flat([ImagePoint(box.right, box.bottom)])
    text.BoundingBoxTextHorizontalJustification = "LEFT"
    return text


def _layers() -> Iterator[Dataset]:
    """Yield the graphic layers, all three, so that every image offers the same switches (PS3.3 C.10.7)."""
    for order, layer in enumerate(LAYERS, start=1):
        item = Dataset()
        item.GraphicLayer = layer.name
        item.GraphicLayerOrder = order
        item.GraphicLayerRecommendedDisplayGrayscaleValue = 65_535
        item.GraphicLayerDescription = layer.description
        item.GraphicLayerRecommendedDisplayCIELabValue = list(layer.cielab)
        yield item
