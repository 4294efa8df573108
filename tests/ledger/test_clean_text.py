"""Whatever others say fits into the ledger: what no database stores is left out."""

import pytest
from sqlalchemy import Column, Enum, String

from mammography.ledger.deliveries import (
    commitment_reported,
    deliveries_of,
    due,
    explain,
    mark_sent,
    postpone,
    request_commitment,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import explain_wait, history_of, record_instance, study
from mammography.ledger.tables import CleanString, CleanText, DeliveryState, Table
from tests.ledger.given import NOW, PACS, STUDY, image, received, reported
from tests.ledger.test_deliveries import LATER, TRANSACTION

SAID, KEPT = "no\0 room\ud800, Größe 5", "no room?, Größe 5"

COLUMNS = [column for table in Table.metadata.sorted_tables for column in table.columns]


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_every_column_for_text_leaves_out_what_no_database_stores(column: Column[object]) -> None:
    assert isinstance(column.type, Enum | CleanString) or not isinstance(column.type, String)


def test_the_columns_for_text_are_not_overlooked() -> None:
    assert sum(isinstance(column.type, CleanText) for column in COLUMNS) >= 10
    assert sum(isinstance(column.type, CleanString) for column in COLUMNS) >= 50


def test_what_a_destination_says_is_written_down(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        first, second = due(session, destination=PACS, now=NOW)
        mark_sent(session, first.number, now=NOW, warning=SAID)
        postpone(session, second.number, now=NOW, until=LATER, reason=SAID)
    with ledger.read() as session:
        sent, waits = deliveries_of(session, STUDY)
    assert (sent.state, sent.warning) == (DeliveryState.SENT, KEPT)
    assert (waits.state, waits.reason, waits.attempts) == (DeliveryState.PENDING, KEPT, 1)
    with ledger.begin() as session:
        explain(session, waits.number, reason=f"{SAID}!")
        request_commitment(
            session,
            [sent.number],
            transaction_uid=TRANSACTION,
            now=NOW,
            ask_again_at=LATER,
            reason=SAID,
        )
    with ledger.read() as session:
        assert [row.reason for row in deliveries_of(session, STUDY)] == [KEPT, f"{KEPT}!"]


def test_what_is_compared_is_compared_as_it_is_stored(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        (first, _) = due(session, destination=PACS, now=NOW)
        mark_sent(session, first.number, now=NOW)
        request_commitment(session, [first.number], transaction_uid=TRANSACTION, now=NOW, ask_again_at=LATER)
        touched = commitment_reported(
            session,
            transaction_uid=f"{TRANSACTION}\0",
            committed=(),
            failed={first.sop_instance_uid: SAID},
            now=LATER,
        )
        assert touched == [STUDY]
    with ledger.read() as session:
        assert deliveries_of(session, STUDY)[0].reason == f"Not committed: {KEPT}"


def test_what_a_header_says_is_told_in_the_history(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session, images=1)
        record_instance(session, image(1, laterality="\0L", calling_ae_title="MOD\0ALITY"))
    with ledger.begin() as session:
        assert history_of(session, STUDY)[-1].reason == "L CC arrived from MODALITY."
        explain_wait(session, STUDY, last_instance_at=NOW, reason=SAID)
    with ledger.read() as session:
        row = study(session, STUDY)
    assert row is not None
    assert row.reason == KEPT
