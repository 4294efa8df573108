"""What a modality tells of a procedure while it performs it (MPPS as SCP, PS3.4 annex F.7).

Of a step we keep what completeness asks: its studies, whether it goes on, and which instances it made.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial

import structlog
from pydicom.dataset import Dataset
from sqlalchemy.exc import IntegrityError

from mammography.ledger.engine import Ledger
from mammography.ledger.procedure_steps import begin_procedure_step, procedure_step
from mammography.ledger.signals import SignalSource, record_signal, signals_from
from mammography.uid import lawful
from node.dimse_status import (
    DUPLICATE_SOP_INSTANCE,
    INVALID_ATTRIBUTE_VALUE,
    INVALID_SOP_INSTANCE,
    MISSING_ATTRIBUTE,
    NO_SUCH_SOP_INSTANCE,
    PROCESSING_FAILURE,
)
from node.operations import Answer, Operation, OperationRefused, understand

IN_PROGRESS = "IN PROGRESS"
FINISHED = frozenset({"COMPLETED", "DISCONTINUED"})
"""Performed Procedure Step Status (0040,0252), PS3.3 C.4.14."""

_log = structlog.get_logger()


class ProcedureSteps:
    """Takes the steps of modalities in; `on_finished` is called for each study of a step that is over."""

    def __init__(self, *, ledger: Ledger, on_finished: Callable[[str], None] = lambda _: None) -> None:
        self._ledger, self._on_finished = ledger, on_finished

    def create(self, operation: Operation, *, now: datetime) -> Answer:
        """Take an N-CREATE in (PS3.4 F.7.2.1)."""
        step = operation.sop_instance_uid
        if not lawful(step):
            raise OperationRefused(INVALID_SOP_INSTANCE, "A step needs a lawful Affected SOP Instance UID.")
        status = understand(partial(_status, operation.information))
        if not status:
            raise OperationRefused(MISSING_ATTRIBUTE, "Performed Procedure Step Status is missing.")
        if status != IN_PROGRESS:
            raise OperationRefused(INVALID_ATTRIBUTE_VALUE, "A step begins IN PROGRESS.")
        studies = understand(partial(_studies, operation.information))
        if not studies or not all(lawful(study) for study in studies):
            raise OperationRefused(
                MISSING_ATTRIBUTE, "The step names no lawful Study Instance UID (0040,0270)."
            )
        try:
            with self._ledger.begin() as session:
                begin_procedure_step(
                    session,
                    step,
                    calling_ae_title=operation.call.calling_ae_title,
                    status=status,
                    now=now,
                )
                for study in studies:
                    record_signal(
                        session,
                        SignalSource.PROCEDURE_STEP,
                        step,
                        study,
                        instances=[],
                        finished=False,
                        now=now,
                    )
        except IntegrityError as known:
            raise OperationRefused(DUPLICATE_SOP_INSTANCE, "There is a step of this UID already.") from known
        _log.info("procedure-step", step=step, status=status, studies=studies)
        return Answer()

    def change(self, operation: Operation, *, now: datetime) -> Answer:
        """Take an N-SET in (PS3.4 F.7.2.2)."""
        step = operation.sop_instance_uid
        status = understand(partial(_status, operation.information))
        if status and status not in {IN_PROGRESS, *FINISHED}:
            raise OperationRefused(INVALID_ATTRIBUTE_VALUE, "No such Performed Procedure Step Status.")
        instances = understand(partial(_instances, operation.information))
        with self._ledger.begin() as session:
            row = procedure_step(session, step) if lawful(step) else None
            if row is None:
                raise OperationRefused(NO_SUCH_SOP_INSTANCE, "There is no step of this UID.")
            if row.status in FINISHED:
                raise OperationRefused(
                    PROCESSING_FAILURE, "Performed Procedure Step Object may no longer be updated"
                )
            row.status, row.changed_at = status or row.status, now
            finished = row.status in FINISHED
            signals = signals_from(session, SignalSource.PROCEDURE_STEP, step)
            for signal in signals:
                signal.said_at, signal.finished = now, finished
                signal.instances = signal.instances if instances is None else instances
            studies = [signal.study_instance_uid for signal in signals]
        _log.info("procedure-step", step=step, status=status or "", studies=studies)
        for study in studies if finished else ():
            self._on_finished(study)
        return Answer()


def _status(information: Dataset) -> str:
    return str(information.get("PerformedProcedureStepStatus") or "").strip()


def _studies(information: Dataset) -> list[str]:
    """Return the Study Instance UIDs that a step is for, each once."""
    items = information.get("ScheduledStepAttributesSequence") or []
    return list(dict.fromkeys(str(item.get("StudyInstanceUID") or "") for item in items))


def _instances(information: Dataset) -> list[str] | None:
    """Return the instances that a step lists so far; None where it does not say (PS3.3 C.4.15). None that is listed by an unlawful UID can come."""
    if "PerformedSeriesSequence" not in information:
        return None
    named = (
        _before_nul(str(item.ReferencedSOPInstanceUID))
        for series in information.PerformedSeriesSequence or []
        for name in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
        for item in series.get(name) or []
    )
    return sorted({uid for uid in named if lawful(uid)})


def _before_nul(uid: str) -> str:
    """Return what a modality meant that sent the whole buffer of a UID."""
    return uid.partition("\0")[0]
