"""The outbox: what is due, what was acknowledged, what was committed to, and what a study becomes by it."""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from mammography.ledger.deliveries import (
    WrittenResult,
    add_results,
    commitment_reported,
    deliveries_of,
    due,
    mark_failed,
    mark_sent,
    postpone,
    request_commitment,
    results_for,
    results_of,
    settle,
    uncommitted,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import record_instance, study
from mammography.ledger.tables import DeliveryRow, DeliveryState
from mammography.study import StudyEvent, StudyState
from tests.ledger.given import ARCHIVE, NOW, PACS, STUDY, claimed, image, move, queued, reported, result

MINUTE = timedelta(minutes=1)
LATER = NOW + 5 * MINUTE
TRANSACTION = "2.25.77"


def send_all(session: Session, destination: str = PACS) -> list[DeliveryRow]:
    rows = due(session, destination=destination, now=NOW)
    for row in rows:
        mark_sent(session, row.number, now=NOW)
    return rows


def ask_all(session: Session, destination: str = PACS) -> list[DeliveryRow]:
    rows = uncommitted(session, destination=destination, now=NOW)
    numbers = [row.number for row in rows]
    request_commitment(session, numbers, transaction_uid=TRANSACTION, now=NOW, ask_again_at=NOW + MINUTE)
    return rows


def settled(session: Session, commitment_destinations: Collection[str] = ()) -> StudyState | None:
    return settle(session, STUDY, now=LATER, commitment_destinations=commitment_destinations)


def states(session: Session) -> list[DeliveryState]:
    return [row.state for row in deliveries_of(session, STUDY)]


def test_each_object_is_due_at_each_of_its_destinations(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session, destinations=(PACS, ARCHIVE))
        for destination in (PACS, ARCHIVE):
            rows = due(session, destination=destination, now=NOW)
            carried = results_for(session, rows)
            assert sorted(carried[row.sop_instance_uid].kind for row in rows) == ["cad-sr", "gsps"]
        assert due(session, destination="elsewhere", now=NOW) == []
        assert len(due(session, destination=PACS, now=NOW, limit=1)) == 1


def test_results_that_are_added_twice_are_there_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        send_all(session)
    with ledger.begin() as session:
        again = [result(STUDY, 1, "cad-sr", (PACS,))]
        add_results(session, STUDY, revision=1, results=again, destinations=[PACS], now=LATER)
        assert len(results_of(session, STUDY)) == 2
        assert states(session) == [DeliveryState.SENT] * 2


def test_an_object_for_an_unknown_destination_is_refused(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        lost: list[WrittenResult] = [result(STUDY, 1, "cad-sr", ("elsewhere",))]
        with pytest.raises(ValueError, match="No destination is called elsewhere"):
            add_results(session, STUDY, revision=1, results=lost, destinations=[PACS], now=NOW)


def test_a_postponed_delivery_is_due_when_its_time_has_come(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        first, second = due(session, destination=PACS, now=NOW)
        postpone(session, first.number, now=NOW, until=NOW + MINUTE, reason="Connection refused.")
        assert [row.number for row in due(session, destination=PACS, now=NOW)] == [second.number]
        rows = due(session, destination=PACS, now=NOW + MINUTE)
    assert [row.number for row in rows] == [second.number, first.number]
    assert (rows[1].attempts, rows[1].reason, rows[1].due_since) == (1, "Connection refused.", NOW)


def test_a_delivery_is_not_postponed_into_the_past(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        row = due(session, destination=PACS, now=NOW)[0]
        with pytest.raises(ValueError, match="into the future"):
            postpone(session, row.number, now=NOW, until=NOW - MINUTE, reason="")


def test_a_study_is_delivered_when_every_destination_has_acknowledged_every_object(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session, destinations=(PACS, ARCHIVE))
        assert settled(session) is None
        send_all(session)
        assert settled(session) is None
        send_all(session, ARCHIVE)
        assert settled(session) == StudyState.DELIVERED
        assert settled(session) is None
        row = study(session, STUDY)
    assert row is not None
    assert row.reason == "archive, pacs acknowledged every object."


def test_a_study_without_destinations_is_delivered_at_once(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session, destinations=())
        assert settled(session, [PACS]) == StudyState.DELIVERED
        assert settled(session, [PACS]) is None


def test_a_study_is_committed_when_those_who_offer_it_have_committed_to_every_object(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session, destinations=(PACS, ARCHIVE))
        send_all(session)
        send_all(session, ARCHIVE)
        assert settled(session, [PACS]) == StudyState.DELIVERED
        asked = [row.sop_instance_uid for row in ask_all(session)]
        assert settled(session, [PACS]) is None
        report = {"transaction_uid": TRANSACTION, "failed": {}, "now": LATER}
        assert commitment_reported(session, committed=asked[:1], **report) == [STUDY]
        assert settled(session, [PACS]) is None
        assert commitment_reported(session, committed=asked, **report) == [STUDY]
        assert settled(session, [PACS]) == StudyState.COMMITTED
        committed = [row for row in deliveries_of(session, STUDY) if row.destination == PACS]
    assert [row.committed_at for row in committed] == [LATER, LATER]


def test_commitment_that_came_before_the_settling_settles_both_steps(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        send_all(session)
        asked = [row.sop_instance_uid for row in ask_all(session)]
        commitment_reported(session, transaction_uid=TRANSACTION, committed=asked, failed={}, now=NOW)
        assert settled(session, [PACS]) == StudyState.COMMITTED


def test_what_a_destination_could_not_commit_to_is_sent_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        send_all(session)
        settled(session, [PACS])
        good, bad = [row.sop_instance_uid for row in ask_all(session)]
    with ledger.begin() as session:
        touched = commitment_reported(
            session,
            transaction_uid=TRANSACTION,
            committed=[good],
            failed={bad: "no such object instance (0112)"},
            now=LATER,
            send_again_at=LATER + MINUTE,
        )
        assert touched == [STUDY]
        assert settled(session, [PACS]) is None
        assert due(session, destination=PACS, now=LATER) == []
        (again,) = due(session, destination=PACS, now=LATER + MINUTE)
        assert again.sop_instance_uid == bad
        assert (again.reason, again.attempts) == ("Not committed: no such object instance (0112)", 1)


def test_a_report_that_comes_twice_or_late_changes_nothing(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        send_all(session)
        asked = [row.sop_instance_uid for row in ask_all(session)]
        commitment_reported(session, transaction_uid=TRANSACTION, committed=asked, failed={}, now=NOW)
        late = dict.fromkeys(asked, "too late")
        assert (
            commitment_reported(session, transaction_uid=TRANSACTION, committed=[], failed=late, now=NOW)
            == []
        )
        assert (
            commitment_reported(session, transaction_uid="2.25.1", committed=asked, failed={}, now=NOW) == []
        )
        assert states(session) == [DeliveryState.COMMITTED] * 2


def test_what_a_later_revision_answers_is_not_sent_again(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        send_all(session)
        asked = [row.sop_instance_uid for row in ask_all(session)]
        record_instance(session, image(7))
        failed = dict.fromkeys(asked, "processing failure")
        commitment_reported(session, transaction_uid=TRANSACTION, committed=[], failed=failed, now=NOW)
        assert states(session) == [DeliveryState.SUPERSEDED] * 2


def test_commitment_is_asked_for_again_with_the_same_transaction_when_its_time_has_come(
    ledger: Ledger,
) -> None:
    with ledger.begin() as session:
        reported(session)
        assert uncommitted(session, destination=PACS, now=NOW) == []
        send_all(session)
        ask_all(session)
        assert uncommitted(session, destination=PACS, now=NOW) == []
        again = uncommitted(session, destination=PACS, now=NOW + MINUTE)
        assert [row.transaction_uid for row in again] == [TRANSACTION] * 2
        with pytest.raises(ValueError, match="later"):
            request_commitment(
                session, [again[0].number], transaction_uid=TRANSACTION, now=NOW, ask_again_at=NOW
            )


def test_a_delivery_that_failed_is_neither_due_nor_acknowledged(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        first, second = due(session, destination=PACS, now=NOW)
        mark_sent(session, second.number, now=NOW)
        mark_failed(session, first.number, now=NOW, reason="Refused for three days.")
        assert due(session, destination=PACS, now=LATER) == []
        assert settled(session) is None
        failed = deliveries_of(session, STUDY)[0]
        mark_sent(session, first.number, now=NOW)
        assert states(session)[0] == DeliveryState.FAILED
    assert failed.reason == "Refused for three days. Given up at 2026-03-04 09:30 UTC."


def test_only_the_deliveries_of_the_current_revision_settle_a_study(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        record_instance(session, image(7))
        move(session, StudyState.RECEIVING, StudyEvent.JUDGED_COMPLETE)
        claimed(session)
        move(session, StudyState.READING, StudyEvent.ASSESSED)
        second = [result(STUDY, 2, "cad-sr", (PACS,))]
        add_results(session, STUDY, revision=2, results=second, destinations=[PACS], now=NOW)
        move(session, StudyState.READ, StudyEvent.COMPOSED)
        (only,) = due(session, destination=PACS, now=NOW)
        mark_sent(session, only.number, now=NOW)
        assert settled(session) == StudyState.DELIVERED


def test_late_images_and_acknowledgements_at_once_never_wait_for_each_other(ledger: Ledger) -> None:
    studies = [f"1.2.{number}" for number in range(1, 9)]
    with ledger.begin() as session:
        for uid in studies:
            reported(session, uid)
        numbers = {uid: [row.number for row in deliveries_of(session, uid)] for uid in studies}
    start = threading.Barrier(16)

    def acknowledge(uid: str) -> None:
        start.wait()
        with ledger.begin() as session:
            for number in numbers[uid]:
                mark_sent(session, number, now=NOW)
            settle(session, uid, now=NOW, commitment_destinations=[])

    def arrive(uid: str) -> None:
        start.wait()
        with ledger.begin() as session:
            record_instance(session, image(7, study=uid))

    with ThreadPoolExecutor(16) as threads:
        work = [threads.submit(step, uid) for uid in studies for step in (acknowledge, arrive)]
        for each in work:
            each.result(60)
    with ledger.read() as session:
        for uid in studies:
            row = study(session, uid)
            assert row is not None
            assert (row.state, row.revision) == (StudyState.RECEIVING, 2)
            assert {each.state for each in deliveries_of(session, uid)} == {DeliveryState.SENT}
