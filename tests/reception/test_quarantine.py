"""What is refused for its content is kept for a while, and never fills the disk."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from mammography.command_line import command_line
from mammography.ledger.refusals import MOST_REFUSALS
from node.arrival import Arrival
from node.part10 import Announcement
from node.quarantine import MOST_FILES, Quarantine
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram, uid
from tests.reception.raw_callers import c_store, raw_caller
from tests.reception.senders import calling, send, send_bytes

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def arrival(folder: Path, data_set: bytes, number: int = 0) -> Arrival:
    announced = Announcement(
        sop_class_uid=FOR_PRESENTATION,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title="MODALITY1",
    )
    folder.mkdir(exist_ok=True)
    arrived = Arrival(announced, folder / f"{number}.part", None, sync=False)
    arrived.write(data_set)
    arrived.seal()
    return arrived


def test_refused_bytes_are_kept_as_they_came_with_the_reason(node: ListeningNode, tmp_path: Path):
    broken = encoded(mammogram("broken", StudyInstanceUID=""))
    with calling(node.port) as conversation:
        response = send_bytes(
            conversation, broken, sop_class_uid=FOR_PRESENTATION, sop_instance_uid=uid("broken", "R CC")
        )
    assert response.Status == 0xC000
    (refusal,) = node.refusals()
    kept = node.data_dir / refusal.path
    assert kept.parent == node.data_dir / "quarantine"
    assert kept.read_bytes().endswith(broken)
    assert pydicom.dcmread(kept).PatientID == "4711"
    assert not node.incoming()
    settings = tmp_path / "mammocalc.toml"
    settings.write_text(
        f'[node]\ndata_dir = "{node.data_dir}"\n[ledger]\nurl = "sqlite:///{node.database}"\n'
    )
    said = (
        CliRunner().invoke(command_line(), ["caller", "refused", "--json", "--config", str(settings)]).stdout
    )
    assert str(kept) in said
    assert refusal.reason in said


@pytest.mark.parametrize("unlawful", ["1.2..3", "../../../etc/passwd", "9" * 200])
def test_bytes_under_an_unlawful_uid_are_kept_under_a_name_of_ours(node: ListeningNode, unlawful: str):
    image = mammogram("unlawful")
    with raw_caller(node.port) as caller:
        caller.associate()
        caller.socket.sendall(c_store(unlawful, encoded(image)))
        assert caller.status() == 0xC000
        caller.socket.sendall(c_store(image.SOPInstanceUID, encoded(image)))
        assert caller.status() == 0x0000
    (refusal,) = node.refusals()
    kept = node.data_dir / refusal.path
    assert kept.resolve().parent == (node.data_dir / "quarantine").resolve()
    assert kept.read_bytes().endswith(encoded(image))
    assert pydicom.dcmread(kept).SOPInstanceUID == image.SOPInstanceUID


def test_what_is_refused_for_want_of_room_is_not_kept(make_node: Callable[..., ListeningNode]):
    node = make_node(minimum_free_bytes=1 << 60)
    with calling(node.port) as conversation:
        assert send(conversation, mammogram("full")).Status == 0xA700
    (refusal,) = node.refusals()
    assert refusal.path == ""
    assert not list(node.data_dir.rglob("*.dcm"))


def test_the_oldest_make_room(tmp_path: Path):
    folder = tmp_path / "quarantine"
    by_size = Quarantine(folder, most_bytes=3000, most_files=100)
    names = [
        by_size.keep(arrival(tmp_path / "in", bytes(700), number), now=NOW + timedelta(seconds=number))
        for number in range(5)
    ]
    assert sorted(path.name for path in folder.iterdir()) == names[2:]
    assert by_size.keep(arrival(tmp_path / "in", bytes(3001), 6), now=NOW) == ""
    assert sorted(path.name for path in folder.iterdir()) == names[2:], "what cannot fit drives nothing out"
    by_number = Quarantine(folder, most_bytes=1 << 20, most_files=2)
    last = by_number.keep(arrival(tmp_path / "in", bytes(10), 7), now=NOW + timedelta(hours=1))
    assert sorted(path.name for path in folder.iterdir()) == [names[-1], last]


def test_a_quarantine_that_cannot_be_written_costs_nobody_anything(tmp_path: Path):
    quarantine = Quarantine(tmp_path / "quarantine")
    (tmp_path / "quarantine").rmdir()
    assert quarantine.keep(arrival(tmp_path / "in", b"abcd"), now=NOW) == ""


def test_data_set_of_nothing_is_not_kept(tmp_path: Path):
    assert Quarantine(tmp_path / "quarantine").keep(arrival(tmp_path / "in", b""), now=NOW) == ""


def test_no_file_outlasts_its_row():
    assert MOST_FILES < MOST_REFUSALS
