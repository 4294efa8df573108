"""Where the console's lists come from: bounded questions to the ledger, and never a change to it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mammography.finding import FindingAssessment
from mammography.ledger.alarms import alarms
from mammography.ledger.findings import summary_from_json
from mammography.ledger.strangers import strangers
from mammography.ledger.tables import (
    InstanceRow,
    ReadingRow,
    RefusalRow,
    StudyRow,
)
from mammography.study import StudyState
from node.console.facts import (
    AlarmFacts,
    FindingCounts,
    RefusalFacts,
    RefusalList,
    StrangerFacts,
    StudyLine,
    StudyList,
    ViewCount,
)

PAGE = 100
"""Rows on one page of a list."""
MOST_ALARMS = 20
"""Raised alarms that the list of studies shows."""
HANGING = ("R CC", "L CC", "R MLO", "L MLO")
"""The screening set in the order in which it hangs: the right breast at the left side."""


def study_list(
    session: Session, *, node: str, states: Sequence[StudyState], page: int, now: datetime
) -> StudyList:
    """Return one page of studies, those that were sent last first."""
    wanted = select(StudyRow).order_by(StudyRow.last_instance_at.desc(), StudyRow.study_instance_uid)
    if states:
        wanted = wanted.where(StudyRow.state.in_(states))
    rows = list(session.scalars(wanted.limit(PAGE + 1).offset((page - 1) * PAGE)))
    shown = rows[:PAGE]
    lines = study_lines(session, shown)
    return StudyList(
        node=node,
        at=now,
        counts=study_counts(session),
        states=list(states),
        page=page,
        more=len(rows) > PAGE,
        studies=lines,
        alarms=[
            AlarmFacts.model_validate(row, from_attributes=True)
            for row in (alarms(session, limit=MOST_ALARMS) if page == 1 else [])
        ],
        trained_on=sorted({line.findings.trained_on for line in lines if line.findings}),
    )


def refusal_list(session: Session, *, data_dir: Path, page: int, now: datetime) -> RefusalList:
    """Return one page of refused instances, newest first, and with the first one who was turned away."""
    wanted = select(RefusalRow).order_by(RefusalRow.number.desc()).limit(PAGE + 1).offset((page - 1) * PAGE)
    rows = list(session.scalars(wanted))
    return RefusalList(
        at=now,
        page=page,
        more=len(rows) > PAGE,
        refusals=[_refusal(row, data_dir) for row in rows[:PAGE]],
        strangers=[
            StrangerFacts.model_validate(row, from_attributes=True)
            for row in (strangers(session) if page == 1 else [])
        ],
    )


def view_name(laterality: str, view_position: str, view_modifiers: str = "") -> str:
    """Return the radiographer's name of a view, or "" where side or position is not stated."""
    if not (laterality and view_position):
        return ""
    modifiers = "".join(f" ({modifier})" for modifier in view_modifiers.split(",") if modifier)
    return f"{laterality} {view_position}{modifiers}"


def study_counts(session: Session) -> dict[StudyState, int]:
    """Return how many studies are in each state; a state without studies is 0."""
    counted = select(StudyRow.state, func.count().label("studies")).group_by(StudyRow.state)
    found: dict[StudyState, int] = {row.state: row.studies for row in session.execute(counted)}
    return {state: found.get(state, 0) for state in StudyState}


def newest_readings(session: Session, uids: Sequence[str]) -> dict[str, ReadingRow]:
    """Return the newest reading of each study that has one."""
    newest = (
        select(ReadingRow.study_instance_uid, func.max(ReadingRow.revision).label("revision"))
        .where(ReadingRow.study_instance_uid.in_(uids))
        .group_by(ReadingRow.study_instance_uid)
        .subquery()
    )
    rows = session.scalars(
        select(ReadingRow).join(
            newest,
            (ReadingRow.study_instance_uid == newest.c.study_instance_uid)
            & (ReadingRow.revision == newest.c.revision),
        )
    )
    return {row.study_instance_uid: row for row in rows}


def _refusal(row: RefusalRow, data_dir: Path) -> RefusalFacts:
    facts = RefusalFacts.model_validate(row, from_attributes=True)
    here = row.path and (data_dir / row.path).is_file()
    return facts if here else facts.model_copy(update={"path": ""})


def study_lines(session: Session, rows: Sequence[StudyRow]) -> list[StudyLine]:
    """Return list lines for studies, with what has arrived of each and how much its newest reading says."""
    uids = [row.study_instance_uid for row in rows]
    arrived, readings = _arrived(session, uids), newest_readings(session, uids)
    lines = []
    for row in rows:
        views, callers = arrived[row.study_instance_uid]
        reading = readings.get(row.study_instance_uid)
        lines.append(
            StudyLine(
                study_instance_uid=row.study_instance_uid,
                accession_number=row.accession_number,
                state=row.state,
                state_since=row.state_since,
                reason=row.reason,
                revision=row.revision,
                first_instance_at=row.first_instance_at,
                last_instance_at=row.last_instance_at,
                instances=views.total(),
                views=[
                    ViewCount(view=view, images=views[view]) for view in sorted(views, key=hanging) if view
                ],
                calling_ae_titles=sorted(callers),
                findings=_finding_counts(reading) if reading else None,
            )
        )
    return lines


def _arrived(session: Session, uids: Sequence[str]) -> dict[str, tuple[Counter[str], set[str]]]:
    """Return, for each study, how many images of each view have arrived ("": no view) and who sent them."""
    columns = (
        InstanceRow.study_instance_uid,
        InstanceRow.laterality,
        InstanceRow.view_position,
        InstanceRow.view_modifiers,
        InstanceRow.calling_ae_title,
    )
    arrived: dict[str, tuple[Counter[str], set[str]]] = defaultdict(lambda: (Counter(), set()))
    counted = (
        select(*columns, func.count()).where(InstanceRow.study_instance_uid.in_(uids)).group_by(*columns)
    )
    for uid, laterality, position, modifiers, caller, count in session.execute(counted):
        views, callers = arrived[uid]
        views[view_name(laterality, position, modifiers)] += count
        callers.add(caller)
    return arrived


def hanging(view: str) -> tuple[int, str]:
    """Return a sort key: the screening set as it hangs, then everything else by name, no view last."""
    return (HANGING.index(view) if view in HANGING else len(HANGING) + (not view), view)


def _finding_counts(reading: ReadingRow) -> FindingCounts:
    summary = summary_from_json(reading.assessment)
    return FindingCounts(
        revision=reading.revision,
        suspicious=summary.calls[FindingAssessment.SUSPICIOUS],
        benign=summary.calls[FindingAssessment.BENIGN],
        not_read=summary.not_read,
        trained_on=summary.trained_on,
    )
