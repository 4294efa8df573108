"""Instances in the ledger: how one arrives, and what that does to its study."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, update
from sqlalchemy.orm import Session
from typing_extensions import override

from mammography.ledger.alarms import AlarmKind, raise_alarm
from mammography.ledger.arrival_statements import (
    ARRIVED_LAST,
    HISTORY_LINE,
    MISSING_INSTANCES,
    MISSING_STUDIES,
    SEEN_STUDIES,
)
from mammography.ledger.moves import advance, has_results, lock_study, remember
from mammography.ledger.prepared import Row
from mammography.ledger.tables import (
    CleanString,
    DeliveryRow,
    DeliveryState,
    InstanceRow,
    StudyRow,
    clean,
)
from mammography.ledger.transaction import Transaction
from mammography.study import StudyEvent, StudyState


class Recorded(StrEnum):
    """What became of an instance that arrived."""

    NEW = "new"
    SAME = "same"
    """The same bytes came before: nothing changed."""
    CONFLICT = "conflict"
    """Other bytes came before under the same SOP Instance UID; the first stay, the history says so."""
    RESTORED = "restored"
    """It came before and its file was deleted since: it is kept again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedInstance:
    """One instance whose file is complete and in place; the fields are those of InstanceRow."""

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    """Relative to the data folder."""
    bytes: int
    digest: str
    """XXH3-128 of the data set as received, without the Part 10 header; empty where nobody has taken it yet."""
    calling_ae_title: str
    received_at: datetime
    modality: str = ""
    laterality: str = ""
    view_position: str = ""
    view_modifiers: str = ""
    """ViewModifier values, sorted, joined by a comma."""
    presentation_intent: str = ""
    accession_number: str = ""
    study_date: str = ""

    @override
    def __str__(self) -> str:
        """Return what the history calls it: "R CC", or its modality where it states no view."""
        view = f"{self.laterality} {self.view_position}".strip()
        return view or f"{self.modality or 'an'} object without a view"


DigestOf = Callable[[str, int], str]
"""Takes the digest of the file at a path of the data folder with a data set of so many bytes; returns nothing where there is
no such file, or not the whole of it."""


def record_instance(
    session: Session, instance: ArrivedInstance, *, digest_of: DigestOf = lambda _path, _bytes: ""
) -> Recorded:
    """Remember one instance: `record_instances` of it alone."""
    transaction = Transaction(session.connection(), session)
    return record_instances(transaction, [instance], digest_of=digest_of)[0]


def record_instances(
    transaction: Transaction, instances: Sequence[ArrivedInstance], *, digest_of: DigestOf
) -> list[Recorded]:
    """Remember instances that arrived, and open their studies again where these had gone on already.

    The digests of an instance that comes again, and of the first, are taken only then. Where nothing tells what the first was
    (its file is gone or cut short, and its digest was never taken), what comes is taken for the same.

    Returns what became of each, in their order. A study whose current revision has results gets the next
    revision, and what was not sent yet of the older ones is superseded. Of two processes that record a study's
    first instances at once, both succeed. However many they are, few statements do it.
    """
    ordered = sorted(range(len(instances)), key=lambda place: instances[place].study_instance_uid)
    first_of_study = {instances[place].study_instance_uid: place for place in reversed(ordered)}
    first_of_instance = {instances[place].sop_instance_uid: place for place in reversed(ordered)}
    connection = transaction.connection
    rows = _locked(connection, first_of_study)
    created: frozenset[str] = frozenset()
    if missing := sorted(first_of_study.keys() - rows.keys()):
        begun = [_study_columns(instances[first_of_study[study]]) for study in missing]
        created = frozenset(uid for (uid,) in MISSING_STUDIES.find(connection, begun))
        rows |= _locked(connection, missing)
    arrived = [_instance_columns(instances[place]) for place in first_of_instance.values()]
    new = frozenset(uid for (uid,) in MISSING_INSTANCES.find(connection, arrived))
    recorded: dict[int, Recorded] = {}
    touched: dict[str, Row] = {}
    lines: list[Row] = []
    for place in ordered:
        instance = instances[place]
        row = rows[instance.study_instance_uid]
        if instance.sop_instance_uid not in new or first_of_instance[instance.sop_instance_uid] != place:
            recorded[place] = _record_again(
                transaction.session, _locked_row(transaction, row), instance, digest_of
            )
            continue
        recorded[place] = Recorded.NEW
        reason = f"{instance} arrived from {_fitting('calling_ae_title', instance.calling_ae_title)}."
        began = row.study_instance_uid in created and first_of_study[row.study_instance_uid] == place
        if began or row.state is StudyState.RECEIVING:
            lines.append(_history_columns(row, instance, reason, seen=None if began else row.state))
            touched[row.study_instance_uid] = lines[-1]
        else:
            _open_again(transaction.session, _locked_row(transaction, row), instance, reason)
    HISTORY_LINE.run(connection, lines)
    ARRIVED_LAST.run(connection, list(touched.values()))
    return [recorded[place] for place in range(len(instances))]


def _record_again(
    session: Session, row: StudyRow, instance: ArrivedInstance, digest_of: DigestOf
) -> Recorded:
    """Say whether an instance that the ledger holds already is the same; a conflict goes into the history."""
    first = session.get_one(InstanceRow, instance.sop_instance_uid)
    if first.deleted_at is not None and first.study_instance_uid == instance.study_instance_uid:
        return _restore(session, row, first, instance, digest_of)
    if first.study_instance_uid == instance.study_instance_uid and _same_content(first, instance, digest_of):
        return Recorded.SAME
    where = (
        "" if first.study_instance_uid == row.study_instance_uid else f" in study {first.study_instance_uid}"
    )
    reason = (
        f"{instance} arrived from {instance.calling_ae_title} with the SOP Instance UID "
        f"{instance.sop_instance_uid} of another image{where}: the first is kept and this one is not read."
    )
    remember(
        session,
        row,
        at=instance.received_at,
        event=StudyEvent.INSTANCE_STORED,
        reason=reason,
        seen=row.state,
    )
    raise_alarm(
        session,
        AlarmKind.INSTANCE_CONFLICT,
        row.study_instance_uid,
        f"{reason} Both are on the disk; find out which is right, and send that one under a UID of its own.",
        now=instance.received_at,
    )
    return Recorded.CONFLICT


def _same_content(first: InstanceRow, instance: ArrivedInstance, digest_of: DigestOf) -> bool:
    """Return whether an instance has the bytes that came first; the ledger remembers the digest that this takes."""
    if first.bytes != instance.bytes:
        return False
    if not first.digest and first.path == instance.path:  # two names of one file
        first.digest = instance.digest
        return True
    if not first.digest:
        first.digest = digest_of(first.path, first.bytes)
    return first.digest in ("", instance.digest or digest_of(instance.path, instance.bytes))


def _restore(
    session: Session, row: StudyRow, first: InstanceRow, instance: ArrivedInstance, digest_of: DigestOf
) -> Recorded:
    """Keep an instance again whose file was deleted; only other bytes, or a study that lacks it, are read.

    Of the bytes that were deleted nothing is left to be kept beside: whatever comes is the instance now.
    """
    same_bytes = _same_content(first, instance, digest_of)
    deleted_at = first.deleted_at
    for name, value in _instance_columns(instance).items():
        if name not in ("sop_instance_uid", "study_instance_uid"):
            setattr(first, name, value)
    session.flush()
    reason = (
        f"{instance} arrived again from {instance.calling_ae_title}"
        f"{'' if same_bytes else ' with other content'}: its file, deleted on {deleted_at:%Y-%m-%d}, is kept again."
    )
    if same_bytes and row.state not in _WANTS_IMAGES:
        event = StudyEvent.INSTANCE_STORED
        remember(session, row, at=instance.received_at, event=event, reason=reason, seen=row.state)
    else:
        _open_again(session, row, instance, reason)
    return Recorded.RESTORED


def _open_again(session: Session, row: StudyRow, instance: ArrivedInstance, reason: str) -> None:
    """Let a new instance reach its study: RECEIVING, in the next revision where this one was answered."""
    revision = row.revision
    if has_results(session, row):
        revision += 1
        reason = f"{reason} Revision {row.revision} was answered already: revision {revision} begins."
        _supersede(session, row)
    advance(
        session,
        row.study_instance_uid,
        seen=row.state,
        event=StudyEvent.INSTANCE_STORED,
        now=instance.received_at,
        reason=reason,
        revision=revision,
        claims=0,
        last_instance_at=instance.received_at,
    )


def _supersede(session: Session, row: StudyRow) -> None:
    """Keep what was not sent yet from being sent: a later revision says it better."""
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.study_instance_uid == row.study_instance_uid)
        .where(DeliveryRow.state.in_((DeliveryState.PENDING, DeliveryState.REFUSED)))
        .values(
            state=DeliveryState.SUPERSEDED, next_attempt_at=None, reason="A later revision answers the study."
        )
        .execution_options(synchronize_session=False)
    )


class _SeenStudy(NamedTuple):
    """What recording asks of a study."""

    study_instance_uid: str
    state: StudyState
    revision: int


def _locked(connection: Connection, study_instance_uids: Iterable[str]) -> dict[str, _SeenStudy]:
    """Return those studies that there are by UID, locked in the order of their UIDs until the transaction ends."""
    asked = [{"study_instance_uid": uid} for uid in sorted(study_instance_uids)]
    return {
        uid: _SeenStudy(uid, StudyState(state), revision)
        for uid, state, revision in SEEN_STUDIES.find(connection, asked)
    }


def _locked_row(transaction: Transaction, seen: _SeenStudy) -> StudyRow:
    return lock_study(transaction.session, seen.study_instance_uid)


def _history_columns(
    row: _SeenStudy, instance: ArrivedInstance, reason: str, *, seen: StudyState | None
) -> dict[str, object]:
    """Return the line that says of a study which stays RECEIVING what arrived."""
    return {
        "study_instance_uid": row.study_instance_uid,
        "at": instance.received_at,
        "event": StudyEvent.INSTANCE_STORED,
        "from_state": seen,
        "to_state": row.state,
        "revision": row.revision,
        "reason": reason,
    }


def _study_columns(instance: ArrivedInstance) -> dict[str, object]:
    """Return the row that a study begins with."""
    at = instance.received_at
    return {
        "study_instance_uid": instance.study_instance_uid,
        "state": StudyState.RECEIVING,
        "state_since": at,
        "reason": f"{instance} arrived.",
        "revision": 1,
        "accession_number": _fitting("accession_number", instance.accession_number),
        "study_date": _fitting("study_date", instance.study_date),
        "first_instance_at": at,
        "last_instance_at": at,
        "claims": 0,
    }


def _instance_columns(instance: ArrivedInstance) -> dict[str, object]:
    return {name: _fitting(name, getattr(instance, name, None)) for name in _INSTANCE_COLUMNS}


_INSTANCE_COLUMNS = tuple(column.name for column in InstanceRow.__table__.columns)
_WANTS_IMAGES = frozenset({StudyState.RECEIVING, StudyState.QUEUED, StudyState.READING, StudyState.FAILED})
"""Where a study is not read yet, or could not be: an image that comes back is a reason to look again."""


_LENGTHS: Mapping[str, int] = {
    column.name: column.type.length
    for table in (StudyRow, InstanceRow)
    for column in table.__table__.columns
    if isinstance(column.type, CleanString) and column.type.length
}


def _fitting(column: str, value: object) -> object:
    """Return what a column holds of a value: a header may say more than the standard lets it."""
    length = _LENGTHS.get(column)
    return clean(value)[:length] if isinstance(value, str) and length and len(value) > length else value
