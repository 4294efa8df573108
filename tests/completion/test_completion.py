"""Studies become QUEUED when they have arrived, and the bell is rung for them, on each kind of database."""

import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, OperationalError

from mammography.completeness import Verdict
from mammography.ledger.engine import Ledger
from mammography.ledger.signals import SignalSource, record_signal
from mammography.ledger.studies import ArrivedInstance, claim, history_of, record_instance, retry, study
from mammography.ledger.tables import StudyRow
from mammography.study import StudyState
from node.completion import Completion

NOW = datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)
QUIET, LONGEST = timedelta(seconds=60), timedelta(minutes=15)
ALL_FOUR = ("R CC", "L CC", "R MLO", "L MLO")
SECOND = timedelta(seconds=1)


@dataclass
class Bell:
    """A bell that notes for whom it was rung, and that may be out of order."""

    rung: list[str] = field(default_factory=list)
    works: bool = True

    def ring(self, study_instance_uid: str) -> bool:
        if self.works:
            self.rung.append(study_instance_uid)
        return self.works


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def completion(ledger: Ledger, bell: Bell) -> Completion:
    return Completion(ledger=ledger, quiet_period=QUIET, longest_wait=LONGEST, ring=bell.ring)


def arrive(ledger: Ledger, *views: str, study_uid: str = "1.2.3", at: datetime = NOW, **changes: str) -> None:
    for view in views:
        side, position = view.split()
        columns = {
            "sop_instance_uid": f"{study_uid}.{'RL'.index(side)}.{('CC', 'MLO').index(position)}",
            "study_instance_uid": study_uid,
            "series_instance_uid": f"{study_uid}.9",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.2",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "path": f"studies/{study_uid}/images/{view}.dcm",
            "bytes": 1,
            "digest": f"{study_uid}{view}",
            "calling_ae_title": "MODALITY1",
            "received_at": at,
            "modality": "MG",
            "laterality": side,
            "view_position": position,
        }
        with ledger.begin() as session:
            record_instance(session, ArrivedInstance(**(columns | changes)))


def row(ledger: Ledger, study_uid: str = "1.2.3") -> StudyRow:
    with ledger.read() as session:
        found = study(session, study_uid)
    assert found is not None
    return found


def test_a_full_set_is_queued_and_rung_for_when_its_association_ends(ledger, completion, bell):
    arrive(ledger, *ALL_FOUR)
    completion.association_ended("1.2.3", now=NOW + SECOND)
    queued = row(ledger)
    assert queued.state is StudyState.QUEUED
    assert queued.reason == "All four views of the screening set are here."
    assert queued.rung_at == NOW + SECOND
    assert bell.rung == ["1.2.3"]


def test_an_incomplete_set_waits_for_the_quiet_period(ledger, completion, bell):
    arrive(ledger, "R CC", "R MLO")
    completion.association_ended("1.2.3", now=NOW + SECOND)
    assert completion.sweep(now=NOW + QUIET - SECOND) == 0
    assert row(ledger).state is StudyState.RECEIVING
    completion.sweep(now=NOW + QUIET)
    assert row(ledger).state is StudyState.QUEUED
    assert row(ledger).reason == ("Nothing arrived for 60 s; R CC, R MLO are here, L CC, L MLO are missing.")
    assert bell.rung == ["1.2.3"]


def test_each_image_begins_the_quiet_period_anew_until_the_longest_wait(ledger, completion):
    moment = NOW
    for number in range(30):
        arrive(ledger, "R CC", at=moment, sop_instance_uid=f"1.2.3.7.{number}")
        completion.sweep(now=moment + SECOND)
        assert row(ledger).state is StudyState.RECEIVING
        moment += timedelta(seconds=30)
    arrive(ledger, "R CC", at=moment, sop_instance_uid="1.2.3.8")
    completion.sweep(now=moment + SECOND)
    assert row(ledger).state is StudyState.QUEUED
    assert "the longest wait" in row(ledger).reason


def test_a_study_that_the_database_cannot_look_up_keeps_no_other_waiting(
    ledger, completion, bell, monkeypatch
):
    """PostgreSQL takes no NUL, say; what a sender listed may hold one."""

    def all_listed(_session, study_instance_uid, _images) -> bool:
        if study_instance_uid == "1.2.3":
            raise DataError("SELECT", None, ValueError("no NUL"))
        return False

    monkeypatch.setattr("node.completion._all_listed", all_listed)
    for study_uid in ("1.2.3", "1.2.4"):
        arrive(ledger, "R CC", study_uid=study_uid)
    completion.sweep(now=NOW + QUIET)
    assert row(ledger, "1.2.3").state is StudyState.RECEIVING
    assert row(ledger, "1.2.4").state is StudyState.QUEUED
    assert bell.rung == ["1.2.4"]


def test_a_study_that_another_machine_has_locked_keeps_no_other_waiting(
    postgres_ledger_url, bell, monkeypatch
):
    monkeypatch.setattr("mammography.ledger.postgresql.LOCK_TIMEOUT", timedelta(seconds=0.3))
    with closing(Ledger(postgres_ledger_url)) as ledger:
        for study_uid in ("1.3.1", "1.3.2"):
            arrive(ledger, "R CC", study_uid=study_uid)
        completion = Completion(ledger=ledger, quiet_period=QUIET, longest_wait=LONGEST, ring=bell.ring)
        with closing(Ledger(postgres_ledger_url)) as another, another.begin() as session:
            session.execute(text("SELECT * FROM study WHERE study_instance_uid = '1.3.1' FOR UPDATE"))
            completion.sweep(now=NOW + QUIET)
        assert row(ledger, "1.3.1").state is StudyState.RECEIVING
        assert row(ledger, "1.3.2").state is StudyState.QUEUED
        completion.sweep(now=NOW + QUIET)
        assert row(ledger, "1.3.1").state is StudyState.QUEUED


def test_a_ledger_that_is_away_ends_the_sweep(ledger, completion, monkeypatch):
    arrive(ledger, "R CC")

    def away(*_) -> bool:
        raise OperationalError("SELECT", None, ValueError("the server is away"))

    monkeypatch.setattr("node.completion._all_listed", away)
    with pytest.raises(OperationalError, match="away"):
        completion.sweep(now=NOW + QUIET)


def test_a_study_without_a_mammogram_becomes_unreadable_and_wakes_up_with_one(ledger, completion, bell):
    arrive(ledger, "R CC", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", modality="CT", laterality="")
    completion.sweep(now=NOW + QUIET)
    assert row(ledger).state is StudyState.UNREADABLE
    assert row(ledger).reason == "Holds 1 CT image and no mammogram."
    arrive(ledger, "L CC", "L MLO", "R MLO", at=NOW + QUIET * 10)
    arrive(ledger, "R CC", at=NOW + QUIET * 10, sop_instance_uid="1.2.3.7")
    completion.association_ended("1.2.3", now=NOW + QUIET * 10)
    assert row(ledger).state is StudyState.QUEUED
    assert bell.rung == ["1.2.3"]


def test_a_bell_that_was_lost_is_rung_again_by_the_sweep(ledger, completion, bell):
    arrive(ledger, *ALL_FOUR)
    bell.works = False
    completion.association_ended("1.2.3", now=NOW)
    assert row(ledger).rung_at is None
    bell.works = True
    for seconds in range(10):
        completion.sweep(now=NOW + timedelta(seconds=seconds))
    assert bell.rung == ["1.2.3"]
    completion.sweep(now=NOW + timedelta(seconds=30))
    completion.sweep(now=NOW + timedelta(seconds=31))
    assert bell.rung == ["1.2.3"] * 2, "nobody came for 15 s"


def test_while_the_broker_is_away_it_is_not_asked_for_every_study(ledger, completion, bell):
    asked = []
    away = Completion(
        ledger=ledger, quiet_period=QUIET, longest_wait=LONGEST, ring=lambda uid: asked.append(uid) or False
    )
    for number in range(5):
        arrive(ledger, *ALL_FOUR, study_uid=f"1.2.{number}")
        away.association_ended(f"1.2.{number}", now=NOW)
    away.sweep(now=NOW + SECOND)
    assert len(asked) == 1
    away.sweep(now=NOW + SECOND * 6)
    assert len(asked) == 2
    completion.sweep(now=NOW + SECOND * 7)
    assert sorted(bell.rung) == [f"1.2.{number}" for number in range(5)]


def test_who_waits_while_the_broker_is_found_away_does_not_ask_it_again(ledger):
    """Eight associations end at once, and the broker hangs: each would keep its place until it had asked in its turn."""
    asked, everybody = [], threading.Barrier(8)

    def ring(uid: str) -> bool:
        asked.append(uid)
        time.sleep(0.5)
        return False

    away = Completion(ledger=ledger, quiet_period=QUIET, longest_wait=LONGEST, ring=ring)

    def end(number: int) -> None:
        everybody.wait()
        away.association_ended(f"1.2.{number}", now=NOW + number * timedelta(milliseconds=10))

    for number in range(8):
        arrive(ledger, *ALL_FOUR, study_uid=f"1.2.{number}")
    ends = [threading.Thread(target=end, args=(number,)) for number in range(8)]
    for thread in ends:
        thread.start()
    for thread in ends:
        thread.join()
    assert len(asked) == 1


def test_a_study_that_a_worker_took_is_not_rung_for(ledger, completion, bell):
    arrive(ledger, *ALL_FOUR)
    completion.association_ended("1.2.3", now=NOW)
    with ledger.begin() as session:
        claim(session, "1.2.3", owner="worker", now=NOW, lease=timedelta(hours=1))
    completion.sweep(now=NOW + timedelta(minutes=30))
    completion.association_ended("1.2.3", now=NOW + timedelta(minutes=30))
    assert bell.rung == ["1.2.3"]
    assert row(ledger).state is StudyState.READING


def test_a_study_of_a_silent_worker_is_queued_and_rung_for_again(ledger, completion, bell):
    arrive(ledger, *ALL_FOUR)
    completion.association_ended("1.2.3", now=NOW)
    with ledger.begin() as session:
        claim(session, "1.2.3", owner="worker", now=NOW, lease=QUIET)
    completion.sweep(now=NOW + QUIET - SECOND)
    assert row(ledger).state is StudyState.READING
    assert completion.sweep(now=NOW + QUIET) >= 1
    assert row(ledger).state is StudyState.QUEUED
    assert bell.rung == ["1.2.3"] * 2


def test_a_study_that_kills_its_workers_waits_for_a_person(ledger, bell):
    strict = Completion(
        ledger=ledger, quiet_period=QUIET, longest_wait=LONGEST, ring=bell.ring, most_claims=1
    )
    arrive(ledger, *ALL_FOUR)
    strict.association_ended("1.2.3", now=NOW)
    with ledger.begin() as session:
        claim(session, "1.2.3", owner="worker", now=NOW, lease=QUIET)
    strict.sweep(now=NOW + QUIET)
    assert row(ledger).state is StudyState.FAILED


def test_a_study_that_is_retried_is_judged_at_once(ledger, completion):
    arrive(ledger, "R CC", sop_class_uid="1.2.840.10008.5.1.4.1.1.2", modality="CT")
    completion.sweep(now=NOW + QUIET)
    with ledger.begin() as session:
        retry(session, "1.2.3", now=NOW + QUIET * 5, by="a person")
    completion.sweep(now=NOW + QUIET * 5)
    assert row(ledger).state is StudyState.UNREADABLE


def test_a_study_that_nobody_knows_is_no_accident(completion, bell):
    completion.association_ended("9.9.9", now=NOW)
    assert bell.rung == []


def test_of_many_who_judge_at_once_one_moves_the_study(ledger, bell):
    arrive(ledger, *ALL_FOUR)
    together = threading.Barrier(8)

    def judge() -> None:
        mine = Completion(ledger=ledger, quiet_period=QUIET, longest_wait=LONGEST, ring=bell.ring)
        together.wait()
        mine.association_ended("1.2.3", now=NOW)

    judges = [threading.Thread(target=judge) for _ in range(8)]
    for one in judges:
        one.start()
    for one in judges:
        one.join()
    with ledger.read() as session:
        lines = history_of(session, "1.2.3")
    assert [line.to_state for line in lines].count(StudyState.QUEUED) == 1
    assert bell.rung == ["1.2.3"]


def test_an_image_that_comes_between_look_and_step_is_waited_for(ledger, completion):
    arrive(ledger, "R CC")
    seen = row(ledger)
    arrive(ledger, "L CC", at=NOW + QUIET - SECOND)
    complete = Verdict(complete=True, readable=True, reason="nothing arrived for 60 s")
    assert completion._move(seen, complete, NOW + QUIET) is None
    assert row(ledger).state is StudyState.RECEIVING


def test_a_long_queue_is_rung_for_from_its_front(ledger, completion, bell):
    for number in range(20):
        moment = NOW + timedelta(milliseconds=number)
        arrive(ledger, *ALL_FOUR, study_uid=f"1.2.{number}", at=moment)
        completion.association_ended(f"1.2.{number}", now=moment)
    bell.rung.clear()
    completion.sweep(now=NOW + timedelta(minutes=1))
    assert bell.rung == [f"1.2.{number}" for number in range(16)]


@pytest.mark.parametrize("source", list(SignalSource))
def test_a_sender_that_lists_what_is_here_ends_the_wait_at_once(ledger, completion, bell, source):
    arrive(ledger, "R CC", "R MLO")
    with ledger.begin() as session:
        for instances in (["1.2.3.0.0"], ["1.2.3.0.0", "1.2.3.0.1"]):
            record_signal(session, source, "1.9", "1.2.3", instances=instances, finished=True, now=NOW)
    completion.listed("1.2.3", now=NOW + SECOND)
    assert row(ledger).state is StudyState.QUEUED
    assert "all that" in row(ledger).reason
    assert "L CC, L MLO are missing" in row(ledger).reason
    assert bell.rung == ["1.2.3"]


def test_a_list_of_what_has_yet_to_come_is_remembered(ledger, completion, bell):
    completion.listed("1.2.3", now=NOW)
    with ledger.begin() as session:
        record_signal(
            session,
            SignalSource.PROCEDURE_STEP,
            "1.9",
            "1.2.3",
            instances=["1.2.3.0.0", "1.2.3.0.1"],
            finished=True,
            now=NOW,
        )
    arrive(ledger, "R CC")
    completion.association_ended("1.2.3", now=NOW + SECOND)
    assert row(ledger).state is StudyState.RECEIVING
    arrive(ledger, "R MLO", at=NOW + 2 * SECOND)
    completion.association_ended("1.2.3", now=NOW + 3 * SECOND)
    assert row(ledger).state is StudyState.QUEUED
    assert "performed procedure step" in row(ledger).reason
