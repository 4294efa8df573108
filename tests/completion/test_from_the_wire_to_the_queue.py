"""From the last byte of a study to its place in the queue, through real sockets."""

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import study
from mammography.study import StudyState
from node.association import Acceptor
from node.completion import Completion
from node.hall import Offer
from node.reception import Reception
from tests.reception.mammograms import mammogram, saved, screening_set, uid
from tests.reception.senders import calling, send
from tests.servers import wait_for


class Receiving:
    """A node that receives and judges."""

    def __init__(self, folder: Path) -> None:
        upgrade(f"sqlite:///{folder}/ledger.db")
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self.rung: list[tuple[float, str]] = []
        self.completion = Completion(
            ledger=self.ledger,
            quiet_period=timedelta(seconds=1),
            longest_wait=timedelta(minutes=1),
            ring=self._ring,
        )
        self.reception = Reception(ledger=self.ledger, data_dir=folder / "data", minimum_free_bytes=0)
        self.acceptor = Acceptor(
            ae_title="MAMMOCALC",
            host="127.0.0.1",
            port=0,
            offer=Offer(
                store=self.reception,
                operations={},
            ),
            on_study_touched=lambda one: self.completion.association_ended(one, now=datetime.now(UTC)),
        )
        self.acceptor.start()

    def _ring(self, study_instance_uid: str) -> bool:
        self.rung.append((time.monotonic(), study_instance_uid))
        return True

    def state(self, name: str) -> StudyState:
        with self.ledger.read() as session:
            return study(session, uid(name)).state


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Receiving]:
    node = Receiving(tmp_path)
    yield node
    node.acceptor.stop()
    node.reception.close()
    node.ledger.close()


def test_a_full_set_is_queued_within_a_second_of_the_end_of_its_association(
    receiving: Receiving, tmp_path: Path
):
    files = [saved(image, tmp_path / f"{number}.dcm") for number, image in enumerate(screening_set("full"))]
    port = str(receiving.acceptor.port)
    subprocess.run(["storescu", "-aec", "MAMMOCALC", "127.0.0.1", port, *files], check=True, timeout=60)
    ended = time.monotonic()
    wait_for(lambda: receiving.rung, seconds=1, what="the bell")
    ((rung, name),) = receiving.rung
    assert name == uid("full")
    assert rung - ended < 1
    assert receiving.state("full") is StudyState.QUEUED


def test_four_associations_of_one_image_each_make_one_study(receiving: Receiving):
    for image in screening_set("one-by-one"):
        with calling(receiving.acceptor.port) as conversation:
            send(conversation, image)
    wait_for(lambda: receiving.rung, seconds=2, what="the bell")
    time.sleep(0.3)
    assert [name for _, name in receiving.rung] == [uid("one-by-one")]


def test_the_end_of_one_of_two_associations_does_not_complete_their_study(receiving: Receiving):
    with calling(receiving.acceptor.port) as first:
        send(first, mammogram("two", "R CC"))
        with calling(receiving.acceptor.port, ae_title="MODALITY2") as second:
            for view in ("L CC", "R MLO", "L MLO"):
                send(second, mammogram("two", view))
        time.sleep(0.4)
        assert receiving.state("two") is StudyState.RECEIVING
        assert send(first, mammogram("two", "R CC", SOPInstanceUID=uid("two", "again"))).Status == 0x0000
    wait_for(lambda: receiving.state("two") is StudyState.QUEUED, seconds=2, what="the completion")


def test_an_incomplete_set_waits_for_the_quiet_period_of_the_sweep(receiving: Receiving):
    with calling(receiving.acceptor.port) as conversation:
        send(conversation, mammogram("partial", "R CC"))
    sent = datetime.now(UTC)
    time.sleep(0.2)
    receiving.completion.sweep(now=sent + timedelta(milliseconds=200))
    assert receiving.state("partial") is StudyState.RECEIVING
    receiving.completion.sweep(now=sent + timedelta(seconds=1.1))
    assert receiving.state("partial") is StudyState.QUEUED


def test_a_late_image_opens_a_queued_study_again(receiving: Receiving):
    with calling(receiving.acceptor.port) as conversation:
        for image in screening_set("late"):
            send(conversation, image)
    wait_for(lambda: receiving.state("late") is StudyState.QUEUED, seconds=2, what="the completion")
    with calling(receiving.acceptor.port) as conversation:
        send(conversation, mammogram("late", "R CC", SOPInstanceUID=uid("late", "retake")))
        assert receiving.state("late") is StudyState.RECEIVING
    wait_for(lambda: receiving.state("late") is StudyState.QUEUED, seconds=2, what="the completion")
