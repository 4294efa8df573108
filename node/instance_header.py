"""What the ledger remembers of an instance, read from the first elements of hostile bytes."""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from typing import BinaryIO, cast

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from mammography.completeness import MAMMOGRAM_CLASSES
from mammography.uid import lawful
from mammography.view import View, view_of
from node.arrival import HEAD_BYTES, DataSet
from node.dimse_status import InstanceRefused
from node.header_scan import Element, scan
from node.header_walk import wanted_of

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

_DEFLATED = frozenset({DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
"""The whole data set is deflated: also where JPIP refers to its pixels (PS3.5 A.5, A.7, A.13)."""

_LAST_OF_A_MAMMOGRAM = 0x00540220
"""View Code Sequence, the highest tag that we ask for."""
_LAST_OF_OTHERS = 0x0020000E
"""Series Instance UID: of an object that is no mammogram we ask for no more."""

_LONGEST_VIEW = 1024
_ESCAPE = b"\x1b"
"""Begins another character set within a text (ISO 2022)."""

_TAG_OF = {
    keyword: int(Tag(keyword))
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
_REPRESENTATION_OF = {tag: dictionary_VR(tag) for tag in _TAG_OF.values()}
_UIDS = frozenset(keyword for keyword in _TAG_OF if keyword.endswith("UID"))
_TAGS = frozenset(_TAG_OF.values())
_VIEW = [
    _TAG_OF[keyword] for keyword in ("ImageLaterality", "Laterality", "ViewCodeSequence", "ViewPosition")
]

Elements = Mapping[int, Element]
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
        header = _parse(data_set, transfer_syntax_uid, last)
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


def _parse(data_set: BinaryIO | DataSet, transfer_syntax_uid: str, last: int) -> InstanceHeader:
    """Return the header from the elements up to the tag `last`."""
    if transfer_syntax_uid in _DEFLATED:
        data_set = BytesIO(
            zlib.decompressobj(-zlib.MAX_WBITS).decompress(
                data_set.read(_LONGEST_INFLATED), _LONGEST_INFLATED
            )
        )
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    little_endian = transfer_syntax_uid != ExplicitVRBigEndian
    begin = data_set.tell()
    if little_endian:
        simple = scan(data_set.read(HEAD_BYTES), implicit=implicit, last=last, wanted=_TAGS)
        data_set.seek(begin)
        if simple is not None and _is_plain(simple):
            return _described(_view_of_elements(simple), partial(_plain_text, simple))
    wanted = wanted_of(data_set, implicit=implicit, little_endian=little_endian, last=last, wanted=_TAGS)
    data_set.seek(begin)
    header = read_dataset(
        cast(BinaryIO, _Rationed(data_set, LONGEST_HEADER)) if wanted is None else BytesIO(wanted),
        is_implicit_VR=implicit,
        is_little_endian=little_endian,
        stop_when=lambda tag, _vr, _length: tag > last,
        defer_size=LONGEST_HEADER,
        specific_tags=list(_TAGS),
    )
    return _described(view_of(header), partial(_text, header))


def _is_plain(elements: Elements) -> bool:
    """Return whether every element is of the kind that the standard says, and no text depends on a character set; codes are within a sequence."""
    if not all(_is_as_expected(tag, element.representation) for tag, element in elements.items()):
        return False
    texts = b"".join([element.value for tag, element in elements.items() if tag != _LAST_OF_A_MAMMOGRAM])
    return texts.isascii() and _ESCAPE not in texts


def _is_as_expected(tag: int, representation: str | None) -> bool:
    """Return whether an element's value representation is that of its attribute, or not stated: of another kind its bytes say something else."""
    return representation is None or representation == _REPRESENTATION_OF[tag]


def _described(view: View | None, text: Callable[[str], str]) -> InstanceHeader:
    """Return the header as text, of which `text` gives each attribute; every conversion that may fail happens here."""
    return InstanceHeader(
        sop_class_uid=text("SOPClassUID"),
        sop_instance_uid=text("SOPInstanceUID"),
        study_instance_uid=text("StudyInstanceUID"),
        series_instance_uid=text("SeriesInstanceUID"),
        modality=text("Modality"),
        study_date=text("StudyDate"),
        accession_number=text("AccessionNumber"),
        presentation_intent=text("PresentationIntentType"),
        laterality=view.laterality if view else "",
        view_position=view.position if view else "",
        view_modifiers=",".join(sorted(view.modifiers)) if view else "",
    )


def _view_of_elements(elements: Elements) -> View | None:
    """Return the view of a header; a modality writes the same few elements into every image of a view."""
    stating = tuple([(tag, elements[tag]) for tag in _VIEW if tag in elements])
    if any(len(element.value) > _LONGEST_VIEW for _, element in stating):
        return _view_stated_by(stating)
    return _view_often_stated_by(stating)


def _view_stated_by(elements: tuple[tuple[int, Element], ...]) -> View | None:
    return view_of(
        Dataset(
            {
                BaseTag(tag): RawDataElement(
                    BaseTag(tag), representation, len(value), value, 0, representation is None, True
                )
                for tag, (representation, value) in elements
            }
        )
    )


_view_often_stated_by = lru_cache(maxsize=1024)(_view_stated_by)


def _plain_text(elements: Elements, keyword: str) -> str:
    element = elements.get(_TAG_OF[keyword])
    return _clean(keyword, element.value.decode("ascii")) if element else ""


def _text(header: Dataset, keyword: str) -> str:
    """Return an attribute's value in printable characters; of several values the text as it was joined, of a sequence nothing.

    ASCII without an escape means the same in every character set that a data set may name (PS3.5 6.1.2.5.3).
    """
    tag = _TAG_OF[keyword]
    raw: object = header.get_item(tag)
    encoded = raw.value if isinstance(raw, RawDataElement) and _is_as_expected(tag, raw.VR) else None
    if encoded and encoded.isascii() and _ESCAPE not in encoded:
        return _clean(keyword, encoded.decode("ascii"))
    value = header.get(keyword)
    if value is None or isinstance(value, Sequence):  # written out, items within items have no end
        return ""
    joined = value if isinstance(value, str) else "\\".join(str(one) for one in value)
    return _clean(keyword, joined)


def _clean(keyword: str, text: str) -> str:
    """Return text without the spaces or the NUL that pad it, and without control characters; a UID with these is another, and unlawful."""
    text = text.strip(" \0")
    if text.isprintable() or keyword in _UIDS:
        return text
    return "".join(letter for letter in text if letter.isprintable()).strip()


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
