"""A clock that was ahead, and is set right: nothing waits for it to come round again."""

from datetime import timedelta

import pytest

from mammography.ledger.clock import LONGEST_PLANNED, TOLERANCE, bring_back
from mammography.ledger.deliveries import (
    deliveries_of,
    due,
    mark_sent,
    postpone,
    request_commitment,
    uncommitted,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import expire_leases, mark_rung, study, unrung
from mammography.study import StudyState
from tests.ledger.given import LEASE, NOW, PACS, STUDY, claimed, queued, received, reported

WRONG = NOW + timedelta(days=300)
"""What the clock said."""


def brought_back(ledger: Ledger) -> list[str]:
    with ledger.begin() as session:
        return bring_back(session, now=NOW, lease=LEASE)


def test_a_study_that_arrives_waits_from_now_on(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
        row = study(session, STUDY)
        row.last_instance_at = row.state_since = WRONG
    assert brought_back(ledger) == [STUDY]
    with ledger.read() as session:
        row = study(session, STUDY)
    assert (row.last_instance_at, row.state_since) == (NOW, NOW)


def test_a_lease_ends_one_lease_from_now(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session, now=WRONG)
    assert brought_back(ledger) == [STUDY]
    with ledger.begin() as session:
        assert expire_leases(session, now=NOW + LEASE) == [STUDY]


def test_a_bell_is_rung_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        mark_rung(session, [STUDY], now=WRONG)
    assert brought_back(ledger) == [STUDY]
    with ledger.read() as session:
        assert unrung(session, now=NOW, again_after=timedelta(seconds=15)) == [STUDY]


def test_what_was_put_off_is_due(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        (first, *_) = due(session, destination=PACS, now=NOW)
        postpone(session, first.number, now=WRONG, until=WRONG + timedelta(seconds=1), reason="It is busy.")
    assert brought_back(ledger) == [STUDY]
    with ledger.read() as session:
        assert first.number in {one.number for one in due(session, destination=PACS, now=NOW)}


def test_what_came_into_the_outbox_under_a_clock_an_hour_ahead_is_due(ledger: Ledger) -> None:
    hour = timedelta(hours=1)
    with ledger.begin() as session:
        reported(session)
        for one in deliveries_of(session, STUDY):
            one.due_since = one.next_attempt_at = NOW + hour
    assert brought_back(ledger) == [STUDY]
    assert brought_back(ledger) == []
    with ledger.read() as session:
        assert {one.due_since for one in due(session, destination=PACS, now=NOW)} == {NOW}


def test_what_was_sent_under_a_clock_an_hour_ahead_is_asked_for(ledger: Ledger) -> None:
    hour = timedelta(hours=1)
    with ledger.begin() as session:
        reported(session)
        numbers = [one.number for one in due(session, destination=PACS, now=NOW)]
        for number in numbers:
            mark_sent(session, number, now=NOW + hour)
        again = NOW + hour + timedelta(minutes=1)
        request_commitment(session, numbers, transaction_uid="1.2.3", now=NOW + hour, ask_again_at=again)
    assert brought_back(ledger) == [STUDY]
    with ledger.read() as session:
        assert {one.sent_at for one in uncommitted(session, destination=PACS, now=NOW)} == {NOW}


@pytest.mark.parametrize("ahead", [-timedelta(hours=1), timedelta(0), TOLERANCE])
def test_what_the_node_itself_planned_stays_as_it_is(ledger: Ledger, ahead: timedelta) -> None:
    """Machines that share a ledger have clocks of their own, a little apart."""
    with ledger.begin() as session:
        queued(session)
        claimed(session, now=NOW + ahead)
        reported(session, "1.2.840.2")
        (first, *_) = due(session, destination=PACS, now=NOW)
        postpone(session, first.number, now=NOW, until=NOW + LONGEST_PLANNED, reason="It is busy.")
    with ledger.read() as session:
        before = study(session, STUDY).lease_until
    assert brought_back(ledger) == []
    with ledger.read() as session:
        assert study(session, STUDY).lease_until == before
        assert study(session, STUDY).state is StudyState.READING
        assert first.number not in {one.number for one in due(session, destination=PACS, now=NOW)}
