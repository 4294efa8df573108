"""Performed procedure steps of modalities, in the ledger (MPPS as SCP, PS3.4 annex F)."""

from datetime import datetime

from sqlalchemy.orm import Session

from mammography.ledger.tables import ProcedureStepRow


def procedure_step(session: Session, sop_instance_uid: str) -> ProcedureStepRow | None:
    """Return a step, locked for a change; None where there is none of this UID."""
    return session.get(ProcedureStepRow, sop_instance_uid, with_for_update=True)


def begin_procedure_step(
    session: Session, sop_instance_uid: str, *, calling_ae_title: str, status: str, now: datetime
) -> None:
    """Write a new step down.

    Raises:
        IntegrityError: at the end of the transaction, if there is one of this UID.
    """
    session.add(
        ProcedureStepRow(
            sop_instance_uid=sop_instance_uid,
            calling_ae_title=calling_ae_title,
            status=status,
            begun_at=now,
            changed_at=now,
        )
    )
    session.flush()
