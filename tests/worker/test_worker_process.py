"""The real Celery worker, on a real Redis: what wakes it, what kills it, and what is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mammography.ledger.doorbell import Doorbell
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import assessment_of
from mammography.ledger.studies import expire_leases, history_of, record_instance, study
from mammography.study import StudyEvent, StudyState
from tests.ledger.given import STUDY, complete, image, queued
from tests.servers import RedisServer, wait_for
from tests.worker.conftest import DataFolder
from worker.app import now

ROOT = Path(__file__).parents[2]
ON_SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(
    ledger: Ledger, redis_server: RedisServer, data_folder: DataFolder, tmp_path: Path
) -> Iterator[Start]:
    """Start workers of a lease of two seconds that take so many seconds per image; all end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*, seconds: float = 0.0, lease: float = 2.0) -> subprocess.Popen[str]:
        data_folder.fill()
        url = ledger.url.render_as_string(hide_password=False)
        arguments = [url, redis_server.url, str(data_folder.path), str(lease), str(seconds)]
        with (tmp_path / f"worker-{len(started)}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.at_work", *arguments], cwd=ROOT, stderr=log, text=True
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    for log in tmp_path.glob("worker-*.log"):
        print(log.read_text(encoding="utf-8"))


@pytest.fixture
def doorbell(redis_server: RedisServer) -> Iterator[Doorbell]:
    bell = Doorbell(redis_server.url)
    yield bell
    bell.close()


def state_of(ledger: Ledger, uid: str = STUDY) -> StudyState:
    with ledger.read() as session:
        row = study(session, uid)
    assert row is not None
    return row.state


def events_of(ledger: Ledger, uid: str = STUDY) -> list[StudyEvent]:
    with ledger.read() as session:
        return [line.event for line in history_of(session, uid)]


def reaches(ledger: Ledger, state: StudyState, uid: str = STUDY, *, seconds: float = 30) -> None:
    wait_for(lambda: state_of(ledger, uid) == state, seconds=seconds, what=f"{uid} becoming {state}")


def given_queued(ledger: Ledger, *studies: str) -> None:
    with ledger.begin() as session:
        for uid in studies:
            queued(session, uid)


def test_a_bell_wakes_the_worker(ledger: Ledger, start: Start, doorbell: Doorbell) -> None:
    given_queued(ledger, STUDY)
    start()
    assert doorbell.ring(STUDY)
    reaches(ledger, StudyState.READ)


@ON_SQLITE
def test_a_doubled_bell_makes_one_reading(ledger: Ledger, start: Start, doorbell: Doorbell) -> None:
    studies = [f"1.2.{number}" for number in range(1, 4)]
    given_queued(ledger, *studies)
    for uid in studies * 3:
        assert doorbell.ring(uid)
    start(seconds=0.05)
    start(seconds=0.05)
    for uid in studies:
        reaches(ledger, StudyState.READ, uid)
        assert events_of(ledger, uid).count(StudyEvent.ASSESSED) == 1


def test_a_killed_worker_loses_its_study_to_another_which_makes_the_one_reading(
    ledger: Ledger, start: Start, doorbell: Doorbell
) -> None:
    given_queued(ledger, STUDY)
    first = start(seconds=30)
    doorbell.ring(STUDY)
    reaches(ledger, StudyState.READING)
    os.kill(first.pid, signal.SIGKILL)
    start()

    def swept() -> bool:
        with ledger.begin() as session:
            return expire_leases(session, now=now()) == [STUDY]

    wait_for(swept, seconds=10, what="the lease's end")
    assert state_of(ledger) == StudyState.QUEUED
    doorbell.ring(STUDY)
    reaches(ledger, StudyState.READ)
    assert events_of(ledger)[-4:] == [
        StudyEvent.CLAIMED,
        StudyEvent.LEASE_EXPIRED,
        StudyEvent.CLAIMED,
        StudyEvent.ASSESSED,
    ]
    with ledger.read() as session:
        assert assessment_of(session, STUDY, 1) is not None


@ON_SQLITE
def test_a_study_that_kills_every_worker_waits_for_a_person(
    ledger: Ledger, start: Start, doorbell: Doorbell
) -> None:
    with ledger.begin() as session:
        record_instance(session, image(0, path="images/kill"))
        complete(session)

    def swept() -> bool:
        with ledger.begin() as session:
            return expire_leases(session, now=now()) == [STUDY]

    for _ in range(3):
        worker = start(lease=0.5)
        doorbell.ring(STUDY)
        assert worker.wait(30) == -signal.SIGKILL
        wait_for(swept, what="the lease's end")
    assert state_of(ledger) == StudyState.FAILED


@ON_SQLITE
def test_a_crash_of_one_study_leaves_the_worker_at_work(
    ledger: Ledger, start: Start, doorbell: Doorbell
) -> None:
    with ledger.begin() as session:
        record_instance(session, image(0, study="1.6", path="images/crash"))
        complete(session, "1.6")
        queued(session)
    worker = start()
    doorbell.ring("1.6")
    doorbell.ring(STUDY)
    reaches(ledger, StudyState.READ)
    assert state_of(ledger, "1.6") == StudyState.QUEUED
    assert worker.poll() is None


@ON_SQLITE
def test_sigterm_lets_the_study_in_hand_be_finished(ledger: Ledger, start: Start, doorbell: Doorbell) -> None:
    given_queued(ledger, STUDY, "1.5")
    worker = start(seconds=0.5)
    doorbell.ring(STUDY)
    doorbell.ring("1.5")
    reaches(ledger, StudyState.READING)
    worker.terminate()
    assert worker.wait(20) == 0
    assert [state_of(ledger), state_of(ledger, "1.5")] == [StudyState.READ, StudyState.QUEUED]
    start()
    reaches(ledger, StudyState.READ, "1.5")


@ON_SQLITE
def test_the_worker_works_on_when_redis_was_away(
    ledger: Ledger, start: Start, doorbell: Doorbell, redis_server: RedisServer
) -> None:
    given_queued(ledger, STUDY, "1.5")
    worker = start()
    doorbell.ring(STUDY)
    reaches(ledger, StudyState.READ)
    redis_server.kill()
    assert not doorbell.ring("1.5")
    redis_server.start()
    assert doorbell.ring("1.5")
    reaches(ledger, StudyState.READ, "1.5")
    assert worker.poll() is None


@ON_SQLITE
def test_the_worker_keeps_a_reading_that_was_under_way_when_redis_died(
    ledger: Ledger, start: Start, doorbell: Doorbell, redis_server: RedisServer
) -> None:
    given_queued(ledger, STUDY, "1.5")
    start(seconds=0.3)
    doorbell.ring(STUDY)
    reaches(ledger, StudyState.READING)
    redis_server.kill()
    reaches(ledger, StudyState.READ)
    redis_server.start()
    doorbell.ring("1.5")
    reaches(ledger, StudyState.READ, "1.5")
    assert events_of(ledger).count(StudyEvent.ASSESSED) == 1


@ON_SQLITE
def test_the_worker_works_on_when_redis_was_flushed(
    ledger: Ledger, start: Start, doorbell: Doorbell, redis_server: RedisServer
) -> None:
    given_queued(ledger, STUDY, "1.5")
    start()
    doorbell.ring(STUDY)
    reaches(ledger, StudyState.READ)
    redis_server.flush()
    doorbell.ring("1.5")
    reaches(ledger, StudyState.READ, "1.5")
