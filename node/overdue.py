"""No study stays where it is for ever without somebody being told: each state has an age, and then an alarm."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammography.ledger.alarms import AlarmKind, alarm_over, alarms, raise_alarm, was_raised
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import study
from mammography.ledger.tables import StudyRow
from mammography.study import StudyState

BETWEEN_LOOKS = timedelta(seconds=20)
MOST_ALARMS = 200
"""Of one kind; where more is wrong than that, it is one thing that is wrong."""

WHAT_TO_DO: Mapping[StudyState, str] = {
    StudyState.RECEIVING: "Is the dispatch role running?",
    StudyState.QUEUED: "Is a worker running, and can it keep up? Start one with: mammocalc work",
    StudyState.READING: "Its worker does not come to an end; its log says more.",
    StudyState.READ: "Its answer is not composed; the log of the dispatch role says why.",
    StudyState.REPORTED: "A destination does not take its answer; see: mammocalc study show",
    StudyState.DELIVERED: "A destination does not commit to its answer; see: mammocalc study show",
}


class _Wrong(NamedTuple):
    """Why somebody has to look at a study, and since when."""

    since: datetime
    sentence: str


class Overdue:
    """Raises an alarm for each study that is FAILED or longer in a state than it may be, and ends it when it moves on.

    An alarm that a person has seen to is not raised again for the same stay in the same state.

    `ages` are how long each state may last; a state without an age may last.
    """

    def __init__(self, *, ledger: Ledger, ages: Mapping[StudyState, timedelta]) -> None:
        self._ledger, self._ages = ledger, dict(ages)
        self._looked_at: datetime | None = None

    def sweep(self, *, now: datetime) -> int:
        """Look, every now and then, and return how many alarms were raised or ended."""
        if self._looked_at is not None and self._looked_at <= now < self._looked_at + BETWEEN_LOOKS:
            return 0
        self._looked_at = now
        with self._ledger.read() as session:
            wrong = self._wrong(session, now)
            raised = {
                (AlarmKind(row.kind), row.subject)
                for row in alarms(session, limit=2 * MOST_ALARMS)
                if row.kind in (AlarmKind.STUDY_OVERDUE, AlarmKind.STUDY_FAILED)
            }
            seen = {key for key, one in wrong.items() if was_raised(session, *key, since=one.since)}
        new, over = wrong.keys() - raised - seen, raised - wrong.keys()
        for kind, uid in sorted(new)[:MOST_ALARMS]:
            with self._ledger.begin() as session:
                raise_alarm(session, kind, uid, wrong[kind, uid].sentence, now=now)
        for kind, uid in sorted(over):
            with self._ledger.begin() as session:
                row = study(session, uid)
                because = f"It is {row.state}." if row else "It is gone."
                alarm_over(session, kind, uid, now=now, because=because)
        return len(new) + len(over)

    def _wrong(self, session: Session, now: datetime) -> dict[tuple[AlarmKind, str], _Wrong]:
        """Return the studies that somebody has to look at."""
        failed = select(StudyRow).where(StudyRow.state == StudyState.FAILED)
        wrong = {
            (AlarmKind.STUDY_FAILED, row.study_instance_uid): _Wrong(
                row.state_since, f"A study is FAILED: {row.reason}"
            )
            for row in session.scalars(failed.order_by(StudyRow.state_since).limit(MOST_ALARMS))
        }
        for state, age in self._ages.items():
            late = (
                select(StudyRow)
                .where(StudyRow.state == state, StudyRow.state_since <= now - age)
                .order_by(StudyRow.state_since)
                .limit(MOST_ALARMS)
            )
            for row in session.scalars(late):
                wrong[AlarmKind.STUDY_OVERDUE, row.study_instance_uid] = _Wrong(
                    row.state_since,
                    f"A study has been {state} since {row.state_since:%Y-%m-%d %H:%M} UTC, which may take "
                    f"{_in_words(age)}. {WHAT_TO_DO.get(state, '')} It says: {row.reason}",
                )
        return wrong


def _in_words(age: timedelta) -> str:
    """Return an age as a person says it: "90 min", "2 h", "1 days"."""
    minutes = age.total_seconds() / 60
    if minutes < 120:
        return f"{minutes:g} min"
    return f"{minutes / 60:g} h" if minutes < 48 * 60 else f"{minutes / 1440:g} days"
