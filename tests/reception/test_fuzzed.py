"""No bytes, however wrong, crash the node, keep it busy or leave anything behind."""

import struct
import threading
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dimse_status import InstanceRefused
from node.header_scan import scan
from node.instance_header import MALFORMED, InstanceHeader, read_instance_header
from node.negotiation import negotiate
from node.wire.pdu import ProtocolViolation
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram
from tests.reception.parsers import header_as_the_library_sees_it, seeds, understand
from tests.reception.raw_callers import C_ECHO, association_request, c_store, raw_caller
from tests.servers import wait_for

WHOLE = encoded(mammogram("fuzz"))
STREAM = c_store("1.2.3", WHOLE, size=300, values_in_a_pdu=2) + C_ECHO


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some of them changed, left out, doubled or cut off."""
    damage = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(damage)))
        length = draw(st.integers(0, 12))
        damage[start : start + length] = draw(st.binary(max_size=12))
    return bytes(damage[: draw(st.integers(0, len(damage)))] if draw(st.booleans()) else damage)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200) | damaged(STREAM), associated=st.booleans())
def test_the_node_goes_on_whatever_comes(node: ListeningNode, noise: bytes, associated: bool):
    with raw_caller(node.port) as caller:
        if associated:
            assert caller.associate() == 2
        caller.socket.sendall(noise)
        caller.socket.shutdown(1)
        while caller.pdu()[0]:
            pass
    with raw_caller(node.port) as other:
        assert other.associate() == 2
        other.socket.sendall(C_ECHO)
        assert other.status() == 0
    wait_for(lambda: not node.incoming(), what="the end of half files")
    wait_for(
        lambda: not any(thread.name.startswith("association-") for thread in threading.enumerate()),
        what="the end of every association",
    )


@settings(max_examples=150, deadline=None)
@given(damaged(association_request(sop_classes=["1.2.3.4", FOR_PRESENTATION])))
def test_a_request_is_understood_or_called_unlawful(request: bytes):
    try:
        agreement = negotiate(request)
    except ProtocolViolation:
        return
    assert agreement.answer[0] == 2


@settings(max_examples=150, deadline=None)
@given(
    data_set=damaged(WHOLE),
    syntax=st.sampled_from(
        [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
    ),
)
def test_a_header_is_read_or_refused(data_set: bytes, syntax: str):
    try:
        header = read_instance_header(
            BytesIO(data_set), transfer_syntax_uid=syntax, sop_class_uid=FOR_PRESENTATION
        )
    except InstanceRefused:
        return
    assert isinstance(header, InstanceHeader)


@given(
    text=st.text("AZaz09-_^ =\u00e4\u5c71", max_size=16),
    private=st.binary(max_size=40).filter(lambda value: len(value) % 2 == 0),
    view=st.sampled_from(["R CC", "L MLO"]),
    syntax=st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian]),
    undefined=st.booleans(),
)
def test_a_header_says_what_was_written_however_it_was_encoded(
    text: str, private: bytes, view: str, syntax: str, undefined: bool
):
    image = mammogram("written", view, AccessionNumber=text)
    image.private_block(0x0009, "A VENDOR", create=True).add_new(0x01, "OB", private)
    image["ViewCodeSequence"].is_undefined_length = undefined
    header = read_instance_header(
        BytesIO(encoded(image, syntax)), transfer_syntax_uid=syntax, sop_class_uid=FOR_PRESENTATION
    )
    assert header.accession_number == text.strip()
    assert f"{header.laterality} {header.view_position}" == view
    assert header.sop_instance_uid == image.SOPInstanceUID
    assert (header.study_date, header.modality) == (image.StudyDate, "MG")


@given(damaged(WHOLE))
def test_damage_is_seen_by_us_as_by_the_library(data_set: bytes):
    try:
        theirs = read_dataset(
            BytesIO(data_set), False, True, stop_when=lambda tag, _vr, _length: tag > 0x00540220
        )
        said = {
            name: str(theirs.get(name) or "") for name in ("SOPInstanceUID", "StudyInstanceUID", "Modality")
        }
    except MALFORMED:
        return
    try:
        ours = read_instance_header(
            BytesIO(data_set), transfer_syntax_uid=ExplicitVRLittleEndian, sop_class_uid=FOR_PRESENTATION
        )
    except InstanceRefused:
        return
    assert (ours.sop_instance_uid, ours.study_instance_uid) == (
        said["SOPInstanceUID"],
        said["StudyInstanceUID"],
    )


def test_a_header_as_modalities_write_it_is_simple():
    image = mammogram("simple")
    image.private_block(0x0009, "A VENDOR", create=True).add_new(0x01, "OB", bytes(3000))
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        head = encoded(image, syntax)
        found = scan(
            head, implicit=syntax == ImplicitVRLittleEndian, last=0x0020000E, wanted=[0x0020000D, 0x00080060]
        )
        study = image.StudyInstanceUID.encode()
        code, unique = (None, None) if syntax == ImplicitVRLittleEndian else ("CS", "UI")
        assert found == {0x00080060: (code, b"MG"), 0x0020000D: (unique, study + bytes(len(study) % 2))}
    assert scan(head[:3000], implicit=False, last=0x0020000E, wanted=[]) is None


@pytest.mark.parametrize("representation", [b"\0\0", b"cs", b"ZZ", b"C\0"])
def test_a_representation_that_is_none_is_left_to_the_library(representation: bytes):
    head = encoded(mammogram("simple"))
    place = head.index(b"CS", head.index(b"\x08\0\x60\0"))
    changed = head[:place] + representation + head[place + 2 :]
    assert scan(head, implicit=False, last=0x0020000E, wanted=[]) == {}
    assert scan(changed, implicit=False, last=0x0020000E, wanted=[]) is None


@pytest.mark.parametrize("representation", [b"AT", b"US", b"FL", b"LO", b"SQ", b"UN"])
@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID"])
def test_an_element_of_another_kind_than_its_attribute_is_read_as_the_library_reads_it(
    representation: bytes, keyword: str
):
    """Found by the fuzzer that is guided by coverage: a SOP Instance UID that calls itself a list of tags."""
    explicit = encoded(mammogram("simple"))
    tag = Tag(keyword)
    place = explicit.index(struct.pack("<HH", tag.group, tag.element) + b"UI") + 4
    length, value = explicit[place + 2 : place + 4], explicit[place + 4 :]
    if representation in (b"SQ", b"UN"):  # PS3.5 7.1.2
        length = bytes(2) + length + bytes(2)
    header_as_the_library_sees_it(explicit[:place] + representation + length + value)


@pytest.mark.parametrize("keyword", ["Modality", "AccessionNumber", "ImageLaterality", "ViewPosition"])
def test_a_text_that_calls_itself_a_sequence_is_not_written_out(
    keyword: str, monkeypatch: pytest.MonkeyPatch
):
    """Found by the fuzzer that is guided by coverage: ten kilobytes of items within items took more than six gigabytes as text."""

    def write_out(_self: Dataset) -> str:
        pytest.fail("a data set is written out")

    image, item = mammogram("simple", ViewPosition="CC"), Dataset()
    del image.ViewCodeSequence
    item.PatientID = "within"
    image[keyword] = DataElement(keyword, "SQ", [item, item])
    monkeypatch.setattr(Dataset, "__str__", write_out)
    header = read_instance_header(
        BytesIO(encoded(image)), transfer_syntax_uid=ExplicitVRLittleEndian, sop_class_uid=FOR_PRESENTATION
    )
    said = (header.modality, header.accession_number, header.view_position)
    assert (
        said
        == {
            "Modality": ("", "A-17", "CC"),
            "AccessionNumber": ("MG", "", "CC"),
            "ImageLaterality": ("MG", "A-17", ""),
            "ViewPosition": ("MG", "A-17", ""),
        }[keyword]
    )


@pytest.mark.parametrize("seed", seeds())
def test_what_fuzzing_begins_with_is_understood(seed: bytes):
    understand(seed)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(seeds()).flatmap(damaged))
def test_damage_is_understood_or_called_unlawful(data: bytes):
    understand(data)
