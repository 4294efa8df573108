"""Where the console's facts about one study come from: the ledger, and the pictures in the data folder."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammography.finding import Assessment, Finding, FindingPlace, ImageReading
from mammography.ledger.findings import assessment_from_json
from mammography.ledger.tables import DeliveryRow, HistoryRow, InstanceRow, ResultRow, StudyRow
from mammography.study import StudyState
from mammography.uid import lawful
from node.console.facts import (
    DeliveryFacts,
    FindingFacts,
    HistoryFacts,
    ImageFacts,
    InstanceFacts,
    ObjectFacts,
    ReaderFacts,
    Step,
    StudyFacts,
)
from node.console.lookup import hanging, newest_readings, study_lines, view_name
from node.console.wording import uid_name

MOST_ROWS = 500
"""Most rows of one kind that are shown of one study."""
WAY = (
    StudyState.RECEIVING,
    StudyState.QUEUED,
    StudyState.READING,
    StudyState.READ,
    StudyState.REPORTED,
    StudyState.DELIVERED,
    StudyState.COMMITTED,
)
"""The states of a study that goes well, in order."""


def study_facts(session: Session, study_instance_uid: str, *, data_dir: Path) -> StudyFacts | None:
    """Return everything about one study, or None where the ledger does not know it."""
    row = session.get(StudyRow, study_instance_uid)
    if row is None:
        return None
    reading = newest_readings(session, [study_instance_uid]).get(study_instance_uid)
    revision = reading.revision if reading else row.revision
    assessment = assessment_from_json(reading.assessment) if reading else None
    instances = _instances(session, study_instance_uid)
    history = _history(session, study_instance_uid)
    readings = {said.sop_instance_uid: said for said in assessment.images} if assessment else {}
    way = _way(row, history)
    return StudyFacts(
        study=study_lines(session, [row])[0],
        study_date=row.study_date,
        way=way,
        turnaround_seconds=_turnaround(row, way),
        reader=_reader(assessment, revision) if assessment else None,
        images=_images(instances, readings, _other_views(assessment), data_dir=data_dir, revision=revision),
        instances=[_instance(each, readings.get(each.sop_instance_uid)) for each in instances[:MOST_ROWS]],
        objects=_objects(session, study_instance_uid),
        history=[HistoryFacts.model_validate(each, from_attributes=True) for each in history[-MOST_ROWS:]],
        cut=len(instances) > MOST_ROWS or len(history) > MOST_ROWS,
    )


def picture_file(
    data_dir: Path, study_instance_uid: str, revision: int, sop_instance_uid: str
) -> Path | None:
    """Return the picture of one image that `node.reporting` drew, or None where there is none.

    Names that are no lawful UIDs, and files that lie outside the data folder, are none.
    """
    if not (lawful(study_instance_uid) and lawful(sop_instance_uid)):
        return None
    studies = (data_dir / "studies").resolve()
    file = studies / study_instance_uid / "results" / f"r{revision}" / f"{sop_instance_uid}.png"
    resolved = file.resolve()
    return resolved if resolved.is_relative_to(studies) and resolved.is_file() else None


def _instances(session: Session, study_instance_uid: str) -> list[InstanceRow]:
    """Return a study's instances, one more than are shown, first received first."""
    wanted = select(InstanceRow).where(InstanceRow.study_instance_uid == study_instance_uid)
    ordered = wanted.order_by(InstanceRow.received_at, InstanceRow.sop_instance_uid)
    return list(session.scalars(ordered.limit(MOST_ROWS + 1)))


def _history(session: Session, study_instance_uid: str) -> list[HistoryRow]:
    """Return a study's newest changes, one more than are shown, oldest of them first."""
    wanted = select(HistoryRow).where(HistoryRow.study_instance_uid == study_instance_uid)
    rows = session.scalars(wanted.order_by(HistoryRow.number.desc()).limit(MOST_ROWS + 1))
    return list(rows)[::-1]


def _way(row: StudyRow, history: Iterable[HistoryRow]) -> list[Step]:
    """Return the steps of this revision's way; a step back forgets the times of the steps after it."""
    reached: dict[StudyState, datetime] = {}
    for change in history:
        if change.revision != row.revision or change.to_state not in WAY:
            continue
        place = WAY.index(change.to_state)
        reached = {state: at for state, at in reached.items() if WAY.index(state) <= place}
        if change.from_state != change.to_state or change.to_state not in reached:
            reached[change.to_state] = change.at
    steps = [Step(state=state, reached_at=reached.get(state), current=state is row.state) for state in WAY]
    if row.state not in WAY:
        passed = max((WAY.index(state) for state in reached), default=0)
        steps.insert(passed + 1, Step(state=row.state, reached_at=row.state_since, current=True))
    return steps


def _turnaround(row: StudyRow, way: Iterable[Step]) -> float | None:
    """Return the seconds from the last image to the written answer, where this revision has one."""
    for step in way:
        if step.state is StudyState.REPORTED and step.reached_at is not None:
            return max(0.0, (step.reached_at - row.last_instance_at).total_seconds())
    return None


def _reader(assessment: Assessment, revision: int) -> ReaderFacts:
    reader = assessment.reader
    return ReaderFacts(
        name=reader.name,
        version=reader.version,
        weights_sha256=reader.weights_sha256,
        operating_point=reader.operating_point,
        trained_on=reader.trained_on,
        read_at=assessment.read_at,
        revision=revision,
    )


def _images(
    instances: Sequence[InstanceRow],
    readings: Mapping[str, ImageReading],
    other_views: Mapping[FindingPlace, Sequence[str]],
    *,
    data_dir: Path,
    revision: int,
) -> list[ImageFacts]:
    """Return every mammogram that has arrived or was read, in hanging order."""
    arrived = {
        each.sop_instance_uid: view_name(each.laterality, each.view_position, each.view_modifiers)
        for each in instances
        if each.modality == "MG" or each.sop_instance_uid in readings
    }
    study = instances[0].study_instance_uid if instances else ""
    places = {uid: place for place, uid in enumerate(readings)}
    images = []
    for uid in [*arrived, *(uid for uid in readings if uid not in arrived)]:
        said = readings.get(uid)
        view = str(said.view) if said and said.view else arrived.get(uid) or None
        drawn = picture_file(data_dir, study, revision, uid)
        images.append(
            ImageFacts(
                sop_instance_uid=uid,
                view=view,
                status=said.status if said else None,
                reason=said.reason if said else None,
                remarks=list(said.remarks) if said else [],
                findings=_findings(said.findings, places[uid], other_views) if said else [],
                picture=f"/studies/{study}/pictures/r{revision}/{uid}.png" if drawn else None,
            )
        )
    return sorted(images, key=lambda image: hanging(image.view or ""))


def _other_views(assessment: Assessment | None) -> Mapping[FindingPlace, Sequence[str]]:
    """Return for each finding what the same lesion is called in other views."""
    named: dict[FindingPlace, list[str]] = defaultdict(list)
    if assessment is not None:
        for pair in assessment.correspondences:
            for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
                named[one].append(f"{assessment.images[other.image].view} {other.finding + 1}")
    return named


def _findings(
    findings: Iterable[Finding], image: int, other_views: Mapping[FindingPlace, Sequence[str]]
) -> list[FindingFacts]:
    """Return findings as they are numbered on the picture: in the reading's order, from 1."""
    return [
        FindingFacts(
            number=place + 1,
            assessment=finding.assessment,
            detection=finding.detection,
            suspicion=finding.suspicion,
            morphology=finding.morphology,
            distribution=finding.distribution,
            specks=len(finding.specks),
            center_column=finding.center.column,
            center_row=finding.center.row,
            other_views=list(other_views.get(FindingPlace(image, place), ())),
        )
        for place, finding in enumerate(findings)
    ]


def _instance(row: InstanceRow, said: ImageReading | None) -> InstanceFacts:
    return InstanceFacts(
        sop_instance_uid=row.sop_instance_uid,
        view=view_name(row.laterality, row.view_position, row.view_modifiers),
        sop_class=uid_name(row.sop_class_uid),
        modality=row.modality,
        presentation_intent=row.presentation_intent,
        transfer_syntax=uid_name(row.transfer_syntax_uid),
        bytes=row.bytes,
        calling_ae_title=row.calling_ae_title,
        received_at=row.received_at,
        deleted_at=row.deleted_at,
        status=said.status if said else None,
        reason=said.reason if said else None,
    )


def _objects(session: Session, study_instance_uid: str) -> list[ObjectFacts]:
    """Return the study's objects, newest revision first, the report before the presentation states."""
    results = session.scalars(
        select(ResultRow)
        .where(ResultRow.study_instance_uid == study_instance_uid)
        .order_by(ResultRow.revision.desc(), ResultRow.kind, ResultRow.sop_instance_uid)
        .limit(MOST_ROWS)
    )
    deliveries: dict[str, list[DeliveryFacts]] = defaultdict(list)
    for row in session.scalars(
        select(DeliveryRow)
        .where(DeliveryRow.study_instance_uid == study_instance_uid)
        .order_by(DeliveryRow.destination)
        .limit(MOST_ROWS)
    ):
        deliveries[row.sop_instance_uid].append(DeliveryFacts.model_validate(row, from_attributes=True))
    return [
        ObjectFacts(
            sop_instance_uid=result.sop_instance_uid,
            kind=result.kind,
            sop_class=uid_name(result.sop_class_uid),
            revision=result.revision,
            deliveries=deliveries[result.sop_instance_uid],
        )
        for result in results
    ]
