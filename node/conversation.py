"""One association, from the request for it to the end of its connection."""

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Generic

import structlog
from pydicom.uid import UID
from pynetdicom.dsutils import encode
from sqlalchemy.exc import SQLAlchemyError

from node.arrival import SMALL_BYTES
from node.desk import Desk, Elsewhere
from node.dimse_status import (
    NO_SUCH_SOP_CLASS,
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
from node.incoming import Brought, Incoming, InstanceStore
from node.metrics import ASSOCIATION_SECONDS, ASSOCIATIONS, RECEIVED_BYTES
from node.negotiation import (
    VERIFICATION,
    AcceptedContext,
    Agreement,
    negotiate,
)
from node.operations import (
    Answer,
    Operation,
    OperationRefused,
    Operations,
    OutgoingEvent,
    decoded,
    understand,
)
from node.part10 import Announcement
from node.porter import Call
from node.tls import finish_sending
from node.wire.command_set import (
    ACTION_TYPE_ID,
    EVENT_TYPE_ID,
    MESSAGE_ID_BEING_RESPONDED_TO,
    RESPONSE,
    STATUS,
    Command,
    CommandField,
    event_report,
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
    data_set_pdus,
)
from node.wire.sending import send_all
from node.wire.small_message import Content

_log = structlog.get_logger()

SILENCE = timedelta(seconds=60)
"""How long a sender may be silent within an association."""
LONGEST_INFORMATION = 4 << 20
"""Bytes that come with an operation of DIMSE-N: a report on 20,000 instances."""
_MOST_EVENTS = 64
"""Reports of ours on one association that may wait for their answers; the oldest is no longer waited for."""

_FAREWELL_SECONDS = 1.0
_LAST_READ = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(Generic[Incoming]):
    """Whom a conversation passes on what it is told."""

    store: InstanceStore[Incoming]
    on_stored: Callable[[str], None]
    """Called with the Study Instance UID of each instance that was stored, before its answer."""
    desk: Desk[Incoming]
    """Where it is served as long as it brings small instances into `store`."""
    operations: Operations
    take: Callable[[int], bool]
    """Counts bytes that arrived and are not answered for; returns whether the caller may have so many."""
    give_back: Callable[[int], None]
    """Counts bytes no more that were answered for."""
    storage_classes: frozenset[str] | None = None
    """SOP classes that are stored; None is every one."""


class Conversation(Generic[Incoming]):
    """One association with one caller, in one thread, or at the desk while that thread waits."""

    def __init__(
        self,
        connection: socket.socket,
        call: Call,
        *,
        services: Services[Incoming],
        silence: timedelta = SILENCE,
    ) -> None:
        self._connection, self._call, self._services = connection, call, services
        self._silence = silence
        self._inbox = Inbox(connection, silence=silence)
        self._contexts: Mapping[int, AcceptedContext] = {}
        self._longest_pdu = 0
        self._events: dict[int, OutgoingEvent] = {}
        self._event_number = 0
        self._stored = self._refused = 0
        self._brings_small = False

    def hold(self, request: bytes) -> None:
        """Answer the request for the association, then message after message, until it ends."""
        began = monotonic()
        ended = "hung-up"
        try:
            self._begin(negotiate(request, storage_classes=self._services.storage_classes))
            while True:
                if self._brings_small and self._inbox.is_empty:
                    self._brings_small = False
                    self._services.desk.serve(self)
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
        self._inbox.close()

    def _begin(self, agreement: Agreement) -> None:
        self._contexts, self._longest_pdu = agreement.contexts, agreement.longest_pdu
        self._transmit(agreement.answer)
        _log.info("association-accepted", contexts=len(agreement.contexts), tls=self._call.tls)

    def _answer(self, command: Command) -> None:
        """Do what a command asks, and answer it."""
        context = self._contexts.get(command.context_id)
        if context is None:
            raise ProtocolViolation("A message came in a presentation context that was not accepted.")
        if command.field == CommandField.C_STORE and context.is_storage:
            self._store(command, context)
            return
        information = (
            self._inbox.data_set(command.context_id, LONGEST_INFORMATION) if command.has_data_set else b""
        )
        if command.field & RESPONSE:
            self._hear_answer(command)
        elif command.field == CommandField.C_CANCEL:
            return  # nothing of ours takes long enough
        elif (command.field, context.abstract_syntax) == (CommandField.C_ECHO, VERIFICATION):
            self._respond(command, SUCCESS)
        else:
            self._operate(command, context, information)

    def fileno(self) -> int:
        """Return the descriptor of its socket."""
        return self._connection.fileno()

    def next_small(self) -> Brought[Incoming] | None:
        """Take what came, without waiting, and return the next small instance once it is whole.

        Raises:
            Elsewhere: if something else comes.
        """
        content = self._inbox.look(SMALL_BYTES)
        if content is Content.OTHER:
            raise Elsewhere
        if content is Content.BEGUN:
            return None
        command = self._inbox.next_command()
        context = self._contexts.get(command.context_id)
        if context is None or not (context.is_storage and command.stores_as(context.abstract_syntax)):
            raise Elsewhere(partial(self._answer, command))
        brought = self._brought(command, context)
        with ExitStack() as failing:
            failing.callback(brought.leave)
            self._inbox.pass_data_set(command.context_id, brought.write, brought)
            failing.pop_all()
        return brought

    def conclude(self, brought: Brought[Incoming], outcome: str | Exception) -> None:
        """Answer for an instance, without waiting.

        Raises:
            Elsewhere: if it is not kept, if the other side does not take the answer, or if more came already.
        """
        if isinstance(outcome, Exception):
            raise Elsewhere(partial(self._refuse, brought, outcome))
        brought.leave()
        self._stored += 1
        self._services.on_stored(outcome)
        answer = self._response(brought.command, SUCCESS)
        with suppress(OSError):  # whoever sends the rest will hear why
            answer = answer[self._connection.send(answer, socket.MSG_DONTWAIT) :]
        if answer or not self._inbox.is_empty:
            raise Elsewhere(partial(self._transmit, answer))

    def _store(self, command: Command, context: AcceptedContext) -> None:
        """Take a C-STORE's data set to the store as it comes, and answer success only once it is kept."""
        brought = self._brought(command, context)
        try:
            if command.has_data_set:
                self._inbox.pass_data_set(command.context_id, brought.write, brought)
            if command.sop_class_uid not in ("", context.abstract_syntax):
                self._respond(command, SOP_CLASS_NOT_SUPPORTED)
                return
            is_small = brought.arrival.is_small
            (outcome,) = self._services.store.accept([brought.arrival], now=_now())
            if isinstance(outcome, Exception):
                self._refuse(brought, outcome)
                return
            brought.leave()
            self._stored += 1
            self._services.on_stored(outcome)
            self._respond(command, SUCCESS)
            self._brings_small = is_small and not isinstance(self._connection, ssl.SSLSocket)
        finally:
            brought.leave()

    def _brought(self, command: Command, context: AcceptedContext) -> Brought[Incoming]:
        """Begin to take in what a C-STORE brings."""
        announced = Announcement(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            calling_ae_title=self._call.calling_ae_title,
        )
        services = self._services
        return Brought(
            command, services.store.begin(announced), take=services.take, give_back=services.give_back
        )

    def _refuse(self, brought: Brought[Incoming], reason: Exception) -> None:
        """Refuse an instance, or raise what nobody foresaw."""
        try:
            if not isinstance(reason, InstanceRefused | StorageExhausted):
                raise reason
            self._refused += 1
            self._services.store.refuse(brought.arrival, reason, now=_now())
        finally:
            brought.leave()
        self._respond(brought.command, answer_to(reason), comment=error_comment(reason))

    def _operate(self, command: Command, context: AcceptedContext, information: bytes) -> None:
        """Let somebody do what is asked, answer it, and report what is to be reported."""
        try:
            answer = self._done(command, context, information)
        except OperationRefused as refusal:
            _log.warning("operation-refused", field=f"{command.field:04X}H", reason=str(refusal))
            self._respond(command, refusal.status, comment=error_comment(refusal))
            return
        except SQLAlchemyError as failure:
            _log.error("ledger-away", reason=type(failure).__name__)
            self._respond(command, PROCESSING_FAILURE)
            return
        self._respond(command, answer.status)
        if answer.event:
            self._report(command, context, answer.event)

    def _done(self, command: Command, context: AcceptedContext, information: bytes) -> Answer:
        asked = [kind for kind in CommandField if kind == command.field]
        handler = self._services.operations.get((asked[0], context.abstract_syntax)) if asked else None
        if handler is None:
            raise OperationRefused(UNRECOGNIZED_OPERATION, "This operation is not offered.")
        if command.sop_class_uid not in ("", context.abstract_syntax):
            raise OperationRefused(
                NO_SUCH_SOP_CLASS, "The SOP Class is not that of the presentation context."
            )
        types = [command.number(each) for each in (ACTION_TYPE_ID, EVENT_TYPE_ID) if each in command.elements]
        syntax = UID(context.transfer_syntax)
        return handler(
            Operation(
                sop_class_uid=command.sop_class_uid,
                sop_instance_uid=command.sop_instance_uid,
                type_id=types[0] if types else 0,
                information=understand(lambda: decoded(information, syntax)),
                call=self._call,
            )
        )

    def _report(self, command: Command, context: AcceptedContext, event: OutgoingEvent) -> None:
        """Send an N-EVENT-REPORT on what was asked; its answer comes between other messages."""
        self._event_number = self._event_number % 0xFFFF + 1
        if len(self._events) >= _MOST_EVENTS:
            del self._events[next(iter(self._events))]
        self._events[self._event_number] = event
        syntax = UID(context.transfer_syntax)
        encoded = encode(
            event.information, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
        )
        request = event_report(
            self._event_number,
            event.type_id,
            sop_class_uid=context.abstract_syntax,
            sop_instance_uid=command.sop_instance_uid,
        )
        self._transmit(
            command_pdus(command.context_id, request, self._longest_pdu)
            + data_set_pdus(command.context_id, encoded or b"", self._longest_pdu)
        )

    def _hear_answer(self, command: Command) -> None:
        """Take the answer to a report of ours; one that nobody waits for changes nothing."""
        if MESSAGE_ID_BEING_RESPONDED_TO not in command.elements or STATUS not in command.elements:
            return
        event = self._events.pop(command.number(MESSAGE_ID_BEING_RESPONDED_TO), None)
        if event is None:
            return
        try:
            event.on_answer(command.number(STATUS))
        except SQLAlchemyError as failure:
            _log.error("ledger-away", reason=type(failure).__name__)

    def _respond(self, command: Command, status: ServiceStatus, *, comment: str = "") -> None:
        self._transmit(self._response(command, status, comment=comment))

    def _response(self, command: Command, status: ServiceStatus, *, comment: str = "") -> bytes:
        """Return the PDUs of an answer."""
        extra = {
            element: command.elements[element]
            for element in (EVENT_TYPE_ID, ACTION_TYPE_ID)
            if element in command.elements
        }
        response = response_to(command, status.code, comment=comment, extra=extra)
        return command_pdus(command.context_id, response, self._longest_pdu)

    def _transmit(self, pdus: bytes) -> None:
        send_all(self._connection, pdus, patience=self._silence.total_seconds())

    def _send(self, pdu: bytes) -> None:
        """Send a last word; who has gone does not hear it."""
        with suppress(OSError):
            self._connection.sendall(pdu)

    def _sum_up(self, seconds: float, ended: str) -> None:
        ASSOCIATIONS.labels(ended.partition(":")[0]).inc()
        ASSOCIATION_SECONDS.observe(seconds)
        RECEIVED_BYTES.inc(self._inbox.bytes)
        _log.info(
            "association-ended",
            ended=ended,
            stored=self._stored,
            refused=self._refused,
            bytes=self._inbox.bytes,
            seconds=round(seconds, 3),
            mb_per_second=round(self._inbox.bytes / 1e6 / max(seconds, 1e-3), 1),
        )


def _now() -> datetime:
    return datetime.now(UTC)
