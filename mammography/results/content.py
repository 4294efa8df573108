"""A tree of SR content items, and its encoding (PS3.3 C.17.3), by-reference items included.

highdicom knows no by-reference items, which TID 4000 requires; the tree is therefore our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.results.codes import Code


class Relationship(StrEnum):
    """Relationship Type (0040,A010) between an item and its parent."""

    CONTAINS = "CONTAINS"
    HAS_PROPERTIES = "HAS PROPERTIES"
    INFERRED_FROM = "INFERRED FROM"
    SELECTED_FROM = "SELECTED FROM"
    HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
    HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
    HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"


class WordType(StrEnum):
    """Value types whose value is one string."""

    TEXT = "TEXT"
    DATE = "DATE"
    TIME = "TIME"
    UIDREF = "UIDREF"


class GraphicType(StrEnum):
    """Graphic Type (0070,0023) of spatial coordinates, those that we write."""

    POINT = "POINT"
    POLYLINE = "POLYLINE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A value that is one string."""

    value_type: WordType
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with its UCUM unit; written with at most six significant digits (DS holds 16 characters)."""

    number: float
    unit: Code


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """A stored image, by its SOP class and instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphic:
    """Points on the referenced image's stored matrix (PS3.3 C.18.6)."""

    graphic_type: GraphicType
    points: tuple[ImagePoint, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A container: it has a name and children, but no value."""


Value = Code | Words | Quantity | ImageReference | Graphic | Section


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """One content item by value: how it belongs to its parent, its concept name, value and children."""

    relationship: Relationship | None
    concept: Code | None
    value: Value
    children: tuple["Item | Reference", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """A by-reference content item: it points at `target`, which stands elsewhere in the same tree."""

    relationship: Relationship
    target: Item


def code_dataset(code: Code) -> Dataset:
    """Return one item of a code sequence (PS3.3 8.8)."""
    dataset = Dataset()
    dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning = code
    return dataset


def flat(points: Sequence[ImagePoint]) -> list[float]:
    """Return Graphic Data: column, row, column, row and so on."""
    return [float(number) for point in points for number in point]


def document_content(root: Item, template: str) -> Dataset:
    """Return the attributes of the SR Document Content module for a tree (PS3.3 C.17.3).

    `template` is the identifier of the root template in PS3.16, such as "4000". The finished tree is numbered in
    one pass; only then are by-reference items written, so that none can point at a wrong place.
    """
    positions: dict[int, tuple[int, ...]] = {}
    _number(root, (1,), positions)
    dataset = _encoded(root, positions)
    identification = Dataset()
    identification.MappingResource = "DCMR"
    identification.MappingResourceUID = "1.2.840.10008.8.1.1"
    identification.TemplateIdentifier = template
    dataset.ContentTemplateSequence = [identification]
    return dataset


def _number(item: Item | Reference, position: tuple[int, ...], positions: dict[int, tuple[int, ...]]) -> None:
    """Remember where each item stands: 1 for the root, then 1-based places among children (PS3.3 C.17.3.2.5)."""
    if isinstance(item, Reference):
        return
    positions[id(item)] = position
    for place, child in enumerate(item.children, start=1):
        _number(child, (*position, place), positions)


def _encoded(item: Item | Reference, positions: dict[int, tuple[int, ...]]) -> Dataset:
    """Return one item with all below it."""
    dataset = Dataset()
    if item.relationship is not None:
        dataset.RelationshipType = item.relationship.value
    if isinstance(item, Reference):
        dataset.ReferencedContentItemIdentifier = list(positions[id(item.target)])
        return dataset
    if item.concept is not None:
        dataset.ConceptNameCodeSequence = [code_dataset(item.concept)]
    _set_value(dataset, item.value)
    if item.children:
        dataset.ContentSequence = [_encoded(child, positions) for child in item.children]
    return dataset


def _set_value(dataset: Dataset, value: Value) -> None:
    """Write the value type and the value."""
    match value:
        case Code():
            dataset.ValueType = "CODE"
            dataset.ConceptCodeSequence = [code_dataset(value)]
        case Words():
            _set_words(dataset, value)
        case Quantity():
            measured = Dataset()
            measured.NumericValue = f"{value.number:.6g}"
            measured.MeasurementUnitsCodeSequence = [code_dataset(value.unit)]
            dataset.ValueType = "NUM"
            dataset.MeasuredValueSequence = [measured]
        case ImageReference():
            reference = Dataset()
            reference.ReferencedSOPClassUID = value.sop_class_uid
            reference.ReferencedSOPInstanceUID = value.sop_instance_uid
            dataset.ValueType = "IMAGE"
            dataset.ReferencedSOPSequence = [reference]
        case Graphic():
            dataset.ValueType = "SCOORD"
            dataset.GraphicType = value.graphic_type.value
            dataset.GraphicData = flat(value.points)
        case Section():
            dataset.ValueType = "CONTAINER"
            dataset.ContinuityOfContent = "SEPARATE"
        case _:
            assert_never(value)


def _set_words(dataset: Dataset, words: Words) -> None:
    """Write a value that is one string, into the attribute of its value type."""
    dataset.ValueType = words.value_type.value
    match words.value_type:
        case WordType.TEXT:
            dataset.TextValue = words.text
        case WordType.DATE:
            dataset.Date = words.text
        case WordType.TIME:
            dataset.Time = words.text
        case WordType.UIDREF:
            dataset.UID = words.text
        case _:
            assert_never(words.value_type)
