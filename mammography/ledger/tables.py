"""The tables of the ledger: what is remembered of every study, and of every change to it."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

from mammography.study import StudyEvent, StudyState


class AwareDateTime(TypeDecorator[datetime]):
    """A moment, aware and in UTC on both databases; a naive one is refused."""

    impl = DateTime(timezone=True)  # type: ignore[mutable-override]
    cache_ok = True  # type: ignore[mutable-override]

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"The ledger stores aware times only, and {value!r} is naive.")
        return value.astimezone(UTC)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return aware UTC; SQLite forgets the zone that it was given."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def clean(text: str) -> str:
    """Return text that every database stores: no NUL, no half of a surrogate pair."""
    text = text.replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class CleanString(TypeDecorator[str]):
    """Text of limited length, stored and compared without what no database stores, whoever said it."""

    impl = String  # type: ignore[mutable-override]
    cache_ok = True  # type: ignore[mutable-override]

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Leave out what no database stores."""
        return None if value is None else clean(value)


class CleanText(CleanString):
    """Text of any length, in the same way."""

    impl = Text  # type: ignore[mutable-override]
    cache_ok = True


def _words(kind: type[StrEnum]) -> Enum:
    """Return a column type that stores an enumeration's values as plain words."""
    return Enum(
        kind, native_enum=False, length=32, values_callable=lambda members: [m.value for m in members]
    )


class Table(DeclarativeBase):
    """What every table of the ledger derives from."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: AwareDateTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
        list[list[str]]: JSON(),
    }


class DeliveryState(StrEnum):
    """Where one object is on its way to one destination."""

    PENDING = "pending"
    SENT = "sent"
    """Acknowledged by C-STORE or STOW-RS; the destination offers or owes no commitment yet."""
    COMMITMENT_REQUESTED = "commitment-requested"
    COMMITTED = "committed"
    SUPERSEDED = "superseded"
    """Another object went instead: of a later revision, or one that the destination accepts."""
    REFUSED = "refused"
    """The destination accepts no object of this SOP class; the next best is about to be made."""
    FAILED = "failed"
    """Given up, with the reason; the study is FAILED."""


class StudyRow(Table):
    """One study."""

    __tablename__ = "study"

    study_instance_uid: Mapped[str] = mapped_column(CleanString(64), primary_key=True)
    state: Mapped[StudyState] = mapped_column(_words(StudyState))
    state_since: Mapped[datetime]
    reason: Mapped[str] = mapped_column(CleanText)
    """Why it is in this state, in a sentence."""
    revision: Mapped[int] = mapped_column(Integer, default=1)
    """The answer that is being made, or was made last."""
    accession_number: Mapped[str] = mapped_column(CleanString(64), default="")
    study_date: Mapped[str] = mapped_column(CleanString(16), default="")
    first_instance_at: Mapped[datetime]
    last_instance_at: Mapped[datetime]
    claims: Mapped[int] = mapped_column(Integer, default=0)
    """How often this revision was claimed by a worker."""
    lease_owner: Mapped[str | None] = mapped_column(CleanString(128))
    lease_until: Mapped[datetime | None]
    rung_at: Mapped[datetime | None]
    """When the doorbell was last rung for it."""

    __table_args__ = (
        Index("ix_study_state_since", "state", "state_since"),
        Index("ix_study_state_last_instance_at", "state", "last_instance_at"),
        Index("ix_study_last_instance_at", "last_instance_at"),
    )


class InstanceRow(Table):
    """One stored SOP instance."""

    __tablename__ = "instance"

    sop_instance_uid: Mapped[str] = mapped_column(CleanString(64), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"), index=True)
    series_instance_uid: Mapped[str] = mapped_column(CleanString(64))
    sop_class_uid: Mapped[str] = mapped_column(CleanString(64))
    transfer_syntax_uid: Mapped[str] = mapped_column(CleanString(64))
    modality: Mapped[str] = mapped_column(CleanString(16), default="")
    laterality: Mapped[str] = mapped_column(CleanString(4), default="")
    view_position: Mapped[str] = mapped_column(CleanString(16), default="")
    view_modifiers: Mapped[str] = mapped_column(CleanString(128), default="")
    """ViewModifier values, sorted, joined by a comma."""
    presentation_intent: Mapped[str] = mapped_column(CleanString(16), default="")
    path: Mapped[str] = mapped_column(CleanText)
    """Relative to the data folder."""
    bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(CleanString(32))
    """XXH3-128 of the data set as received, without the Part 10 header; empty in rows from before revision 0005."""
    calling_ae_title: Mapped[str] = mapped_column(CleanString(16))
    received_at: Mapped[datetime]
    """When it came; of one whose file had been deleted, when it came again."""
    deleted_at: Mapped[datetime | None]
    """When retention gave its file up: said here first, then the file goes. What was received is not forgotten."""

    __table_args__ = (Index("ix_instance_deleted_at_received_at", "deleted_at", "received_at"),)


class HistoryRow(Table):
    """One change of one study, with its reason."""

    __tablename__ = "history"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"), index=True)
    at: Mapped[datetime]
    event: Mapped[StudyEvent] = mapped_column(_words(StudyEvent))
    from_state: Mapped[StudyState | None] = mapped_column(_words(StudyState))
    to_state: Mapped[StudyState] = mapped_column(_words(StudyState))
    revision: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(CleanText)


class ReadingRow(Table):
    """The assessment of one revision of a study."""

    __tablename__ = "reading"

    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    read_at: Mapped[datetime]
    assessment: Mapped[dict[str, Any]]


class ResultRow(Table):
    """One DICOM object of ours that answers a study."""

    __tablename__ = "result"

    sop_instance_uid: Mapped[str] = mapped_column(CleanString(64), primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"), index=True)
    revision: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(CleanString(16))
    """cad-sr, gsps, tid1500 or picture."""
    sop_class_uid: Mapped[str] = mapped_column(CleanString(64))
    path: Mapped[str] = mapped_column(CleanText)
    sha256: Mapped[str] = mapped_column(CleanString(64))


class DeliveryRow(Table):
    """One object on its way to one destination."""

    __tablename__ = "delivery"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    sop_instance_uid: Mapped[str] = mapped_column(ForeignKey("result.sop_instance_uid"), index=True)
    study_instance_uid: Mapped[str] = mapped_column(ForeignKey("study.study_instance_uid"), index=True)
    destination: Mapped[str] = mapped_column(CleanString(64))
    state: Mapped[DeliveryState] = mapped_column(_words(DeliveryState))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """How often it was tried, successes included."""
    due_since: Mapped[datetime]
    """When it came into the outbox, or was put back there by a person: what the age of a delivery counts from."""
    next_attempt_at: Mapped[datetime | None]
    """When it is due: to be sent while PENDING, to be asked for again while COMMITMENT_REQUESTED."""
    reason: Mapped[str] = mapped_column(CleanText, default="")
    warning: Mapped[str] = mapped_column(CleanText, default="", server_default="")
    """What the destination warned of when it stored the object (PS3.4 B.2.3)."""
    sent_at: Mapped[datetime | None]
    transaction_uid: Mapped[str | None] = mapped_column(CleanString(64), index=True)
    """Of the last Storage Commitment request that named it."""
    committed_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination"),
        Index("ix_delivery_due", "destination", "state", "next_attempt_at"),
    )


class RefusalRow(Table):
    """An instance that was not accepted, and what its sender was told."""

    __tablename__ = "refusal"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    calling_ae_title: Mapped[str] = mapped_column(CleanString(16))
    sop_instance_uid: Mapped[str] = mapped_column(CleanString(128), default="")
    reason: Mapped[str] = mapped_column(CleanText)
    path: Mapped[str] = mapped_column(CleanText, default="", server_default="")
    """Of its bytes in the quarantine, relative to the data folder; empty where they were not kept."""


class AlarmRow(Table):
    """Something that a person has to look at, until it is over or they have."""

    __tablename__ = "alarm"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(CleanString(32))
    subject: Mapped[str] = mapped_column(CleanString(64))
    """What it is about: a Study Instance UID, or a destination."""
    sentence: Mapped[str] = mapped_column(CleanText)
    """What happened, and what to do next."""
    raised_at: Mapped[datetime]
    last_at: Mapped[datetime]
    times: Mapped[int]
    over_at: Mapped[datetime | None]
    over_because: Mapped[str] = mapped_column(CleanText, default="")

    __table_args__ = (Index("ix_alarm_over_at", "over_at", "kind", "subject"),)


class StrangerRow(Table):
    """Somebody who was turned away before an association began, and how often."""

    __tablename__ = "stranger"

    calling_ae_title: Mapped[str] = mapped_column(CleanString(16), primary_key=True)
    address: Mapped[str] = mapped_column(CleanString(45), primary_key=True)
    called_ae_title: Mapped[str] = mapped_column(CleanString(16), primary_key=True)
    reason: Mapped[str] = mapped_column(CleanString(64))
    """As PS3.8 table 9-21 words it."""
    attempts: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime] = mapped_column(index=True)


class CommitmentRequestRow(Table):
    """What a sender asked us to commit to, and whether it was told (Storage Commitment Push Model, PS3.4 annex J)."""

    __tablename__ = "commitment_request"

    transaction_uid: Mapped[str] = mapped_column(CleanString(64), primary_key=True)
    calling_ae_title: Mapped[str] = mapped_column(CleanString(16), primary_key=True)
    address: Mapped[str] = mapped_column(CleanString(45))
    """From which it asked."""
    requested_at: Mapped[datetime]
    references: Mapped[list[list[str]]]
    """SOP class and SOP instance UID of each instance."""
    attempts: Mapped[int]
    """How often a report was tried."""
    next_attempt_at: Mapped[datetime | None]
    """When the next is due; None where it was told, or cannot be told unless it asks again."""
    reported_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(CleanText, default="")
    """What it was told, or why it was not."""

    __table_args__ = (Index("ix_commitment_request_due", "calling_ae_title", "next_attempt_at"),)


class ProcedureStepRow(Table):
    """One performed procedure step of a modality (MPPS, PS3.4 annex F)."""

    __tablename__ = "procedure_step"

    sop_instance_uid: Mapped[str] = mapped_column(CleanString(64), primary_key=True)
    calling_ae_title: Mapped[str] = mapped_column(CleanString(16))
    status: Mapped[str] = mapped_column(CleanString(16))
    """Performed Procedure Step Status (0040,0252)."""
    begun_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class CompletionSignalRow(Table):
    """What a sender says a study holds: one source's list for one study."""

    __tablename__ = "completion_signal"

    source: Mapped[str] = mapped_column(CleanString(32), primary_key=True)
    """storage-commitment or performed-procedure-step."""
    source_uid: Mapped[str] = mapped_column(CleanString(64), primary_key=True)
    """Transaction UID, or the step's SOP Instance UID."""
    study_instance_uid: Mapped[str] = mapped_column(CleanString(64), primary_key=True, index=True)
    """A study that need not have arrived yet."""
    said_at: Mapped[datetime]
    finished: Mapped[bool]
    """Whether the list is final; a step in progress has none yet."""
    instances: Mapped[list[str]]
    """SOP Instance UIDs."""
