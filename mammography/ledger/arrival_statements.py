"""The statements that every group of arriving instances runs."""

from typing import cast

from sqlalchemy import Executable, Table, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect

from mammography.ledger.prepared import Prepared, parameter
from mammography.ledger.tables import HistoryRow, InstanceRow, StudyRow

_STUDY, _INSTANCE, _HISTORY = (cast(Table, row.__table__) for row in (StudyRow, InstanceRow, HistoryRow))


def _seen_studies(_dialect: Dialect, rows: int) -> Executable:
    key = _STUDY.c.study_instance_uid
    asked = [parameter(key, row) for row in range(rows)]
    found = select(key, _STUDY.c.state, _STUDY.c.revision).where(key.in_(asked)).order_by(key)
    return found.with_for_update(key_share=True)


def _missing_studies(dialect: Dialect, rows: int) -> Executable:
    return _insertion(_STUDY, dialect, rows).returning(_STUDY.c.study_instance_uid)


def _missing_instances(dialect: Dialect, rows: int) -> Executable:
    return _insertion(_INSTANCE, dialect, rows).returning(_INSTANCE.c.sop_instance_uid)


def _insertion(table: Table, dialect: Dialect, rows: int) -> sqlite.Insert | postgresql.Insert:
    """Return the statement that inserts those of so many rows whose keys are not there, without what may be unknown."""
    stated = [column for column in table.c if not column.nullable]
    values = [{column.name: parameter(column, row) for column in stated} for row in range(rows)]
    insertion = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
    return insertion(table).values(values).on_conflict_do_nothing()


def _history_line(_dialect: Dialect, _rows: int) -> Executable:
    told = [column for column in _HISTORY.c if column is not _HISTORY.c.number]
    return insert(_HISTORY).values({column.name: parameter(column, 0) for column in told})


def _arrived_last(_dialect: Dialect, _rows: int) -> Executable:
    return (
        update(_STUDY)
        .where(_STUDY.c.study_instance_uid == parameter(_STUDY.c.study_instance_uid, 0))
        .values(
            reason=parameter(_STUDY.c.reason, 0),
            last_instance_at=parameter(_STUDY.c.last_instance_at, 0, name="at"),
            claims=text("0"),
        )
    )


SEEN_STUDIES = Prepared(_seen_studies)
"""UID, state and revision of those studies that there are, locked in the order of their UIDs."""
MISSING_STUDIES = Prepared(_missing_studies)
"""Inserts studies, and returns the UIDs of those that it did insert; of two transactions at once neither fails."""
MISSING_INSTANCES = Prepared(_missing_instances)
"""Inserts instances, in the same way."""
HISTORY_LINE = Prepared(_history_line)
ARRIVED_LAST = Prepared(_arrived_last)
"""Says of a study that stays RECEIVING what arrived last, and when: a line of its history."""
