"""What a worker does when the bell rings: claim the study, read it, keep what was found."""

import time
from pathlib import Path

import structlog

from mammography.finding import Assessment, ReadStatus
from mammography.ledger.findings import store_assessment
from mammography.ledger.retention import what_was_deleted
from mammography.ledger.studies import LostRace, advance, claim, give_back, instances_of
from mammography.ledger.tables import StudyRow
from mammography.study import StudyEvent, StudyState
from worker.app import Workplace, now
from worker.lease import Heartbeat

_log = structlog.get_logger()


class MissingImage(Exception):
    """An image that the ledger knows is not in the data folder; str() is the sentence for a person."""


def read_study(workplace: Workplace, study_instance_uid: str) -> None:
    """Read one study that is QUEUED; a bell for any other study changes nothing.

    The findings and the step to READ are one transaction, guarded by the claim: where a late image or an expired
    lease took the study away meanwhile, the reading is discarded.
    """
    with structlog.contextvars.bound_contextvars(study_instance_uid=study_instance_uid):
        with workplace.ledger.begin() as session:
            claimed = claim(
                session, study_instance_uid, owner=workplace.owner, now=now(), lease=workplace.lease
            )
            images = [each for each in instances_of(session, study_instance_uid) if each.modality == "MG"]
            deleted = what_was_deleted(images)
            paths = [workplace.data_dir / each.path for each in images]
        if claimed is None:
            _log.info("nothing-to-read")
            return
        if deleted:
            _log.error("image-missing", reason=deleted)
            _give_back(workplace, claimed, deleted, most_claims=1)
            return
        try:
            _read(workplace, claimed, paths)
        except MissingImage as missing:
            _log.error("image-missing", reason=str(missing))
            _give_back(workplace, claimed, str(missing), most_claims=1)
        except LostRace as lost:
            _log.warning("reading-discarded", reason=str(lost))
        except Exception as crash:  # noqa: BLE001  the one place where a study may fail in any way
            _log.exception("reading-crashed", claims=claimed.claims)
            reason = f"The reading crashed with {type(crash).__name__}; the worker's log has the details."
            _give_back(workplace, claimed, reason, most_claims=workplace.most_claims)


def _read(workplace: Workplace, claimed: StudyRow, paths: list[Path]) -> None:
    """Read a claimed study and keep the assessment.

    Raises:
        LostRace: if the study is no longer ours.
        MissingImage: if one of its files is not there.
    """
    started = time.monotonic()
    for path in paths:
        if not path.is_file():
            raise MissingImage(
                f"The worker finds no {path}: let its data folder be the node's, or restore the file."
            )
    with Heartbeat(workplace, claimed.study_instance_uid) as heartbeat:
        assessment = workplace.reader.read_study(paths, read_at=now().astimezone(), beat=heartbeat.check)
    reason = _summary(assessment)
    with workplace.ledger.begin() as session:
        advance(
            session,
            claimed.study_instance_uid,
            seen=StudyState.READING,
            event=StudyEvent.ASSESSED,
            now=now(),
            reason=reason,
            where=_seen(claimed),
        )
        store_assessment(
            session, claimed.study_instance_uid, revision=claimed.revision, assessment=assessment
        )
    _log.info("study-read", outcome=reason, seconds=round(time.monotonic() - started, 3))


def _give_back(workplace: Workplace, claimed: StudyRow, reason: str, *, most_claims: int) -> None:
    """Let the study be read again, or wait for a person where it was claimed `most_claims` times."""
    try:
        with workplace.ledger.begin() as session:
            give_back(session, claimed, now=now(), reason=reason, most_claims=most_claims)
    except LostRace as lost:
        _log.warning("reading-discarded", reason=str(lost))


def _seen(claimed: StudyRow) -> dict[str, object]:
    """Return what the study must still look like for our reading of it to count."""
    return {
        "lease_owner": claimed.lease_owner,
        "revision": claimed.revision,
        "claims": claimed.claims,
    }


def _summary(assessment: Assessment) -> str:
    """Return the history's sentence of a reading, such as "4 of 4 images read, 2 findings."."""
    read = sum(image.status == ReadStatus.READ for image in assessment.images)
    findings = sum(len(image.findings) for image in assessment.images)
    return f"{read} of {len(assessment.images)} images read, {findings} findings."
