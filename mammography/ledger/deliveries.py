"""The outbox in the ledger: which object is on its way to which destination, and how far it came.

A delivery goes PENDING -> SENT -> COMMITMENT_REQUESTED -> COMMITTED; back to PENDING when its destination could
not commit; REFUSED -> SUPERSEDED where the destination does not accept its SOP class and another object goes
instead; SUPERSEDED or FAILED where it ends early. Every function that writes locks the study first, so a
transaction that touches several studies takes them in the order of their UIDs.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from mammography.ledger.studies import advance, lock_study
from mammography.ledger.tables import DeliveryRow, DeliveryState, ResultRow, StudyRow
from mammography.study import StudyEvent, StudyState

ACKNOWLEDGED = frozenset({DeliveryState.SENT, DeliveryState.COMMITMENT_REQUESTED, DeliveryState.COMMITTED})
"""The destination has said that it stored the object, by C-STORE or STOW-RS."""

CAD_SR = "cad-sr"
"""The kind of the report, among the results of a revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenResult:
    """One DICOM object of ours whose file is complete and in place."""

    sop_instance_uid: str
    kind: str
    """cad-sr, gsps, tid1500 or picture."""
    sop_class_uid: str
    path: str
    """Relative to the data folder."""
    sha256: str
    destinations: tuple[str, ...]
    """The names of the destinations that it goes to; none is lawful."""


def add_results(
    session: Session,
    study_instance_uid: str,
    *,
    revision: int,
    results: Sequence[WrittenResult],
    destinations: Sequence[str],
    now: datetime,
) -> None:
    """Put the objects that answer a revision into the outbox: one delivery per object and destination, due now.

    `destinations` names all that are configured; each object goes to its own. What is there already stays.

    Raises:
        ValueError: if an object is to go to a destination that is not configured.
    """
    lock_study(session, study_instance_uid)
    for result in results:
        if unknown := set(result.destinations) - set(destinations):
            raise ValueError(f"No destination is called {', '.join(sorted(unknown))}.")
        if session.get(ResultRow, result.sop_instance_uid) is None:
            session.add(
                ResultRow(
                    sop_instance_uid=result.sop_instance_uid,
                    study_instance_uid=study_instance_uid,
                    revision=revision,
                    kind=result.kind,
                    sop_class_uid=result.sop_class_uid,
                    path=result.path,
                    sha256=result.sha256,
                )
            )
            session.flush()
        promised = _promised(session, result.sop_instance_uid)
        session.add_all(
            DeliveryRow(
                sop_instance_uid=result.sop_instance_uid,
                study_instance_uid=study_instance_uid,
                destination=destination,
                state=DeliveryState.PENDING,
                due_since=now,
                next_attempt_at=now,
            )
            for destination in dict.fromkeys(result.destinations)
            if destination not in promised
        )


def _promised(session: Session, sop_instance_uid: str) -> set[str]:
    """Return the destinations to which an object is on its way already, or was."""
    query = select(DeliveryRow.destination).where(DeliveryRow.sop_instance_uid == sop_instance_uid)
    return set(session.scalars(query))


def due(session: Session, *, destination: str, now: datetime, limit: int = 100) -> list[DeliveryRow]:
    """Return what is to be sent to a destination now, the longest due first."""
    query = (
        select(DeliveryRow)
        .where(DeliveryRow.destination == destination, DeliveryRow.state == DeliveryState.PENDING)
        .where(DeliveryRow.next_attempt_at <= now)
        .order_by(DeliveryRow.next_attempt_at, DeliveryRow.number)
    )
    return list(session.scalars(query.limit(limit)))


def uncommitted(session: Session, *, destination: str, now: datetime, limit: int = 500) -> list[DeliveryRow]:
    """Return what a destination is to be asked to commit to: SENT, or asked before and due to be asked again."""
    asked_before = (DeliveryRow.state == DeliveryState.COMMITMENT_REQUESTED) & (
        DeliveryRow.next_attempt_at <= now
    )
    query = (
        select(DeliveryRow)
        .where(DeliveryRow.destination == destination)
        .where(or_(DeliveryRow.state == DeliveryState.SENT, asked_before))
        .order_by(DeliveryRow.study_instance_uid, DeliveryRow.number)
    )
    return list(session.scalars(query.limit(limit)))


def results_for(session: Session, deliveries: Iterable[DeliveryRow]) -> dict[str, ResultRow]:
    """Return the objects that deliveries carry, by SOP Instance UID."""
    uids = {delivery.sop_instance_uid for delivery in deliveries}
    query = select(ResultRow).where(ResultRow.sop_instance_uid.in_(uids))
    return {row.sop_instance_uid: row for row in session.scalars(query)}


def mark_sent(session: Session, number: int, *, now: datetime, warning: str = "") -> None:
    """Remember that a destination acknowledged an object, even where it was superseded on the way.

    `warning` is what it warned of; it stays whatever is said of the object later.
    """
    _move(
        session,
        [number],
        seen=(DeliveryState.PENDING, DeliveryState.SUPERSEDED),
        state=DeliveryState.SENT,
        attempts=DeliveryRow.attempts + 1,
        sent_at=now,
        next_attempt_at=None,
        reason="",
        warning=warning,
    )


def postpone(session: Session, number: int, *, now: datetime, until: datetime, reason: str) -> None:
    """Remember that an attempt failed at `now`, and when the next one is due."""
    if until < now:
        raise ValueError("A delivery is postponed into the future.")
    _move(
        session,
        [number],
        seen=(DeliveryState.PENDING,),
        attempts=DeliveryRow.attempts + 1,
        next_attempt_at=until,
        reason=reason,
    )


def explain(session: Session, number: int, *, reason: str) -> None:
    """Remember why a delivery that stays due was not tried: its destination is away."""
    _move(session, [number], seen=(DeliveryState.PENDING,), reason=reason)


def mark_refused(session: Session, number: int, *, reason: str) -> None:
    """Remember that a destination does not accept an object of this SOP class: another is to go instead."""
    _move(
        session,
        [number],
        seen=(DeliveryState.PENDING,),
        state=DeliveryState.REFUSED,
        attempts=DeliveryRow.attempts + 1,
        next_attempt_at=None,
        reason=reason,
    )


def refused(session: Session, *, destination: str) -> list[DeliveryRow]:
    """Return what a destination does not accept and has no substitute yet, study by study."""
    query = (
        select(DeliveryRow)
        .where(DeliveryRow.destination == destination, DeliveryRow.state == DeliveryState.REFUSED)
        .order_by(DeliveryRow.study_instance_uid, DeliveryRow.number)
    )
    return list(session.scalars(query))


def mark_substituted(session: Session, numbers: Collection[int], *, reason: str) -> None:
    """Remember that other objects go instead of refused ones."""
    _move(session, numbers, seen=(DeliveryState.REFUSED,), state=DeliveryState.SUPERSEDED, reason=reason)


def mark_failed(session: Session, number: int, *, now: datetime, reason: str) -> None:
    """Give one delivery up, whatever it waited for; its study is to be moved to FAILED by the caller."""
    _move(
        session,
        [number],
        seen=(
            DeliveryState.PENDING,
            DeliveryState.SENT,
            DeliveryState.COMMITMENT_REQUESTED,
            DeliveryState.REFUSED,
        ),
        state=DeliveryState.FAILED,
        next_attempt_at=None,
        reason=f"{reason} Given up at {now:%Y-%m-%d %H:%M} UTC.",
    )


def request_commitment(
    session: Session,
    numbers: Collection[int],
    *,
    transaction_uid: str,
    now: datetime,
    ask_again_at: datetime,
    reason: str = "",
) -> None:
    """Remember that a destination is asked to commit; to be committed before the N-ACTION leaves.

    `reason` is why it has to be asked again, where an earlier request came to nothing.

    Raises:
        ValueError: if `ask_again_at` is not after `now`.
    """
    if ask_again_at <= now:
        raise ValueError("A commitment is asked for again later, not at once.")
    _move(
        session,
        numbers,
        seen=(DeliveryState.SENT, DeliveryState.COMMITMENT_REQUESTED),
        state=DeliveryState.COMMITMENT_REQUESTED,
        transaction_uid=transaction_uid,
        next_attempt_at=ask_again_at,
        reason=reason,
    )


def commitment_reported(
    session: Session,
    *,
    transaction_uid: str,
    committed: Collection[str],
    failed: Mapping[str, str],
    now: datetime,
    send_again_at: datetime | None = None,
) -> list[str]:
    """Remember what a destination reported of a Storage Commitment request (PS3.4 J.3.3).

    `committed` and the keys of `failed` are SOP Instance UIDs, its values the reasons. What failed is to be sent
    again at `send_again_at` (now, unless given), or is superseded where a later revision answers its study. An
    instance in neither list stays as it was. A report that comes twice changes nothing.

    Returns the studies that it touched; each wants to be settled.
    """
    asked = DeliveryRow.transaction_uid == transaction_uid
    studies = _lock_studies(session, asked)
    waiting = DeliveryRow.state == DeliveryState.COMMITMENT_REQUESTED
    rows = session.scalars(
        select(DeliveryRow).where(asked, waiting).execution_options(populate_existing=True)
    ).all()
    touched = set()
    for row in rows:
        if row.sop_instance_uid in failed:
            current = session.get_one(ResultRow, row.sop_instance_uid).revision
            superseded = current < studies[row.study_instance_uid].revision
            row.state = DeliveryState.SUPERSEDED if superseded else DeliveryState.PENDING
            row.next_attempt_at = None if superseded else send_again_at or now
            row.reason = f"Not committed: {failed[row.sop_instance_uid]}"
        elif row.sop_instance_uid in committed:
            row.state, row.committed_at = DeliveryState.COMMITTED, now
            row.next_attempt_at, row.reason = None, ""
        else:
            continue
        touched.add(row.study_instance_uid)
    session.flush()
    return sorted(touched)


def settle(
    session: Session, study_instance_uid: str, *, now: datetime, commitment_destinations: Collection[str]
) -> StudyState | None:
    """Move a study as far as its deliveries came: DELIVERED, then COMMITTED; None where it stays.

    DELIVERED is when every object of the revision was acknowledged everywhere, and the end unless one of its
    destinations is in `commitment_destinations`: then COMMITTED is, when each of those has committed to all.
    """
    row = lock_study(session, study_instance_uid)
    deliveries = [
        each for each in _deliveries_of_revision(session, row) if each.state != DeliveryState.SUPERSEDED
    ]
    moved = None
    if row.state == StudyState.REPORTED and all(each.state in ACKNOWLEDGED for each in deliveries):
        names = ", ".join(sorted({each.destination for each in deliveries}))
        moved = advance(
            session,
            study_instance_uid,
            seen=StudyState.REPORTED,
            event=StudyEvent.ALL_DELIVERED,
            now=now,
            reason=f"{names} acknowledged every object." if names else "No destination is configured.",
        )
    owed = [each for each in deliveries if each.destination in commitment_destinations]
    committed = owed and all(each.state == DeliveryState.COMMITTED for each in owed)
    if committed and StudyState.DELIVERED in (row.state, moved):
        names = ", ".join(sorted({each.destination for each in owed}))
        moved = advance(
            session,
            study_instance_uid,
            seen=StudyState.DELIVERED,
            event=StudyEvent.ALL_COMMITTED,
            now=now,
            reason=f"{names} committed to every object.",
        )
    return moved


def results_of(session: Session, study_instance_uid: str, revision: int | None = None) -> list[ResultRow]:
    """Return the objects that answer a study, oldest revision first; of one revision where it is given."""
    query = select(ResultRow).where(ResultRow.study_instance_uid == study_instance_uid)
    if revision is not None:
        query = query.where(ResultRow.revision == revision)
    order = (ResultRow.revision, ResultRow.kind, ResultRow.sop_instance_uid)
    return list(session.scalars(query.order_by(*order)))


def deliveries_of(session: Session, study_instance_uid: str) -> list[DeliveryRow]:
    """Return every delivery of a study, of all its revisions, as they came into the outbox."""
    query = select(DeliveryRow).where(DeliveryRow.study_instance_uid == study_instance_uid)
    return list(session.scalars(query.order_by(DeliveryRow.number)))


def previous_reports(session: Session, study_instance_uid: str, revision: int) -> list[ResultRow]:
    """Return the CAD SRs of the revisions before this one, newest first; several ways of writing one may exist."""
    query = (
        select(ResultRow)
        .where(ResultRow.study_instance_uid == study_instance_uid, ResultRow.kind == CAD_SR)
        .where(ResultRow.revision < revision)
        .order_by(ResultRow.revision.desc(), ResultRow.sop_instance_uid)
    )
    return list(session.scalars(query))


def _deliveries_of_revision(session: Session, row: StudyRow) -> list[DeliveryRow]:
    """Return the deliveries of a study's current revision, as they are in the database now."""
    return list(
        session.scalars(
            select(DeliveryRow)
            .join(ResultRow, ResultRow.sop_instance_uid == DeliveryRow.sop_instance_uid)
            .where(ResultRow.study_instance_uid == row.study_instance_uid)
            .where(ResultRow.revision == row.revision)
            .execution_options(populate_existing=True)
        )
    )


def _move(
    session: Session, numbers: Collection[int], *, seen: Collection[DeliveryState], **changes: object
) -> None:
    """Change those of these deliveries that are in one of the states that were seen."""
    ours = DeliveryRow.number.in_(numbers)
    _lock_studies(session, ours)
    session.execute(
        update(DeliveryRow)
        .where(ours, DeliveryRow.state.in_(seen))
        .values(changes)
        .execution_options(synchronize_session="fetch")
    )


def _lock_studies(session: Session, deliveries: ColumnElement[bool]) -> dict[str, StudyRow]:
    """Lock the studies of these deliveries in the order of their UIDs, and return them."""
    uids = session.scalars(select(DeliveryRow.study_instance_uid).where(deliveries).distinct())
    return {uid: lock_study(session, uid) for uid in sorted(uids)}
