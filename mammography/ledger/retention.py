"""Images that are deleted once their answer is where it belongs: which are due, and what the ledger says of them.

The ledger says it first: from then on nobody is promised the image, and a sender that brings it again is believed. Then
the files go, under the lock of their study, so that none goes that a sender has brought back meanwhile.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mammography.ledger.moves import lock_study, remember
from mammography.ledger.tables import InstanceRow, StudyRow
from mammography.study import StudyEvent, StudyState


def studies_with_old_images(
    session: Session, *, states: Collection[StudyState], until: datetime, limit: int = 50
) -> list[str]:
    """Return studies that are in one of these states since `until` or longer, and keep an image that is as old."""
    query = _old_images(states, until).with_only_columns(InstanceRow.study_instance_uid).distinct()
    return list(session.scalars(query.limit(limit)))


def old_images_without_digest(
    session: Session, study_instance_uid: str, *, states: Collection[StudyState], until: datetime
) -> list[InstanceRow]:
    """Return those images of a study that may go and whose digest nobody has taken."""
    query = (
        _old_images(states, until)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.digest == "")
        .order_by(InstanceRow.sop_instance_uid)
    )
    return list(session.scalars(query))


def remember_digests(session: Session, digests: Mapping[str, str]) -> None:
    """Remember the digests of images by SOP Instance UID, so that they are known again without their files."""
    for row in session.scalars(select(InstanceRow).where(InstanceRow.sop_instance_uid.in_(digests))):
        row.digest = digests[row.sop_instance_uid]


def give_up_images(
    session: Session,
    study_instance_uid: str,
    *,
    states: Collection[StudyState],
    until: datetime,
    now: datetime,
) -> list[InstanceRow]:
    """Say of a study's old images that their files are deleted, and return those; none where the study has moved."""
    row = lock_study(session, study_instance_uid)
    given_up = list(
        session.scalars(
            _old_images(states, until)
            .where(InstanceRow.study_instance_uid == study_instance_uid)
            .order_by(InstanceRow.sop_instance_uid)
        )
    )
    if not given_up:
        return []
    for each in given_up:
        each.deleted_at = now
    reason = (
        f"{len(given_up)} image(s) of it are deleted: it is {row.state} since {row.state_since:%Y-%m-%d}."
    )
    remember(session, row, at=now, event=StudyEvent.IMAGES_DELETED, reason=reason, seen=row.state)
    return given_up


def still_deleted(session: Session, study_instance_uid: str) -> list[InstanceRow]:
    """Return a study's images whose files may go, with the study locked until the transaction ends."""
    lock_study(session, study_instance_uid)
    query = select(InstanceRow).where(
        InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.deleted_at.is_not(None)
    )
    return list(session.scalars(query.order_by(InstanceRow.sop_instance_uid)))


def what_was_deleted(instances: Sequence[InstanceRow]) -> str:
    """Return the sentence that says which of a study's images cannot be read any more; nothing where all are here."""
    deleted = [each for each in instances if each.deleted_at is not None]
    if not deleted:
        return ""
    views = sorted(
        f"{each.laterality} {each.view_position}".strip() or each.sop_instance_uid for each in deleted
    )
    last = max(each.deleted_at for each in deleted if each.deleted_at is not None)
    return (
        f"{len(deleted)} of its {len(instances)} images were deleted by retention until {last:%Y-%m-%d} "
        f"({', '.join(views)}), and a part of a study is not read as if it were whole. An earlier answer stands. "
        "Have the images sent again: it is read when they are here."
    )


def _old_images(states: Collection[StudyState], until: datetime) -> Select[InstanceRow]:
    """Return the query for images that are kept and may go."""
    return (
        select(InstanceRow)
        .join(StudyRow, StudyRow.study_instance_uid == InstanceRow.study_instance_uid)
        .where(InstanceRow.deleted_at.is_(None), InstanceRow.received_at <= until)
        .where(StudyRow.state.in_(states), StudyRow.state_since <= until)
    )
