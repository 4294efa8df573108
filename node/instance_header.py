"""What the ledger remembers of an instance, read from the first elements of hostile bytes."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO, cast

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from mammography.completeness import MAMMOGRAM_CLASSES
from mammography.uid import lawful
from mammography.view import View, view_of
from node.arrival import HEAD_BYTES, DataSet
from node.dimse_status import InstanceRefused
from node.header_scan import scan

MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,  # RecursionError is one: sequences within sequences
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises when it is given bytes that follow no rule."""

LONGEST_HEADER = 1 << 20
"""How many bytes of elements are parsed, so that a million empty items cannot fill the memory; bytes of elements
that nobody asks for are skipped and cost nothing."""
_LONGEST_INFLATED = 16 << 20
"""How much of a deflated data set is inflated: a few kilobytes may hold gigabytes."""

_LAST_OF_A_MAMMOGRAM = 0x00540220
"""View Code Sequence, the highest tag that we ask for."""
_LAST_OF_OTHERS = 0x0020000E
"""Series Instance UID: of an object that is no mammogram we ask for no more."""

_VIEW = ("ImageLaterality", "Laterality", "ViewCodeSequence", "ViewPosition")
_LONGEST_VIEW = 1024
_ESCAPE = b"\x1b"
"""Begins another character set within a text (ISO 2022)."""

_TAG_OF = {
    keyword: Tag(keyword)
    for keyword in (
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyDate",
        "AccessionNumber",
        "Modality",
        "PresentationIntentType",
        "ViewPosition",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Laterality",
        "ImageLaterality",
        "ViewCodeSequence",
    )
}
_TAGS = frozenset(map(int, _TAG_OF.values()))

Elements = Mapping[BaseTag, DataElement | RawDataElement]
"""Elements of a header that was simple to read, by tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeader:
    """The identifying attributes of an instance, as text; what it does not state is empty."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    study_date: str
    accession_number: str
    presentation_intent: str
    laterality: str
    view_position: str
    view_modifiers: str
    """ViewModifier values, sorted, joined by a comma."""


def read_instance_header(
    data_set: BinaryIO | DataSet, *, transfer_syntax_uid: str, sop_class_uid: str
) -> InstanceHeader:
    """Read the header of an encoded data set, from where the file stands and without its pixels.

    Raises:
        InstanceRefused: if it cannot be parsed, or lacks a lawful Study or Series Instance UID.
    """
    last = _LAST_OF_A_MAMMOGRAM if sop_class_uid in MAMMOGRAM_CLASSES else _LAST_OF_OTHERS
    try:
        header = _described(_parse(data_set, transfer_syntax_uid, last))
    except MALFORMED as failure:
        if _by_recursion(failure):
            raise InstanceRefused("The data set nests sequences too deeply.") from failure
        raise InstanceRefused("The data set cannot be parsed.") from failure
    for name, uid in (
        ("SOP Instance UID", header.sop_instance_uid),
        ("Study Instance UID", header.study_instance_uid),
        ("Series Instance UID", header.series_instance_uid),
    ):
        if not uid:
            raise InstanceRefused(f"The data set has no {name}.")
        if not lawful(uid):
            raise InstanceRefused(f"The data set has an unlawful {name}.")
    return header


def _by_recursion(failure: BaseException | None) -> bool:
    """Whether a failure began as a RecursionError; the library turns some into others."""
    while failure is not None and not isinstance(failure, RecursionError):
        failure = failure.__cause__ or failure.__context__
    return failure is not None


def _parse(data_set: BinaryIO | DataSet, transfer_syntax_uid: str, last: int) -> Dataset | Elements:
    """Return the elements that we ask for, up to the tag `last`; as they were encoded where all are plain."""
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        data_set = BytesIO(
            zlib.decompressobj(-zlib.MAX_WBITS).decompress(
                data_set.read(_LONGEST_INFLATED), _LONGEST_INFLATED
            )
        )
    elif transfer_syntax_uid != ExplicitVRBigEndian:
        begin, head = data_set.tell(), data_set.read(HEAD_BYTES)
        data_set.seek(begin)
        implicit = transfer_syntax_uid == ImplicitVRLittleEndian
        simple = scan(head, implicit=implicit, last=last, wanted=_TAGS)
        if simple is not None and _is_plain(simple):
            return simple
    return read_dataset(
        cast(BinaryIO, _Rationed(data_set, LONGEST_HEADER)),
        is_implicit_VR=transfer_syntax_uid == ImplicitVRLittleEndian,
        is_little_endian=transfer_syntax_uid != ExplicitVRBigEndian,
        stop_when=lambda tag, _vr, _length: tag > last,
        defer_size=LONGEST_HEADER,
        specific_tags=list(_TAGS),
    )


def _is_plain(elements: Elements) -> bool:
    """Return whether no text depends on a character set; codes are within a sequence."""
    return all(
        element.value is not None and element.value.isascii() and _ESCAPE not in element.value
        for tag, element in elements.items()
        if tag != _LAST_OF_A_MAMMOGRAM
    )


def _described(header: Dataset | Elements) -> InstanceHeader:
    """Return the header as text; every conversion that may fail happens here."""
    view = _view(header)
    return InstanceHeader(
        sop_class_uid=_text(header, "SOPClassUID"),
        sop_instance_uid=_text(header, "SOPInstanceUID"),
        study_instance_uid=_text(header, "StudyInstanceUID"),
        series_instance_uid=_text(header, "SeriesInstanceUID"),
        modality=_text(header, "Modality"),
        study_date=_text(header, "StudyDate"),
        accession_number=_text(header, "AccessionNumber"),
        presentation_intent=_text(header, "PresentationIntentType"),
        laterality=view.laterality if view else "",
        view_position=view.position if view else "",
        view_modifiers=",".join(sorted(view.modifiers)) if view else "",
    )


def _raw(header: Dataset | Elements, keyword: str) -> object:
    """Return an element as it was encoded, where it still is."""
    tag = _TAG_OF[keyword]
    return header.get_item(tag) if isinstance(header, Dataset) else header.get(tag)


def _view(header: Dataset | Elements) -> View | None:
    """Return the view of a header; a modality writes the same few elements into every image of a view."""
    elements: list[object] = [_raw(header, keyword) for keyword in _VIEW]
    plain = tuple(
        element
        for element in elements
        if isinstance(element, RawDataElement) and element.length < _LONGEST_VIEW
    )
    if len(plain) < len(elements) - elements.count(None):
        return view_of(header if isinstance(header, Dataset) else Dataset(dict(header)))
    return _view_of_elements(plain)


@lru_cache(maxsize=1024)
def _view_of_elements(elements: tuple[RawDataElement, ...]) -> View | None:
    return view_of(Dataset({element.tag: element for element in elements}))


def _text(header: Dataset | Elements, keyword: str) -> str:
    """Return an attribute's value in printable characters; of several values the text as it was joined.

    ASCII without an escape means the same in every character set that a data set may name (PS3.5 6.1.2.5.3).
    """
    raw = _raw(header, keyword)
    encoded = raw.value if isinstance(raw, RawDataElement) else None
    if encoded and encoded.isascii() and _ESCAPE not in encoded:
        return _printable(encoded.decode("ascii"))
    value = header.get(keyword) if isinstance(header, Dataset) else None
    if value is None:
        return ""
    joined = value if isinstance(value, str) else "\\".join(str(one) for one in value)
    return _printable(joined)


def _printable(text: str) -> str:
    """Return text without control characters, and without the spaces or the NUL that pad it."""
    text = text.strip(" \0")
    if not text.isprintable():
        text = "".join(letter for letter in text if letter.isprintable())
    return text.strip()


class _Rationed:
    """A file that ends after a number of bytes read; skipping is free."""

    def __init__(self, file: BinaryIO | DataSet, ration: int) -> None:
        self._file, self._left = file, ration

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, and no more than are left."""
        piece = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as in the file itself."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place, as in the file itself."""
        return self._file.tell()
