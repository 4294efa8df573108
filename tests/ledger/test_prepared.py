"""Statements whose text is made once say what fails as the library does."""

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from mammography.ledger.arrival_statements import HISTORY_LINE, SEEN_STUDIES
from mammography.ledger.engine import Ledger
from mammography.ledger.tables import HistoryRow
from mammography.study import StudyEvent, StudyState
from tests.ledger.given import NOW, STUDY, received

UNKNOWN = f"{STUDY}.404"


def line(study: str) -> dict[str, object]:
    return {
        "study_instance_uid": study,
        "at": NOW,
        "event": StudyEvent.INSTANCE_STORED,
        "from_state": None,
        "to_state": StudyState.RECEIVING,
        "revision": 1,
        "reason": "Ä 100 % with :colons and ?",
    }


def test_a_line_about_a_study_that_is_not_there_is_an_integrity_error(ledger: Ledger) -> None:
    with pytest.raises(IntegrityError) as failure, ledger.begin() as session:
        HISTORY_LINE.run(session.connection(), [line(UNKNOWN)])
    assert UNKNOWN not in str(failure.value).splitlines()[-1], "no values in what is logged"


def test_what_was_run_before_the_failure_is_rolled_back(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session, images=1)
    with pytest.raises(IntegrityError), ledger.begin() as session:
        HISTORY_LINE.run(session.connection(), [line(STUDY), line(UNKNOWN)])
    with ledger.read() as session:
        assert len(session.scalars(select(HistoryRow)).all()) == 1


def test_values_are_kept_as_they_are(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session, images=1)
        HISTORY_LINE.run(session.connection(), [line(STUDY)])
    with ledger.read() as session:
        kept = session.scalars(select(HistoryRow).order_by(HistoryRow.number.desc()).limit(1)).one()
    assert {name: getattr(kept, name) for name in line(STUDY)} == line(STUDY)


def test_nothing_is_asked_about_nothing(ledger: Ledger) -> None:
    with ledger.begin() as session:
        HISTORY_LINE.run(session.connection(), [])
        assert SEEN_STUDIES.find(session.connection(), []) == []
        assert SEEN_STUDIES.find(session.connection(), [{"study_instance_uid": UNKNOWN}]) == []
