"""How workers claim studies, hold them, lose them, and how people retry what failed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from mammography.ledger.deliveries import deliveries_of, due, mark_failed
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import (
    LostRace,
    UnknownStudy,
    advance,
    claim,
    expire_leases,
    give_back,
    history_of,
    in_state,
    mark_rung,
    record_instance,
    renew_lease,
    retry,
    studies,
    study,
    unrung,
)
from mammography.ledger.tables import DeliveryState, StudyRow
from mammography.study import ImpossibleTransition, StudyEvent, StudyState
from tests.ledger.given import (
    LEASE,
    NOW,
    PACS,
    STUDY,
    claimed,
    complete,
    image,
    move,
    queued,
    received,
    reported,
)

OTHER = "1.2.840.2"
AFTER = NOW + LEASE + timedelta(seconds=1)


def row_of(ledger: Ledger, uid: str = STUDY) -> StudyRow:
    with ledger.read() as session:
        row = study(session, uid)
    assert row is not None
    return row


def test_eight_threads_claim_one_study_and_exactly_one_wins(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
    start = threading.Barrier(8)

    def take(worker: int) -> bool:
        start.wait()
        with ledger.begin() as session:
            return claim(session, STUDY, owner=f"worker-{worker}", now=NOW, lease=LEASE) is not None

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, range(8))) == 1
    with ledger.read() as session:
        lines = [line for line in history_of(session, STUDY) if line.event == StudyEvent.CLAIMED]
    assert len(lines) == 1
    row = row_of(ledger)
    assert (row.state, row.claims, row.lease_until) == (StudyState.READING, 1, NOW + LEASE)
    assert lines[0].reason == f"{row.lease_owner} reads it (claim 1 of revision 1)."


def test_a_claim_of_nothing_is_none(ledger: Ledger) -> None:
    with ledger.begin() as session:
        assert claim(session, STUDY, owner="worker-1", now=NOW, lease=LEASE) is None
        received(session)
        assert claim(session, STUDY, owner="worker-1", now=NOW, lease=LEASE) is None


def test_a_claim_returns_the_study_as_it_is_now(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        row = claim(session, STUDY, owner="worker-1", now=NOW, lease=LEASE)
    assert row is not None
    assert (row.state, row.claims, row.lease_owner) == (StudyState.READING, 1, "worker-1")


def test_a_lost_race_changes_nothing_and_writes_no_history(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
    with ledger.begin() as session:
        before = len(history_of(session, STUDY))
        with pytest.raises(LostRace, match="no longer reading"):
            move(session, StudyState.READING, StudyEvent.ASSESSED)
        assert len(history_of(session, STUDY)) == before
    assert row_of(ledger).state == StudyState.QUEUED


@pytest.mark.parametrize("where", [{"revision": 2}, {"lease_owner": "worker-2"}, {"state_since": AFTER}])
def test_a_step_is_guarded_by_every_column_that_was_seen(ledger: Ledger, where: dict[str, object]) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session)
        with pytest.raises(LostRace):
            move(session, StudyState.READING, StudyEvent.ASSESSED, where=where)
        seen = {"revision": 1, "lease_owner": "worker-1", "state_since": NOW}
        assert move(session, StudyState.READING, StudyEvent.ASSESSED, where=seen) == StudyState.READ


def test_an_older_reading_loses_against_a_late_image(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session)
    with ledger.begin() as session:
        record_instance(session, image(7))
        complete(session)
        claimed(session, owner="worker-2")
    with ledger.begin() as session, pytest.raises(LostRace):
        move(session, StudyState.READING, StudyEvent.ASSESSED, where={"lease_owner": "worker-1"})
    assert row_of(ledger).lease_owner == "worker-2"


def test_an_impossible_step_is_a_defect(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
        with pytest.raises(ImpossibleTransition):
            advance(
                session, STUDY, seen=StudyState.RECEIVING, event=StudyEvent.COMPOSED, now=NOW, reason="No."
            )


def test_a_lease_is_renewed_by_its_owner_alone(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session)
        assert not renew_lease(session, STUDY, owner="worker-2", now=AFTER, lease=LEASE)
        assert renew_lease(session, STUDY, owner="worker-1", now=AFTER, lease=LEASE)
    assert row_of(ledger).lease_until == AFTER + LEASE
    with ledger.begin() as session:
        move(session, StudyState.READING, StudyEvent.ASSESSED)
        assert not renew_lease(session, STUDY, owner="worker-1", now=AFTER, lease=LEASE)
    assert row_of(ledger).lease_until is None


def test_a_silent_worker_loses_its_study_when_the_lease_expires(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        queued(session, OTHER)
        claimed(session)
        claimed(session, OTHER, now=AFTER)
        mark_rung(session, [STUDY], now=NOW)
        assert expire_leases(session, now=NOW + LEASE - timedelta(seconds=1)) == []
        assert expire_leases(session, now=AFTER) == [STUDY]
    row = row_of(ledger)
    assert (row.state, row.claims, row.lease_owner) == (StudyState.QUEUED, 1, None)
    assert row.reason == "worker-1 went silent, and its lease expired. It is queued again."
    with ledger.begin() as session:
        assert unrung(session, now=AFTER, again_after=timedelta(days=1)) == [STUDY]


def test_eight_threads_expire_one_lease_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session)

    def expire(_: int) -> list[str]:
        with ledger.begin() as session:
            return expire_leases(session, now=AFTER)

    with ThreadPoolExecutor(8) as threads:
        assert [moved for moved in threads.map(expire, range(8)) if moved] == [[STUDY]]


def test_a_study_that_killed_three_workers_waits_for_a_person(ledger: Ledger) -> None:
    for number in range(3):
        with ledger.begin() as session:
            if number == 0:
                queued(session)
            claimed(session, owner=f"worker-{number}")
            assert expire_leases(session, now=AFTER, most_claims=3) == [STUDY]
    row = row_of(ledger)
    assert row.state == StudyState.FAILED
    assert "claimed 3 times; a person has to look at it" in row.reason


def test_a_claim_that_is_given_back_is_guarded_by_its_owner(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session)
    stale = row_of(ledger)
    with ledger.begin() as session:
        expire_leases(session, now=AFTER)
        claimed(session, owner="worker-2", now=AFTER)
        with pytest.raises(LostRace):
            give_back(session, stale, now=AFTER, reason="It crashed.")
        ours = study(session, STUDY)
        assert ours is not None
        assert give_back(session, ours, now=AFTER, reason="It crashed.") == StudyState.QUEUED


def test_a_bell_is_rung_again_after_a_while(ledger: Ledger) -> None:
    minute = timedelta(minutes=1)
    with ledger.begin() as session:
        queued(session)
        queued(session, OTHER, now=NOW + minute)
        received(session, "1.2.840.3")
        assert unrung(session, now=NOW, again_after=minute) == [STUDY, OTHER]
        mark_rung(session, [STUDY, OTHER, "1.2.840.3"], now=NOW)
        assert unrung(session, now=NOW + minute / 2, again_after=minute) == []
        assert unrung(session, now=NOW + minute, again_after=minute) == [STUDY, OTHER]
        unmoved = study(session, "1.2.840.3")
        assert unmoved is not None
        assert unmoved.rung_at is None


def test_a_study_that_failed_before_its_answer_is_judged_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session)
        move(session, StudyState.READING, StudyEvent.GAVE_UP)
        arrived = study(session, STUDY)
        assert arrived is not None
        last = arrived.last_instance_at
        assert retry(session, STUDY, now=AFTER, by="Dr Who") == StudyState.RECEIVING
        line = history_of(session, STUDY)[-1]
    row = row_of(ledger)
    assert (row.claims, row.last_instance_at, row.revision) == (0, last, 1)
    assert (line.event, line.reason) == (StudyEvent.RETRIED, "Dr Who retried it.")


def test_a_study_whose_delivery_failed_is_sent_again_and_not_read_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        failed, other = due(session, destination=PACS, now=NOW)
        mark_failed(session, failed.number, now=NOW, reason="Refused.")
        move(session, StudyState.REPORTED, StudyEvent.GAVE_UP)
        assert [each.number for each in due(session, destination=PACS, now=NOW)] == [other.number]
    with ledger.begin() as session:
        assert retry(session, STUDY, now=AFTER, by="Dr Who") == StudyState.REPORTED
        again = {each.number: each for each in due(session, destination=PACS, now=AFTER)}
        assert set(again) == {failed.number, other.number}
        assert (again[failed.number].attempts, again[failed.number].due_since) == (0, AFTER)


def test_a_study_that_failed_in_its_second_revision_is_read_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        record_instance(session, image(7))
        complete(session)
        move(session, StudyState.QUEUED, StudyEvent.GAVE_UP)
        assert retry(session, STUDY, now=AFTER, by="Dr Who") == StudyState.RECEIVING
        assert {each.state for each in deliveries_of(session, STUDY)} == {DeliveryState.SUPERSEDED}


def test_an_unreadable_study_can_be_retried_and_a_healthy_one_cannot(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
        with pytest.raises(ImpossibleTransition):
            retry(session, STUDY, now=NOW, by="Dr Who")
        move(session, StudyState.RECEIVING, StudyEvent.JUDGED_UNREADABLE)
        assert retry(session, STUDY, now=NOW, by="Dr Who") == StudyState.RECEIVING
        with pytest.raises(UnknownStudy, match=r"holds no study 1\.9"):
            retry(session, "1.9", now=NOW, by="Dr Who")


def test_studies_are_listed_newest_first_and_waiting_ones_oldest_first(ledger: Ledger) -> None:
    with ledger.begin() as session:
        for number in range(3):
            record_instance(
                session, image(0, study=f"1.{number + 1}", received_at=NOW + timedelta(seconds=number))
            )
        move(session, StudyState.RECEIVING, StudyEvent.JUDGED_COMPLETE, study="1.2")
        assert [each.study_instance_uid for each in studies(session)] == ["1.3", "1.2", "1.1"]
        assert [each.study_instance_uid for each in studies(session, limit=1)] == ["1.3"]
        queue = studies(session, states=[StudyState.QUEUED])
        assert [each.study_instance_uid for each in queue] == ["1.2"]
        oldest = in_state(session, StudyState.RECEIVING, StudyState.FAILED)
        assert [each.study_instance_uid for each in oldest] == ["1.1", "1.3"]
        assert len(in_state(session, *StudyState, limit=2)) == 2
