"""A tree of SR content items, and its encoding (PS3.3 C.17.3), by-reference items included.

highdicom knows no by-reference items, which TID 4000 requires; the tree is therefore our own. So is its encoding
(PS3.5 7.1, 7.5: explicit VR little endian, explicit lengths): a study with hundreds of calcifications has ten
thousand data sets in its tree, which pydicom builds and writes in seconds, and this module in hundredths of one.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import assert_never

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from mammography.coordinates import ImagePoint
from mammography.results.codes import Code, in_scheme
from mammography.results.composed import InvalidResult
from mammography.results.options import Scheme


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


def document_content(root: Item, template: str, scheme: Scheme = "SCT") -> Dataset:
    """Return the attributes of the SR Document Content module for a tree (PS3.3 C.17.3).

    `template` is the identifier of the root template in PS3.16, such as "4000". The finished tree is numbered in
    one pass; only then are by-reference items written, so that none can point at a wrong place. `scheme` says in
    which codes anatomy, findings and properties stand.
    """
    positions: dict[int, tuple[int, ...]] = {}
    _number(root, (1,), positions)
    identification = (
        _string("MappingResource", "CS", "DCMR"),
        _string("MappingResourceUID", "UI", "1.2.840.10008.8.1.1"),
        _string("TemplateIdentifier", "CS", template),
    )
    dataset = Dataset()
    for tag, content in (
        *_encoded(root, positions, scheme),
        _sequence("ContentTemplateSequence", [identification]),
    ):
        vr = content[4:6].decode()
        value = content[12 if vr in _LONG else 8 :]
        dataset[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    return dataset


def _number(item: Item | Reference, position: tuple[int, ...], positions: dict[int, tuple[int, ...]]) -> None:
    """Remember where each item stands: 1 for the root, then 1-based places among children (PS3.3 C.17.3.2.5)."""
    if isinstance(item, Reference):
        return
    positions[id(item)] = position
    for place, child in enumerate(item.children, start=1):
        _number(child, (*position, place), positions)


Element = tuple[int, bytes]
"""One data element: its tag, and all its bytes."""
_LONG = frozenset({"SQ", "UT"})
"""Value representations whose length takes four bytes, those that we write (PS3.5 7.1.2)."""
_WORDS: dict[WordType, tuple[str, str]] = {
    WordType.TEXT: ("TextValue", "UT"),
    WordType.DATE: ("Date", "DA"),
    WordType.TIME: ("Time", "TM"),
    WordType.UIDREF: ("UID", "UI"),
}
"""The attribute and the VR that hold the value of each value type (PS3.3 C.17.3)."""


@cache
def _head(keyword: str, vr: str) -> tuple[int, bytes]:
    """Return an attribute's tag, and its bytes up to the length."""
    tag = int(Tag(keyword))
    reserved = b"\0\0" if vr in _LONG else b""
    return tag, struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode()) + reserved


def _element(keyword: str, vr: str, value: bytes) -> Element:
    """Return one data element.

    Raises:
        InvalidResult: if the value is too long for the length field of its VR.
    """
    if vr not in _LONG and len(value) > 0xFFFF:
        raise InvalidResult([f"{keyword} of {len(value)} bytes is too long for a report."])
    tag, head = _head(keyword, vr)
    return tag, head + struct.pack("<I" if vr in _LONG else "<H", len(value)) + value


def _string(keyword: str, vr: str, text: str) -> Element:
    """Return a data element that holds ASCII text, padded to even length (PS3.5 6.2)."""
    value = text.encode("ascii", "replace")
    padding = b"\0" if vr == "UI" else b" "
    return _element(keyword, vr, value + padding * (len(value) % 2))


def _sequence(keyword: str, items: Iterable[Iterable[Element]]) -> Element:
    """Return a sequence of items, the data elements of each in the order of their tags (PS3.5 7.5)."""
    contents = [b"".join([content for _tag, content in sorted(elements)]) for elements in items]
    value = b"".join([struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content for content in contents])
    return _element(keyword, "SQ", value)


@cache
def _code(keyword: str, code: Code) -> Element:
    """Return a code sequence of one item (PS3.3 8.8)."""
    value, scheme, meaning = code
    words = (
        _string("CodeValue", "SH", value),
        _string("CodingSchemeDesignator", "SH", scheme),
        _string("CodeMeaning", "LO", meaning),
    )
    return _sequence(keyword, [words])


def _encoded(
    item: Item | Reference, positions: dict[int, tuple[int, ...]], scheme: Scheme
) -> Iterator[Element]:
    """Yield the data elements of one item, all below it among them."""
    if item.relationship is not None:
        yield _string("RelationshipType", "CS", item.relationship)
    if isinstance(item, Reference):
        place = positions[id(item.target)]
        yield _element("ReferencedContentItemIdentifier", "UL", struct.pack(f"<{len(place)}I", *place))
        return
    if item.concept is not None:
        yield _code("ConceptNameCodeSequence", in_scheme(item.concept, scheme))
    yield from _value(item.value, scheme)
    if item.children:
        yield _sequence("ContentSequence", [_encoded(child, positions, scheme) for child in item.children])


def _value(value: Value, scheme: Scheme) -> Iterator[Element]:
    """Yield the value type and the value."""
    match value:
        case Code():
            yield _string("ValueType", "CS", "CODE")
            yield _code("ConceptCodeSequence", in_scheme(value, scheme))
        case Words():
            keyword, vr = _WORDS[value.value_type]
            yield _string("ValueType", "CS", value.value_type)
            yield _string(keyword, vr, value.text)
        case Quantity():
            number = _string("NumericValue", "DS", f"{value.number:.6g}")
            unit = _code("MeasurementUnitsCodeSequence", value.unit)
            yield _string("ValueType", "CS", "NUM")
            yield _sequence("MeasuredValueSequence", [(number, unit)])
        case ImageReference():
            sop_class = _string("ReferencedSOPClassUID", "UI", value.sop_class_uid)
            instance = _string("ReferencedSOPInstanceUID", "UI", value.sop_instance_uid)
            yield _string("ValueType", "CS", "IMAGE")
            yield _sequence("ReferencedSOPSequence", [(sop_class, instance)])
        case Graphic():
            numbers = flat(value.points)
            yield _string("ValueType", "CS", "SCOORD")
            yield _string("GraphicType", "CS", value.graphic_type)
            yield _element("GraphicData", "FL", struct.pack(f"<{len(numbers)}f", *numbers))
        case Section():
            yield _string("ValueType", "CS", "CONTAINER")
            yield _string("ContinuityOfContent", "CS", "SEPARATE")
        case _:
            assert_never(value)
