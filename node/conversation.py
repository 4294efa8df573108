"""One association, from the request for it to the end of its connection."""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from time import monotonic
from typing import Generic, Protocol, TypeVar

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode
from sqlalchemy.exc import SQLAlchemyError

from node.arrival import Announcement
from node.commitment import CommitmentReport
from node.dimse_status import (
    INVALID_ARGUMENT_VALUE,
    PROCESSING_FAILURE,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    InstanceRefused,
    ServiceStatus,
    StorageExhausted,
    answer_to,
    error_comment,
)
from node.instance_header import MALFORMED
from node.negotiation import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    VERIFICATION,
    AcceptedContext,
    Agreement,
    is_storage,
    negotiate,
)
from node.porter import Call
from node.quota import Quota
from node.tls import finish_sending
from node.wire.command_set import (
    EVENT_TYPE_ID,
    RESPONSE,
    Command,
    CommandField,
    response_to,
)
from node.wire.inbox import Aborted, Inbox, Released
from node.wire.pdu import (
    RELEASE_RP,
    AbortReason,
    ConnectionEnded,
    ProtocolViolation,
    TooSlow,
    abort,
    command_pdus,
)

_log = structlog.get_logger()

SILENCE = timedelta(seconds=60)
"""How long a sender may be silent within an association."""
LONGEST_EVENT = 16 << 20
"""Bytes of an N-EVENT-REPORT's information: a report on 100,000 instances."""


_FAREWELL_SECONDS = 1.0
_LAST_READ = 64 << 10


class IncomingInstance(Protocol):
    """An instance that is on its way in."""

    def write(self, *pieces: bytes | memoryview) -> None:
        """Take the next pieces of its data set; never raises."""

    def refuse(self, refusal: StorageExhausted) -> None:
        """Drop what came and what will come; it is not kept, for this reason."""

    def discard(self) -> None:
        """Forget it; what was kept stays."""


Incoming = TypeVar("Incoming", bound=IncomingInstance)


class InstanceStore(Protocol[Incoming]):
    """Where instances go."""

    def begin(self, announced: Announcement) -> Incoming:
        """Begin to take an instance in; never raises."""

    def keep(self, arrival: Incoming, *, now: datetime) -> str:
        """Keep an instance that is complete, and return its Study Instance UID.

        Raises:
            InstanceRefused, StorageExhausted: if it is not kept.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(Generic[Incoming]):
    """Whom a conversation passes on what it is told."""

    store: InstanceStore[Incoming]
    on_stored: Callable[[str], None]
    """Called with the Study Instance UID of each instance that was stored, before its answer."""
    on_commitment: Callable[[CommitmentReport], None]
    quota: Quota


class Conversation(Generic[Incoming]):
    """One association with one caller, in one thread."""

    def __init__(
        self,
        connection: socket.socket,
        call: Call,
        *,
        services: Services[Incoming],
        silence: timedelta = SILENCE,
    ) -> None:
        self._connection, self._call, self._services = connection, call, services
        self._inbox = Inbox(connection, silence=silence)
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._longest_pdu = 0
        self._stored = self._refused = 0

    def hold(self, request: bytes) -> None:
        """Answer the request for the association, then message after message, until it ends."""
        began = monotonic()
        ended = "hung-up"
        try:
            self._begin(negotiate(request))
            while True:
                self._answer(self._inbox.next_command())
        except Released:
            ended = "released"
            self._send(RELEASE_RP)
        except Aborted:
            ended = "aborted"
        except ConnectionEnded as end:
            ended = f"connection-ended: {end}"
        except TooSlow as end:
            ended = f"too-slow: {end}"
            self._send(abort(AbortReason.NOT_SPECIFIED))
        except ProtocolViolation as violation:
            ended = f"protocol-violation: {violation}"
            self._send(abort(violation.reason))
        finally:
            self._sum_up(monotonic() - began, ended)

    def abort(self) -> None:
        """End it from another thread; under TLS without a word, since only one thread may speak there."""
        with suppress(OSError):
            if self._call.tls is None:
                self._connection.send(abort(AbortReason.NOT_SPECIFIED), socket.MSG_DONTWAIT)
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """Close the connection, once the other side did or after a second: unread bytes lose our last words."""
        deadline = monotonic() + _FAREWELL_SECONDS
        with suppress(OSError):
            finish_sending(self._connection)
            self._connection.settimeout(_FAREWELL_SECONDS)
            while self._connection.recv(_LAST_READ) and monotonic() < deadline:
                pass
        self._connection.close()

    def _begin(self, agreement: Agreement) -> None:
        self._contexts, self._longest_pdu = agreement.contexts, agreement.longest_pdu
        self._transmit(agreement.answer)
        _log.info("association-accepted", contexts=len(agreement.contexts), tls=self._call.tls)

    def _answer(self, command: Command) -> None:
        """Do what a command asks, and answer it."""
        context = self._contexts.get(command.context_id)
        if context is None:
            raise ProtocolViolation("A message came in a presentation context that was not accepted.")
        if command.field == CommandField.C_STORE and is_storage(UID(context.abstract_syntax)):
            self._store(command, context)
            return
        information = self._inbox.data_set(command.context_id, LONGEST_EVENT) if command.has_data_set else b""
        if command.field & RESPONSE or command.field == CommandField.C_CANCEL:
            return  # nobody waits for it
        asked = (command.field, context.abstract_syntax)
        if asked == (CommandField.C_ECHO, VERIFICATION):
            self._respond(command, SUCCESS)
        elif asked == (CommandField.N_EVENT_REPORT, STORAGE_COMMITMENT_PUSH_MODEL):
            self._respond(command, self._take_report(information, UID(context.transfer_syntax)))
        else:
            self._respond(command, UNRECOGNIZED_OPERATION)

    def _store(self, command: Command, context: AcceptedContext) -> None:
        """Take a C-STORE's data set to the store as it comes, and answer success only once it is kept."""
        arrival = self._services.store.begin(
            Announcement(
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                transfer_syntax_uid=context.transfer_syntax,
                calling_ae_title=self._call.calling_ae_title,
            )
        )

        def take(pieces: list[memoryview]) -> None:
            came = sum(map(len, pieces))
            taken.append(came)
            if not self._services.quota.take(self._call.caller, came):
                arrival.refuse(StorageExhausted("You have too much in flight: send it again later."))
            arrival.write(*pieces)

        taken: list[int] = []
        try:
            if command.has_data_set:
                self._inbox.pass_data_set(command.context_id, take)
            if command.sop_class_uid not in ("", context.abstract_syntax):
                self._respond(command, SOP_CLASS_NOT_SUPPORTED)
                return
            self._keep(command, arrival)
        finally:
            arrival.discard()
            self._services.quota.give_back(self._call.caller, sum(taken))

    def _keep(self, command: Command, arrival: Incoming) -> None:
        try:
            study_instance_uid = self._services.store.keep(arrival, now=_now())
        except (InstanceRefused, StorageExhausted) as refusal:
            self._refused += 1
            self._respond(command, answer_to(refusal), comment=error_comment(refusal))
            return
        self._stored += 1
        self._services.on_stored(study_instance_uid)
        self._respond(command, SUCCESS)

    def _take_report(self, information: bytes, transfer_syntax: UID) -> ServiceStatus:
        """Take a Storage Commitment report in (PS3.4 J.3.3); one that we cannot record is asked for again."""
        try:
            report = CommitmentReport.from_event(_decoded(information, transfer_syntax))
        except MALFORMED as failure:
            _log.warning("commitment-report-malformed", reason=str(failure))
            return INVALID_ARGUMENT_VALUE
        try:
            self._services.on_commitment(report)
        except SQLAlchemyError as failure:
            _log.error("ledger-away", reason=type(failure).__name__)
            return PROCESSING_FAILURE
        return SUCCESS

    def _respond(self, command: Command, status: ServiceStatus, *, comment: str = "") -> None:
        extra = {
            element: command.elements[element] for element in (EVENT_TYPE_ID,) if element in command.elements
        }
        response = response_to(command, status.code, comment=comment, extra=extra)
        self._transmit(command_pdus(command.context_id, response, self._longest_pdu))

    def _transmit(self, pdus: bytes) -> None:
        try:
            self._connection.sendall(pdus)
        except (BlockingIOError, TimeoutError) as failure:
            raise TooSlow("It does not take our answer.") from failure
        except OSError as failure:
            raise ConnectionEnded(failure.strerror or type(failure).__name__) from failure

    def _send(self, pdu: bytes) -> None:
        """Send a last word; who has gone does not hear it."""
        with suppress(OSError):
            self._connection.sendall(pdu)

    def _sum_up(self, seconds: float, ended: str) -> None:
        _log.info(
            "association-ended",
            ended=ended,
            stored=self._stored,
            refused=self._refused,
            bytes=self._inbox.bytes,
            seconds=round(seconds, 3),
            mb_per_second=round(self._inbox.bytes / 1e6 / max(seconds, 1e-3), 1),
        )


def _decoded(encoded: bytes, transfer_syntax: UID) -> Dataset:
    return decode(
        BytesIO(encoded),
        transfer_syntax.is_implicit_VR,
        transfer_syntax.is_little_endian,
        transfer_syntax.is_deflated,
    )


def _now() -> datetime:
    return datetime.now(UTC)
