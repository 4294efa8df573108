"""The same bytes are one instance however often they come; other bytes are kept beside the first."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import xxhash
from pydicom.uid import ExplicitVRLittleEndian

from mammography.ledger.engine import Ledger
from mammography.ledger.studies import history_of, instances_of
from node.arrival import SMALL_BYTES
from node.data_set_digest import data_set_digest
from node.part10 import Announcement
from node.presence import Presence
from node.reception import Reception
from tests.reception.conftest import ListeningNode
from tests.reception.keeping import announced, arrived, keep
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram, uid
from tests.reception.senders import calling, send


@pytest.fixture(params=[8, 300], ids=["small", "large"])
def side(request: pytest.FixtureRequest) -> int:
    """Of a mammogram that is kept in the journal first, and of one that is not."""
    return request.param


def test_the_same_bytes_again_change_nothing(node: ListeningNode, side: int):
    image = mammogram("again", side=side)
    with calling(node.port) as conversation:
        assert send(conversation, image).Status == 0x0000
        history = len(node.history("again"))
        assert send(conversation, image).Status == 0x0000
    assert len(node.instances("again")) == 1
    assert len(node.history("again")) == history
    assert node.stored("again") == [f"{image.SOPInstanceUID}.dcm"]


def test_other_bytes_under_the_same_uid_are_kept_beside_the_first(node: ListeningNode, side: int):
    first, second = mammogram("conflict", side=side), mammogram("conflict", side=side, PatientID="other")
    with calling(node.port) as conversation:
        for image in (first, second, second, first):
            assert send(conversation, image).Status == 0x0000
    digest = xxhash.xxh3_128(encoded(second)).hexdigest()
    assert node.stored("conflict") == [
        f"{first.SOPInstanceUID}.conflict-{digest[:8]}.dcm",
        f"{first.SOPInstanceUID}.dcm",
    ]
    (row,) = node.instances("conflict")
    kept = data_set_digest(node.data_dir / row.path)
    assert row.digest == xxhash.xxh3_128(encoded(first)).hexdigest() == kept
    assert any(
        "SOP Instance UID" in line.reason and "first is kept" in line.reason
        for line in node.history("conflict")
    )


def test_a_file_that_a_power_cut_left_without_a_row_is_no_obstacle(node: ListeningNode, side: int):
    """Same bytes or others: the row names a file that holds what was acknowledged."""
    reception = node.reception
    for study, orphan in (
        ("same", mammogram("same", side=side)),
        ("other", mammogram("other", side=side, PatientID="x")),
    ):
        image = mammogram(study, side=side)
        images = node.data_dir / "studies" / uid(study) / "images"
        images.mkdir(parents=True)
        arrival = reception.begin(announced(image))
        arrival.write(encoded(orphan))
        arrival.seal()
        arrival.in_file().rename(images / f"{image.SOPInstanceUID}.dcm")
        with calling(node.port) as conversation:
            assert send(conversation, image).Status == 0x0000
        (row,) = node.instances(study)
        kept = data_set_digest(node.data_dir / row.path)
        assert kept == xxhash.xxh3_128(encoded(image)).hexdigest()


def test_a_file_without_a_row_that_another_sender_brought_stays_as_it_is(node: ListeningNode, side: int):
    """The header names the sender: files of the same data set are not of the same length."""
    image = mammogram("another", side=side)
    file = node.data_dir / "studies" / uid("another") / "images" / f"{image.SOPInstanceUID}.dcm"
    file.parent.mkdir(parents=True)
    arrival = arrived(node.reception, image, calling_ae_title="CT1")
    arrival.seal()
    arrival.in_file().rename(file)
    before = file.stat().st_ino
    with calling(node.port) as conversation:
        assert send(conversation, image).Status == 0x0000
    assert node.stored("another") == [file.name]
    assert file.stat().st_ino == before


def test_bytes_that_the_ledger_does_not_know_the_instance_by_give_the_plain_name_back(
    node: ListeningNode, side: int
):
    image, unknown = mammogram("plain", side=side), mammogram("plain", side=side, PatientID="x")
    images = node.data_dir / "studies" / uid("plain") / "images"
    images.mkdir(parents=True)
    with calling(node.port) as conversation:
        for _ in range(2):  # the second time its digest is taken
            send(conversation, image)
        (images / f"{image.SOPInstanceUID}.dcm").unlink()
        assert send(conversation, unknown).Status == 0x0000
        digest = xxhash.xxh3_128(encoded(unknown)).hexdigest()
        assert node.stored("plain") == [f"{image.SOPInstanceUID}.conflict-{digest[:8]}.dcm"]
        assert send(conversation, image).Status == 0x0000
    (row,) = node.instances("plain")
    assert data_set_digest(node.data_dir / row.path) == row.digest, "what was lost is there again"


def test_eight_senders_of_the_same_study_make_one_row_each(ledger: Ledger, tmp_path: Path, side: int):
    """On each kind of database; receptions of their own, as if in processes of their own."""
    images = [mammogram("eight", side=side, SOPInstanceUID=uid("eight", str(number))) for number in range(6)]
    run_together(ledger, tmp_path, [images] * 8)
    with ledger.read() as session:
        rows = instances_of(session, uid("eight"))
    assert sorted(row.sop_instance_uid for row in rows) == sorted(image.SOPInstanceUID for image in images)
    assert len(list((tmp_path / "data").rglob("*.dcm"))) == 6
    assert not list((tmp_path / "data" / "incoming").iterdir())


def test_eight_senders_of_eight_images_under_one_uid_lose_none(ledger: Ledger, tmp_path: Path, side: int):
    images = [mammogram("one-uid", side=side, PatientID=str(number)) for number in range(8)]
    run_together(ledger, tmp_path, [[image] for image in images])
    with ledger.read() as session:
        (row,) = instances_of(session, uid("one-uid"))
        history = history_of(session, uid("one-uid"))
    first = data_set_digest(tmp_path / "data" / row.path)
    assert row.digest in ("", first)
    kept = {data_set_digest(path) for path in (tmp_path / "data").rglob("*.dcm")}
    assert kept == {xxhash.xxh3_128(encoded(image)).hexdigest() for image in images}
    assert sum("first is kept" in line.reason for line in history) == 7


def run_together(ledger: Ledger, folder: Path, loads: list[list]) -> None:
    failures: list[BaseException] = []

    def store_all(images: list) -> None:
        reception = Reception(ledger=ledger, data_dir=folder / "data", minimum_free_bytes=0)
        together.wait()
        try:
            for image in images:
                keep(reception, image)
        except BaseException as failure:
            failures.append(failure)
            raise
        finally:
            reception.close()

    together = threading.Barrier(len(loads))
    senders = [threading.Thread(target=store_all, args=(images,)) for images in loads]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert not failures


@pytest.mark.parametrize("left", [0, 3])
def test_what_a_killed_process_left_half_received_is_swept(tmp_path: Path, ledger: Ledger, left: int):
    reception = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
    for number in range(left):
        (tmp_path / "data" / "incoming" / f"{number}.part").write_bytes(b"half")
    assert reception.sweep_incoming() == left
    assert not list((tmp_path / "data" / "incoming").iterdir())


def test_what_a_living_process_receives_into_the_same_folder_is_left_alone(tmp_path: Path, ledger: Ledger):
    """Two nodes share a data folder; one of them starts while a study comes to the other."""
    announced = Announcement(
        sop_class_uid=FOR_PRESENTATION,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=str(ExplicitVRLittleEndian),
        calling_ae_title="MODALITY1",
    )
    first = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
    arrival = first.begin(announced)
    arrival.write(bytes(SMALL_BYTES + 1))  # half of it
    second = Reception(ledger=ledger, data_dir=tmp_path / "data", minimum_free_bytes=0)
    assert second.sweep_incoming() == 0
    assert len(list((tmp_path / "data" / "incoming").iterdir())) == 1
    arrival.discard()


def test_a_process_is_seen_by_others_until_it_ends(tmp_path: Path):
    code = "import sys, time; from pathlib import Path; from node.presence import Presence\n"
    code += "print(Presence(Path(sys.argv[1])).name, flush=True); time.sleep(60)"
    ours = Presence(tmp_path)
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        name = other.stdout.readline().strip()
        assert ours.others() == {name}
        other.kill()
    assert ours.others() == set()
    assert [path.name for path in tmp_path.iterdir()] == [ours.name]
