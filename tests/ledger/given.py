"""Studies at every stage of their life, for the tests of the ledger."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from mammography.ledger.deliveries import WrittenResult, add_results
from mammography.ledger.studies import ArrivedInstance, Recorded, advance, claim, record_instance
from mammography.study import StudyEvent, StudyState

NOW = datetime(2026, 3, 4, 9, 30, 15, 123456, tzinfo=UTC)
LEASE = timedelta(seconds=60)
STUDY = "1.2.840.1"
PACS, ARCHIVE = "pacs", "archive"


def image(number: int, *, study: str = STUDY, **changes: object) -> ArrivedInstance:
    """Return an image that arrived."""
    sides = ["R", "L", "R", "L"]
    views = ["CC", "CC", "MLO", "MLO"]
    columns: dict[str, object] = {
        "sop_instance_uid": f"{study}.9.{number}",
        "study_instance_uid": study,
        "series_instance_uid": f"{study}.8",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "MG",
        "laterality": sides[number % 4],
        "view_position": views[number % 4],
        "presentation_intent": "FOR PRESENTATION",
        "path": f"studies/{study}/images/{number}.dcm",
        "bytes": 17_039_360,
        "digest": f"{number:032d}",
        "calling_ae_title": "MODALITY1",
        "received_at": NOW,
        "accession_number": "A1",
        "study_date": "20260304",
    }
    return ArrivedInstance(**(columns | changes))


def received(session: Session, study: str = STUDY, *, images: int = 4) -> None:
    """Let a study's images arrive."""
    for number in range(images):
        assert record_instance(session, image(number, study=study)) == Recorded.NEW


def queued(session: Session, study: str = STUDY, *, now: datetime = NOW) -> None:
    """Let a study arrive and be complete."""
    received(session, study)
    complete(session, study, now=now)


def complete(session: Session, study: str = STUDY, *, now: datetime = NOW) -> None:
    """Judge a study complete."""
    move(session, StudyState.RECEIVING, StudyEvent.JUDGED_COMPLETE, study=study, now=now)


def claimed(session: Session, study: str = STUDY, *, owner: str = "worker-1", now: datetime = NOW) -> None:
    """Let a worker claim a study that is QUEUED."""
    assert claim(session, study, owner=owner, now=now, lease=LEASE) is not None


def answered(
    session: Session, study: str = STUDY, *, revision: int = 1, destinations: tuple[str, ...] = (PACS,)
) -> None:
    """Take a study that is QUEUED through its reading to REPORTED, with a report and a presentation state."""
    claimed(session, study)
    move(session, StudyState.READING, StudyEvent.ASSESSED, study=study)
    results = [result(study, revision, kind, destinations) for kind in ("cad-sr", "gsps")]
    add_results(session, study, revision=revision, results=results, destinations=[PACS, ARCHIVE], now=NOW)
    move(session, StudyState.READ, StudyEvent.COMPOSED, study=study)


def reported(session: Session, study: str = STUDY, *, destinations: tuple[str, ...] = (PACS,)) -> None:
    """Let a study arrive and be answered by two objects that are due."""
    queued(session, study)
    answered(session, study, destinations=destinations)


def result(study: str, revision: int, kind: str, destinations: tuple[str, ...]) -> WrittenResult:
    """Return an object that answers a study."""
    number = ["cad-sr", "gsps"].index(kind)
    return WrittenResult(
        sop_instance_uid=f"{study}.7.{revision}.{number}",
        kind=kind,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.50",
        path=f"studies/{study}/results/r{revision}/{kind}.dcm",
        sha256="5" * 64,
        destinations=destinations,
    )


def move(
    session: Session,
    seen: StudyState,
    event: StudyEvent,
    *,
    study: str = STUDY,
    now: datetime = NOW,
    **changes: object,
) -> StudyState:
    """Advance a study for no particular reason."""
    return advance(session, study, seen=seen, event=event, now=now, reason="Because.", **changes)
