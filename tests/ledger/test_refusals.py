"""Refusals are remembered newest first, and the oldest forgotten: a sender may try again for days."""

from datetime import timedelta

import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from mammography.ledger.engine import Ledger
from mammography.ledger.refusals import FORGETS_EVERY, MOST_REFUSALS, record_refusal, refusals
from mammography.ledger.tables import RefusalRow
from tests.ledger.given import NOW

FULL = "The disk is full: nothing more is accepted."


def refused(session: Session, *, times: int, path: str = "") -> None:
    """Let a sender be refused many times before."""
    row = {"at": NOW, "calling_ae_title": "MODALITY1", "reason": FULL, "path": path}
    session.execute(insert(RefusalRow), [row] * times)


def refused_again(session: Session, *, path: str = "") -> None:
    """Let a sender be refused so often that the oldest are looked for."""
    for number in range(FORGETS_EVERY):
        record_refusal(
            session,
            at=NOW + timedelta(seconds=number),
            calling_ae_title="MODALITY1",
            sop_instance_uid="1.2.3",
            reason=FULL,
            path=path,
        )


def test_of_a_sender_that_tries_again_for_days_the_newest_refusals_stay(ledger: Ledger) -> None:
    with ledger.begin() as session:
        record_refusal(session, at=NOW, calling_ae_title="FIRST", sop_instance_uid="1", reason="no pixels")
        refused(session, times=MOST_REFUSALS)
        refused_again(session)
    with ledger.read() as session:
        rows = refusals(session, limit=2 * MOST_REFUSALS)
    assert MOST_REFUSALS <= len(rows) < MOST_REFUSALS + FORGETS_EVERY
    assert rows[0].at == NOW + timedelta(seconds=FORGETS_EVERY - 1)
    assert rows[-1].reason == FULL


def test_of_very_many_from_before_the_oldest_go_a_part_at_a_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single statement for millions might take longer than the database gives it."""
    monkeypatch.setattr("mammography.ledger.refusals._MOST_FORGOTTEN", 40)
    with ledger.begin() as session:
        refused(session, times=MOST_REFUSALS + 200)
        refused_again(session)
    with ledger.read() as session:
        left = len(refusals(session, limit=2 * MOST_REFUSALS))
    assert left == MOST_REFUSALS + 200 + FORGETS_EVERY - 40


def test_a_full_disk_pushes_out_nothing_whose_bytes_were_kept(ledger: Ledger) -> None:
    with ledger.begin() as session:
        kept = {"at": NOW, "calling_ae_title": "FIRST", "sop_instance_uid": "1", "reason": "no pixels"}
        record_refusal(session, **kept, path="quarantine/1.dcm")
        refused(session, times=MOST_REFUSALS)
        refused_again(session)
    with ledger.read() as session:
        rows = refusals(session, limit=2 * MOST_REFUSALS)
    assert [row.path for row in rows if row.path] == ["quarantine/1.dcm"]
    assert rows[-1].reason == "no pixels"


def test_of_those_whose_bytes_were_kept_the_newest_stay(ledger: Ledger) -> None:
    with ledger.begin() as session:
        refused(session, times=FORGETS_EVERY, path="quarantine/old.dcm")
        refused(session, times=MOST_REFUSALS - FORGETS_EVERY, path="quarantine/new.dcm")
        refused_again(session, path="quarantine/newest.dcm")
        refused(session, times=FORGETS_EVERY)
    with ledger.read() as session:
        rows = refusals(session, limit=2 * MOST_REFUSALS)
    kept = [row.path for row in rows if row.path]
    assert MOST_REFUSALS <= len(kept) < MOST_REFUSALS + FORGETS_EVERY
    assert kept[0] == "quarantine/newest.dcm"
    assert kept.count("quarantine/new.dcm") == MOST_REFUSALS - FORGETS_EVERY
