"""What we cannot keep is refused with a reason, recorded, and hurts nobody."""

import resource
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import build_context
from sqlalchemy.exc import OperationalError

from mammography.ledger.engine import Ledger
from mammography.ledger.studies import instances_of
from node.dimse_status import (
    ANSWERS,
    InstanceMismatch,
    InstanceRefused,
    StorageExhausted,
    answer_to,
    error_comment,
)
from node.instance_header import read_instance_header
from node.part10 import holds
from node.reception import Reception
from node.unrecorded import Unrecorded
from tests.reception.conftest import ListeningNode
from tests.reception.keeping import keep
from tests.reception.mammograms import CT, FOR_PRESENTATION, encoded, mammogram, uid
from tests.reception.senders import calling, send, send_bytes


def element(group: int, number: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", group, number, vr, 0, length)


ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)

GARBAGE = {
    "nothing": b"",
    "noise": bytes(range(256)) * 40,
    "zeros": bytes(4096),
    "text": b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n" * 30,
    "no identity": encoded(mammogram("garbage"))[:40],
    "nested without end": (element(0x0008, 0x1115, b"SQ", 0xFFFFFFFF) + ITEM) * 5000,
    "nested in the view": element(0x0008, 0x0016, b"UI", 0)
    + (element(0x0054, 0x0220, b"SQ", 0xFFFFFFFF) + ITEM) * 5000,
    "a lying length": element(0x0008, 0x0018, b"UI", 0)[:6] + b"\xff\xff" + b"1.2.3",
    "a number of odd length in the place of a UID": element(0x0020, 0x000D, b"US", 0)[:6] + b"\x05\0AAAAA ",
    "a million items": element(0x0008, 0x1115, b"SQ", 0xFFFFFFFF)
    + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_with_a_comment_and_recorded(node: ListeningNode, name: str):
    with calling(node.port) as conversation:
        response = send_bytes(
            conversation, GARBAGE[name], sop_class_uid=FOR_PRESENTATION, sop_instance_uid=uid("garbage")
        )
        assert response.Status == 0xC000
        assert response.ErrorComment.startswith("The ")
        assert send(conversation, mammogram("after garbage")).Status == 0x0000
    (refusal,) = node.refusals()
    assert refusal.sop_instance_uid == uid("garbage")
    assert refusal.calling_ae_title == "MODALITY1"
    assert refusal.reason.startswith(response.ErrorComment[:50])
    assert not node.instances("garbage")
    assert not node.incoming()


def test_a_deflated_bomb_is_not_inflated(node: ListeningNode):
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(400)) + deflater.flush()
    contexts = [build_context(FOR_PRESENTATION, DeflatedExplicitVRLittleEndian)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with calling(node.port, contexts=contexts) as conversation:
        response = send_bytes(
            conversation, bomb, sop_class_uid=FOR_PRESENTATION, sop_instance_uid=uid("bomb")
        )
    assert response.Status == 0xC000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10, "400 MB were inflated"


def test_too_deep_a_nesting_is_named(node: ListeningNode):
    with calling(node.port) as conversation:
        response = send_bytes(
            conversation,
            GARBAGE["nested without end"],
            sop_class_uid=FOR_PRESENTATION,
            sop_instance_uid=uid("nested"),
        )
    assert response.ErrorComment == "The data set nests sequences too deeply."


@pytest.mark.parametrize(
    "uids",
    [
        {"sop_instance_uid": uid("another")},
        {"sop_instance_uid": "1.2.3.4"},
    ],
)
def test_a_data_set_that_is_not_the_announced_instance_is_refused(node: ListeningNode, uids: dict[str, str]):
    with calling(node.port) as conversation:
        response = send(conversation, mammogram("announced"), **uids)
    assert response.Status == 0xA900
    assert "SOP Instance UID" in response.ErrorComment
    assert [refusal.sop_instance_uid for refusal in node.refusals()] == [uids["sop_instance_uid"]]


def test_a_data_set_of_another_class_is_refused(node: ListeningNode):
    with calling(node.port, sop_classes=[CT]) as conversation:
        response = send(conversation, mammogram("classes"), sop_class_uid=CT)
    assert response.Status == 0xA900


@pytest.mark.parametrize("value", ["../../../etc/passwd", "1.2..3", "", "1.2.3/4", "1.2.840." + "9" * 60])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_uid_that_is_none_names_no_folder(node: ListeningNode, keyword: str, value: str):
    image = mammogram("path")
    image[keyword]._value = value
    with calling(node.port) as conversation:
        response = send(conversation, image)
    assert response.Status == 0xC000
    assert [path.parent.name for path in node.data_dir.rglob("*.dcm")] == ["quarantine"]


def test_an_unlawful_uid_of_the_command_is_refused(node: ListeningNode):
    with calling(node.port) as conversation:
        response = send(conversation, mammogram("command"), sop_instance_uid="1.2..3")
    assert response.Status == 0xC000


def test_a_full_disk_is_a_state_and_ends(make_node: Callable[..., ListeningNode]):
    node = make_node(minimum_free_bytes=1 << 60)
    with calling(node.port) as conversation:
        response = send(conversation, mammogram("full"))
    assert response.Status == 0xA700
    assert "full" in response.ErrorComment
    assert "full" in node.refusals()[0].reason
    node.acceptor.stop()
    node.listen()
    with calling(node.port) as conversation:
        assert send(conversation, mammogram("full")).Status == 0x0000


def test_a_ledger_that_cannot_be_written_is_a_reason_to_send_again(node: ListeningNode, tmp_path):
    lost = Ledger(f"sqlite:///{tmp_path}/without-tables.db")
    for holder in (node.reception, node.reception._acceptance):
        holder._ledger = lost
    with calling(node.port) as conversation:
        assert send(conversation, mammogram("away")).Status == 0xA700
        for holder in (node.reception, node.reception._acceptance):
            holder._ledger = node.ledger
        assert send(conversation, mammogram("away")).Status == 0x0000
    lost.close()
    assert node.stored("away") == [f"{uid('away', 'R CC')}.dcm"]


@pytest.fixture(params=[8, 512], ids=["small", "large"])
def side(request: pytest.FixtureRequest) -> int:
    return request.param


def refuse(*_: object, **__: object) -> None:
    raise OperationalError("BEGIN", None, ConnectionRefusedError("the server is away"))


def test_what_was_refused_while_the_ledger_was_away_does_not_stay(
    ledger: Ledger, tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
):
    """Of one association that goes on all the time; some of it comes again, some never does."""
    images = [mammogram("away", side=side, SOPInstanceUID=uid("away", str(number))) for number in range(6)]
    with closing(Reception(ledger=ledger, data_dir=tmp_path, minimum_free_bytes=0)) as reception:
        with monkeypatch.context() as away:
            for name in ("transaction", "begin"):
                away.setattr(Ledger, name, refuse)
            for image in images:
                with pytest.raises(StorageExhausted):
                    keep(reception, image)
        for image in images[:2]:
            keep(reception, image)
        keep(reception, mammogram("another"))
        left = {path.stem for path in (tmp_path / "studies" / uid("away")).rglob("*.dcm")}
        assert left == {image.SOPInstanceUID for image in images[:2]}
        with ledger.read() as session:
            rows = instances_of(session, uid("away"))
        assert all(holds(tmp_path / row.path, row.bytes) for row in rows)


def test_what_was_refused_stays_while_the_ledger_cannot_say_whether_it_came_again(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "refused.dcm"
    file.touch()
    unrecorded = Unrecorded(ledger)
    unrecorded.remember([("1.2.3", file)])
    with monkeypatch.context() as away:
        away.setattr(Ledger, "begin", refuse)
        unrecorded.remove()
    assert file.exists()
    unrecorded.remove()
    assert not file.exists()


def test_every_refusal_has_an_answer_of_its_own():
    assert {kind: status.code for kind, status in ANSWERS.items()} == {
        InstanceRefused: 0xC000,
        InstanceMismatch: 0xA900,
        StorageExhausted: 0xA700,
    }
    assert answer_to(InstanceMismatch("x")).code == 0xA900


def test_an_error_comment_is_a_lawful_long_string():
    comment = error_comment(InstanceRefused("Das Gerät\\der Praxis\n" + "x" * 100))
    assert len(comment) == 64
    assert comment.isascii()
    assert "\\" not in comment
    assert "\n" not in comment


@pytest.mark.parametrize("syntax", ["1.2.1.99", "1.2.4.95", "1.2.4.205"])
def test_a_header_that_is_deflated_is_read(syntax: str):
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflating.compress(encoded(mammogram("deflated"))) + deflating.flush()
    header = read_instance_header(
        BytesIO(deflated), transfer_syntax_uid=f"1.2.840.10008.{syntax}", sop_class_uid=FOR_PRESENTATION
    )
    assert header.study_instance_uid == uid("deflated")


def test_text_that_no_database_takes_is_left_out():
    image = mammogram("text", AccessionNumber="A\x001\x1b[7")
    header = read_instance_header(
        BytesIO(encoded(image)), transfer_syntax_uid=ExplicitVRLittleEndian, sop_class_uid=FOR_PRESENTATION
    )
    assert header.accession_number == "A1[7"


@pytest.mark.parametrize("name", ["SOP Instance UID", "Study Instance UID", "Series Instance UID"])
@pytest.mark.parametrize("simple", [True, False])
def test_a_uid_with_control_characters_is_not_the_one_without_them(name: str, simple: bool):
    image = mammogram("control")
    image["ViewCodeSequence"].is_undefined_length = not simple
    data_set = encoded(image)
    uid = str(image[name.replace(" ", "")].value).encode()
    place = data_set.index(uid) + 5
    changed = data_set[:place] + b"\1" + data_set[place + 1 :]
    with pytest.raises(InstanceRefused, match=f"unlawful {name}"):
        read_instance_header(
            BytesIO(changed), transfer_syntax_uid=ExplicitVRLittleEndian, sop_class_uid=FOR_PRESENTATION
        )


@pytest.mark.parametrize("character_set", ["ISO_IR 192", "GB18030", ["", "ISO 2022 IR 87"]])
def test_an_accession_number_is_read_in_its_character_set(character_set):
    image = mammogram("characters", SpecificCharacterSet=character_set, AccessionNumber="A1\u5c71")
    header = read_instance_header(
        BytesIO(encoded(image)), transfer_syntax_uid=ExplicitVRLittleEndian, sop_class_uid=FOR_PRESENTATION
    )
    assert header.accession_number == "A1\u5c71"


def test_a_private_element_of_many_megabytes_does_not_hide_the_view():
    image = mammogram("private")
    block = image.private_block(0x0029, "A VENDOR", create=True)
    block.add_new(0x10, "OB", bytes(5 << 20))
    header = read_instance_header(
        BytesIO(encoded(image)), transfer_syntax_uid=ExplicitVRLittleEndian, sop_class_uid=FOR_PRESENTATION
    )
    assert (header.laterality, header.view_position) == ("R", "CC")
