"""What is answered with success is there, byte for byte."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom import ALL_TRANSFER_SYNTAXES, build_context
from pynetdicom.sop_class import Verification

from node.arrival import SMALL_BYTES, Arrival
from node.data_set_digest import data_set_digest
from node.part10 import Announcement, part10_header
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import (
    BASIC_TEXT_SR,
    CT,
    FOR_PRESENTATION,
    FOR_PROCESSING,
    NEWER_THAN_THE_LIBRARY,
    PRIVATE_STORAGE,
    TOMOSYNTHESIS,
    data_set_of,
    encoded,
    mammogram,
    saved,
    screening_set,
    uid,
)
from tests.reception.raw_callers import C_ECHO, c_store, raw_caller
from tests.reception.senders import calling, send, send_bytes


def test_a_modality_verifies_the_node(node: ListeningNode):
    subprocess.run(["echoscu", "-aec", "MAMMOCALC", "127.0.0.1", str(node.port)], check=True, timeout=30)


def test_at_the_moment_of_success_the_file_is_complete_and_the_row_is_committed(node: ListeningNode):
    with calling(node.port) as conversation:
        for image in screening_set("promise"):
            response = send(conversation, image)
            path = node.path_in_second_connection(image.SOPInstanceUID)
            assert response.Status == 0x0000
            assert path == f"studies/{uid('promise')}/images/{image.SOPInstanceUID}.dcm"
            assert data_set_of((node.data_dir / path).read_bytes()) == encoded(image)
    assert not node.incoming()


def test_the_ledger_knows_what_arrived(node: ListeningNode):
    image = mammogram("row", "L MLO")
    with calling(node.port, ae_title="MODALITY7") as conversation:
        send(conversation, image)
    (row,) = node.instances("row")
    assert (row.modality, row.laterality, row.view_position) == ("MG", "L", "MLO")
    assert (row.presentation_intent, row.calling_ae_title) == ("FOR PRESENTATION", "MODALITY7")
    assert row.digest == "", "nobody asked for it yet"
    assert row.bytes == len(encoded(image))
    assert row.transfer_syntax_uid == ExplicitVRLittleEndian


def test_the_file_says_who_sent_it_and_who_wrote_it(node: ListeningNode):
    image = mammogram("meta")
    with calling(node.port, ae_title="MODALITY7") as conversation:
        send(conversation, image)
    meta = pydicom.dcmread(node.data_dir / node.instances("meta")[0].path).file_meta
    assert meta.SourceApplicationEntityTitle == "MODALITY7"
    assert meta.ImplementationVersionName.startswith("MAMMOCALC")
    assert meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID


@pytest.mark.parametrize("side", [8, 1800])
def test_every_transfer_syntax_is_kept_as_it_came(node: ListeningNode, side: int):
    explicit = [one for one in ALL_TRANSFER_SYNTAXES if _parses_like_explicit_little_endian(UID(one))]
    contexts = [build_context(FOR_PRESENTATION, syntax) for syntax in explicit]
    sent = {}
    with calling(node.port, contexts=contexts) as conversation:
        for number, context in enumerate(
            conversation.accepted_contexts if side == 8 else conversation.accepted_contexts[:3]
        ):
            image = mammogram("syntaxes", side=side, SOPInstanceUID=uid("syntaxes", str(number)))
            response = send_bytes(
                conversation,
                encoded(image),
                sop_class_uid=FOR_PRESENTATION,
                sop_instance_uid=image.SOPInstanceUID,
                context_id=context.context_id,
            )
            assert response.Status == 0x0000, context
            sent[image.SOPInstanceUID] = (str(context.transfer_syntax[0]), encoded(image))
    rows = {row.sop_instance_uid: row for row in node.instances("syntaxes")}
    assert len(explicit) >= 40
    assert rows.keys() == sent.keys()
    for sop_instance_uid, (syntax, data_set) in sent.items():
        part10 = (node.data_dir / rows[sop_instance_uid].path).read_bytes()
        assert rows[sop_instance_uid].transfer_syntax_uid == syntax
        assert (
            pydicom.dcmread(node.data_dir / rows[sop_instance_uid].path, specific_tags=[0x00080018])
            .file_meta["TransferSyntaxUID"]
            .value
            == syntax
        )
        assert data_set_of(part10) == data_set


def _parses_like_explicit_little_endian(syntax: UID) -> bool:
    deflated = syntax.is_deflated or syntax in ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
    return not (syntax.is_implicit_VR or deflated or not syntax.is_little_endian)


CONVERSIONS = {
    "implicit": (["dcmconv", "+ti"], "-xi"),
    "big endian": (["dcmconv", "+tb"], "-xb"),
    "explicit": (["dcmconv", "+te"], "-xe"),
    "deflated": (["dcmconv", "+td"], "-xd"),
    "JPEG lossless": (["dcmcjpeg", "+e1"], "-xs"),
    "JPEG-LS": (["dcmcjpls"], "-xt"),
    "RLE": (["dcmcrle"], "-xr"),
    "JPEG 2000": (None, "-xv"),
}


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_modality_sends_what_it_made(node: ListeningNode, tmp_path: Path, name: str):
    program, proposing = CONVERSIONS[name]
    if shutil.which("storescu") is None:
        pytest.skip("dcmtk is not installed: `apt-get install dcmtk` brings it.")
    made = saved(mammogram("dcmtk", side=64), tmp_path / "made.dcm")
    sent = tmp_path / "sent.dcm"
    if program is None:
        image = pydicom.dcmread(made)
        image.compress(JPEG2000Lossless, generate_instance_uid=False)
        image.save_as(sent)
    else:
        subprocess.run([*program, made, sent], check=True, timeout=60)
    subprocess.run(
        [
            "storescu",
            "-R",
            proposing,
            "-aet",
            "MODALITY1",
            "-aec",
            "MAMMOCALC",
            "127.0.0.1",
            str(node.port),
            sent,
        ],
        check=True,
        timeout=60,
    )
    (row,) = node.instances("dcmtk")
    assert (row.laterality, row.view_position) == ("R", "CC")
    assert data_set_of((node.data_dir / row.path).read_bytes()) == data_set_of(sent.read_bytes())


@pytest.mark.parametrize(
    ("sop_class_uid", "modality"),
    [
        (CT, "CT"),
        (FOR_PROCESSING, "MG"),
        (TOMOSYNTHESIS, "MG"),
        (BASIC_TEXT_SR, "SR"),
        (PRIVATE_STORAGE, "OT"),
        (NEWER_THAN_THE_LIBRARY, "OT"),
    ],
)
def test_every_storage_class_is_stored(node: ListeningNode, sop_class_uid: str, modality: str):
    thing = mammogram("classes", SOPClassUID=sop_class_uid, Modality=modality)
    with calling(node.port, sop_classes=[sop_class_uid]) as conversation:
        assert send(conversation, thing).Status == 0x0000
    (row,) = node.instances("classes")
    assert (row.sop_class_uid, row.modality) == (sop_class_uid, modality)


def test_services_that_are_not_ours_are_not_accepted(node: ListeningNode):
    find = "1.2.840.10008.5.1.4.1.2.2.1"
    with calling(node.port, sop_classes=[Verification, find]) as conversation:
        assert [one.abstract_syntax for one in conversation.rejected_contexts] == [find]


def test_the_syntax_that_the_standard_knows_is_taken_where_a_sender_leaves_the_choice(node: ListeningNode):
    private = "1.3.46.670589.33.1.4.1"
    with calling(
        node.port, contexts=[build_context(FOR_PRESENTATION, [private, ExplicitVRLittleEndian])]
    ) as call:
        assert call.accepted_contexts[0].transfer_syntax == [ExplicitVRLittleEndian]
    with calling(node.port, contexts=[build_context(FOR_PRESENTATION, [private])]) as call:
        assert call.accepted_contexts[0].transfer_syntax == [private]


def test_a_node_may_take_some_storage_classes_alone(make_node: Callable[..., ListeningNode]):
    node = make_node(storage_classes=frozenset({FOR_PRESENTATION}))
    with calling(node.port, sop_classes=[FOR_PRESENTATION, CT, PRIVATE_STORAGE]) as conversation:
        assert [one.abstract_syntax for one in conversation.accepted_contexts] == [FOR_PRESENTATION]
        assert send(conversation, mammogram("only")).Status == 0x0000


@pytest.mark.parametrize("filling", [0, SMALL_BYTES - 4, SMALL_BYTES - 3, 3 * SMALL_BYTES])
def test_pieces_are_put_together_in_memory_or_in_a_file(tmp_path: Path, filling: int):
    announced = Announcement(
        sop_class_uid=FOR_PRESENTATION,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        calling_ae_title="MODALITY1",
    )
    arrival = Arrival(announced, tmp_path / "arrival.part", None)
    pieces = [b"", b"ab", bytes(filling), b"", b"cd"]
    for piece in pieces:
        arrival.write(piece)
    arrival.seal()
    content, small = b"".join(pieces), filling + 4 <= SMALL_BYTES
    assert (arrival.is_small, arrival.path.exists()) == (small, not small)
    assert arrival.bytes == len(content)
    with closing(arrival.data_set()) as data_set:
        assert data_set.read(1 << 20) == content
    arrival.link(tmp_path / "named")
    assert (tmp_path / "named").read_bytes() == part10_header(announced) + content
    assert arrival.digest == data_set_digest(tmp_path / "named")
    assert arrival.in_file().read_bytes() == part10_header(announced) + content
    assert not arrival.is_small
    arrival.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named"]


def full_disk(*_arguments: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_small_one_that_the_disk_does_not_take_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    announced = Announcement(
        sop_class_uid=FOR_PRESENTATION,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        calling_ae_title="MODALITY1",
    )
    nowhere = Arrival(announced, tmp_path / "nowhere" / "arrival.part", None)
    nowhere.write(b"abcd")
    nowhere.seal()
    with pytest.raises(FileNotFoundError):
        nowhere.in_file()
    arrival = Arrival(announced, tmp_path / "arrival.part", None)
    arrival.write(b"abcd")
    arrival.seal()
    (tmp_path / "named").touch()
    with pytest.raises(FileExistsError):
        arrival.link(tmp_path / "named")
    assert arrival.is_small
    arrival.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named"]
    full = Arrival(announced, tmp_path / "arrival.part", None)
    full.write(b"abcd")
    with monkeypatch.context() as broken:
        broken.setattr(os, "writev", full_disk)
        with pytest.raises(OSError, match="No space"):
            full.link(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named"]


def read_only(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_disk_that_fails_meanwhile_and_lets_nothing_be_removed_is_a_reason_to_send_again(
    node: ListeningNode, monkeypatch: pytest.MonkeyPatch
):
    """The kernel made it read-only, say."""
    with raw_caller(node.port) as caller:
        assert caller.associate() == 2
        with monkeypatch.context() as broken:
            broken.setattr(os, "writev", full_disk)
            broken.setattr(Path, "unlink", read_only)
            caller.socket.sendall(c_store(uid("large"), bytes(SMALL_BYTES + 1)))
            assert caller.status() == 0xA700
        caller.socket.sendall(C_ECHO)
        assert caller.status() == 0x0000, "the association goes on"
