"""Sequences that nobody asks for are stepped over, and what is found is what the library finds in the whole."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node import header_walk
from node.dimse_status import InstanceRefused
from node.header_walk import wanted_of
from node.instance_header import read_instance_header

GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
WANTED = {0x00080018, 0x0020000D}
LAST = 0x0020000E
UNDEFINED = 0xFFFFFFFF
END_OF_ITEM = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
END_OF_SEQUENCE = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def written(data_set: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    buffer.is_little_endian = syntax != ExplicitVRBigEndian
    write_dataset(buffer, data_set)
    return bytes(buffer.getvalue())


def walked(encoded: bytes, syntax: str, *, wanted: set[int] = WANTED) -> bytes | None:
    return wanted_of(
        BytesIO(encoded),
        implicit=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        last=LAST,
        wanted=wanted,
    )


def understood(encoded: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(encoded), syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)


def sequence(items: list[Dataset], *, undefined: bool, items_undefined: bool) -> Sequence:
    made = Sequence(items)
    made.is_undefined_length = undefined
    for item in made:
        item.is_undefined_length_sequence_item = items_undefined
    return made


def presentation_state(references: int) -> Dataset:
    """A GSPS: its references stand before its Study Instance UID."""
    state, series = Dataset(), Dataset()
    state.SOPClassUID, state.SOPInstanceUID = GSPS, "1.2.3.4"
    images = []
    for number in range(references):
        image = Dataset()
        image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
        image.ReferencedSOPInstanceUID = f"1.2.3.5.{number}"
        images.append(image)
    series.ReferencedImageSequence = sequence(images, undefined=True, items_undefined=True)
    series["ReferencedImageSequence"].is_undefined_length = True
    series.SeriesInstanceUID = "1.2.3.6"
    state.ReferencedSeriesSequence = sequence([series], undefined=True, items_undefined=True)
    state["ReferencedSeriesSequence"].is_undefined_length = True
    state.StudyInstanceUID, state.SeriesInstanceUID = "1.2.3", "1.2.3.7"
    return state


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 0) -> Dataset:
    made = Dataset()
    made.SOPInstanceUID = draw(st.sampled_from(["1.2", "1.2.3.4.5"]))
    if draw(st.booleans()):
        made.InstitutionName = draw(st.text("AB", max_size=9))
    for keyword in ("ReferencedStudySequence", "ReferencedSeriesSequence") if depth < 3 else ():
        if draw(st.booleans()):
            undefined = draw(st.booleans())
            items = draw(st.lists(data_sets(depth + 1), max_size=3))
            setattr(made, keyword, sequence(items, undefined=undefined, items_undefined=draw(st.booleans())))
            made[keyword].is_undefined_length = undefined
    made.StudyInstanceUID = draw(st.sampled_from(["1.9", "1.9.8"]))
    return made


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(made=data_sets())
def test_what_is_found_is_what_the_library_finds(syntax: str, made: Dataset):
    found = walked(written(made, syntax), syntax)
    assert found is not None
    header = understood(found, syntax)
    assert {int(element.tag) for element in header} == WANTED
    assert header.SOPInstanceUID == made.SOPInstanceUID
    assert header.StudyInstanceUID == made.StudyInstanceUID


def test_a_state_of_many_references_is_read():
    """More than a megabyte of them stands before the UID of its study."""
    encoded = written(presentation_state(12_000), ImplicitVRLittleEndian)
    header = read_instance_header(
        BytesIO(encoded), transfer_syntax_uid=ImplicitVRLittleEndian, sop_class_uid=GSPS
    )
    assert (header.study_instance_uid, header.series_instance_uid) == ("1.2.3", "1.2.3.7")


def test_a_sequence_that_is_wanted_is_found_whole():
    encoded = written(presentation_state(3), ExplicitVRLittleEndian)
    found = walked(encoded, ExplicitVRLittleEndian, wanted={0x00081115})
    assert found is not None
    (series,) = understood(found, ExplicitVRLittleEndian).ReferencedSeriesSequence
    assert len(series.ReferencedImageSequence) == 3


def test_more_than_is_stepped_over_is_refused(monkeypatch: pytest.MonkeyPatch):
    encoded = written(presentation_state(10), ExplicitVRLittleEndian)
    monkeypatch.setattr(header_walk, "MOST_STEPS", 40)
    with pytest.raises(InstanceRefused, match="too many elements"):
        walked(encoded, ExplicitVRLittleEndian)


def explicit(tag: int, representation: bytes, value: bytes, *, length: int | None = None) -> bytes:
    stated = len(value) if length is None else length
    if representation in (b"SQ", b"UN", b"OB"):
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, representation, 0, stated) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, representation, stated) + value


def item(value: bytes, *, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


STUDY = explicit(0x0020000D, b"UI", b"1.2.3.")
IMPLICIT_IN_IT = struct.pack("<HHI", 0x0008, 0x0018, 4) + b"9.9\0" + END_OF_ITEM + END_OF_SEQUENCE


IMPLICIT_BIG_ENDIAN = b"".join(
    struct.pack(">HHI", 0xFFFE, number, length)
    for number, length in ((0xE000, UNDEFINED), (0xE00D, 0), (0xE0DD, 0))
)


def long(delimiter: bytes) -> bytes:
    """One that says to have a value; it may have none."""
    return delimiter[:4] + struct.pack("<I", 4)


def test_items_of_an_unknown_representation_are_implicit():
    """PS3.5 6.2.2."""
    unknown = explicit(0x00091001, b"UN", item(IMPLICIT_IN_IT, length=UNDEFINED), length=UNDEFINED)
    assert walked(unknown + STUDY, ExplicitVRLittleEndian) == STUDY


@pytest.mark.parametrize(
    ("irregular", "syntax"),
    [
        (explicit(0x00091001, b"UN", item(explicit(0x00091010, b"LO", b"ab") + END_OF_ITEM, length=UNDEFINED) + END_OF_SEQUENCE, length=UNDEFINED) + STUDY + b"\0" * 500_000, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"XX", b"") + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"LO", b"abc", length=1000) + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00091001, b"OB", item(b"") + END_OF_SEQUENCE, length=UNDEFINED) + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"SQ", item(b""), length=UNDEFINED) + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"SQ", item(STUDY, length=UNDEFINED) + END_OF_SEQUENCE, length=UNDEFINED), ExplicitVRLittleEndian),
        (explicit(0x00081115, b"SQ", item(b"", length=1000), length=UNDEFINED) + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"SQ", item(item(b"") + END_OF_ITEM, length=UNDEFINED) + END_OF_SEQUENCE, length=UNDEFINED) + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"SQ", item(long(END_OF_ITEM), length=UNDEFINED) + END_OF_SEQUENCE, length=UNDEFINED) + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"SQ", long(END_OF_SEQUENCE), length=UNDEFINED) + STUDY, ExplicitVRLittleEndian),
        (explicit(0x00081115, b"SQ", b"")[:10], ExplicitVRLittleEndian),
        (struct.pack(">HH2sHI", 0x0009, 0x1001, b"UN", 0, UNDEFINED) + IMPLICIT_BIG_ENDIAN, ExplicitVRBigEndian),
        (STUDY + b"\xff" * 500_000, ImplicitVRLittleEndian),
        (STUDY[:5], ExplicitVRLittleEndian),
        (STUDY, ImplicitVRLittleEndian),
        (struct.pack("<HHI", 0x0009, 0x1001, UNDEFINED) + bytes(40), ImplicitVRLittleEndian),
        (explicit(0x0020000D, b"UN", bytes(header_walk.MOST_BYTES)), ExplicitVRLittleEndian),
    ],
)  # fmt: skip
def test_what_is_not_regular_is_left_to_the_library(irregular: bytes, syntax: str):
    assert walked(irregular, syntax) is None


def test_sequences_are_not_stepped_into_without_end():
    deep = b"".join(
        [
            *[explicit(0x00081115, b"SQ", item(b"", length=UNDEFINED), length=UNDEFINED)] * 10_000,
            *[END_OF_ITEM + END_OF_SEQUENCE] * 10_000,
        ]
    )
    assert walked(deep + STUDY, ExplicitVRLittleEndian) is None
