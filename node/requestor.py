"""How we call another application entity: the association-requestor (PS3.8 section 7.1)."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, cast

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import AssociationSocket
from typing_extensions import override

CONNECT_TIMEOUT = timedelta(seconds=5)
"""How long a TCP connection may take; a host that is up answers in milliseconds."""

TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What we propose for each SOP class: as our objects are written, and the one that everybody must accept."""

Handler = tuple[Any, Any]
"""A pynetdicom event and what is called when it happens."""


class NoAssociation(Exception):
    """The other side could not be reached or did not accept us; str() is the sentence that says which."""


class NothingAccepted(Exception):
    """The other side accepts us, but none of the SOP classes that we proposed."""


class Lanes:
    """One thread for each peer, of at most so many at once: a peer that is slow or dead delays no other, and is never called twice at once."""

    def __init__(self, most: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=max(1, most), thread_name_prefix="lane")
        self._running: dict[str, Future[None]] = {}
        self._failures: list[BaseException] = []

    def busy(self, name: str) -> bool:
        """Return whether the work that was started last in this lane still runs; that it failed is nobody else's matter."""
        running = self._running.get(name)
        if running is None:
            return False
        if not running.done():
            return True
        del self._running[name]
        if failure := running.exception():
            self._failures.append(failure)
        return False

    def raise_failures(self) -> None:
        """Raise what the work ended with of which `busy` found that it failed, once: after each lane had its turn.

        Raises:
            Exception: that; a group of them where the work of several lanes failed.
        """
        failures, self._failures = self._failures, []
        if len(failures) > 1:
            raise BaseExceptionGroup("The work of several lanes failed.", failures)
        for failure in failures:
            raise failure

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Start work in a lane that is not busy."""
        self._running[name] = self._threads.submit(work)

    def wait(self) -> None:
        """Return when no lane is busy.

        Raises:
            Exception: as `raise_failures` does.
        """
        wait(self._running.values())
        for name in list(self._running):
            self.busy(name)
        self.raise_failures()

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._threads.shutdown(wait=True)


class _ResponsesForTheSender(DIMSEServiceProvider):
    """Leaves what arrives to whoever waits for it.

    pynetdicom 3.0.4 lets the association's own thread look for requests of the peer, without blocking, while
    ours waits for the response to a C-STORE. A race lets that thread take our response off the queue now and
    then; ours times out and aborts. Only responses come this way on an association that we requested (an
    N-EVENT-REPORT is served from a thread of its own), so the look that does not block finds nothing.
    """

    @override
    def get_msg(self, block: bool = False) -> Any:
        """Return the next message to a caller that waits for it, and nothing to one that merely looks."""
        return super().get_msg(block=True) if block else (None, None)


def propose(*sop_class_uids: str) -> list[PresentationContext]:
    """Return the presentation contexts for SOP classes, each once, in order (PS3.8 section 7.1.1.13)."""
    return [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in dict.fromkeys(sop_class_uids)]


class _Caller(AE):
    """An application entity that sets up the connection of its one association before it is made."""

    timeout = timedelta(seconds=30)
    connection: socket.socket | None = None
    connected = False
    rejection: A_ASSOCIATE_RJ | None = None

    @override
    def _create_socket(self, assoc: Association, *arguments: Any, **named: Any) -> AssociationSocket:
        """Return an association's socket as pynetdicom makes it, with our options."""
        created = super()._create_socket(assoc, *arguments, **named)
        self.connection = connection = cast(socket.socket, created.socket)
        # Nagle's algorithm would hold back the end of each object until the peer's delayed acknowledgement: 40 ms
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # a peer that vanished or reads no more must not hold a write for the kernel's quarter of an hour
        patience = int(self.timeout.total_seconds() * 1000)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        assoc.dimse = _ResponsesForTheSender(assoc)
        assoc.bind(evt.EVT_CONN_OPEN, self._note_connection)
        assoc.bind(evt.EVT_PDU_RECV, self._note_rejection)
        return created

    def _note_connection(self, _: evt.Event) -> None:
        self.connected = True

    def _note_rejection(self, event: evt.Event) -> None:
        """Keep a rejection: the library loses it now and then to the end of the connection that follows it."""
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            self.rejection = event.pdu

    def end(self, conversation: Association) -> None:
        """Close the connection; pynetdicom leaves it open where the other side was first, or never there."""
        conversation.dul.join(1.0)
        if self.connection is not None:
            self.connection.close()


@contextmanager
def association(  # noqa: PLR0913  what an association is asked for with
    contexts: Sequence[PresentationContext],
    *,
    calling_ae_title: str,
    called_ae_title: str,
    host: str,
    port: int,
    timeout: timedelta,
    handlers: Sequence[Handler] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """Open an association, hand it out, and release it; `timeout` is how long each answer may take.

    `roles` are those that we ask for, where they are not that of the user of a service (PS3.7 D.3.3.4).

    Raises:
        NoAssociation: if there is nobody, or they reject or do not answer us.
        NothingAccepted: if they accept none of the presentation contexts.
    """
    _config.LOG_HANDLER_LEVEL = "none"  # the library would describe every PDU to its log
    entity = _Caller(ae_title=calling_ae_title)
    entity.timeout = timeout
    entity.connection_timeout = CONNECT_TIMEOUT.total_seconds()
    entity.acse_timeout = entity.dimse_timeout = timeout.total_seconds()
    entity.network_timeout = None  # every wait of ours is bounded; between them an association may rest
    asked_at = time.monotonic()
    try:
        conversation = entity.associate(
            host,
            port,
            contexts=list(contexts),
            ae_title=called_ae_title,
            ext_neg=list(roles),
            evt_handlers=list(handlers),
        )
    except OSError as fault:
        raise NoAssociation(f"the host {host} is not known: {fault.strerror or fault}") from fault
    try:
        if not conversation.is_established:
            peer = f"{called_ae_title} at {host}:{port}"
            if not entity.connected:
                raise NoAssociation(f"{peer} cannot be reached: nobody answers there")
            if entity.rejection is not None:
                raise NoAssociation(f"{peer} rejects the association: {entity.rejection.reason_str}")
            _explain(conversation, peer, waited=time.monotonic() - asked_at, seconds=timeout.total_seconds())
        yield conversation
        conversation.release()
    finally:
        if conversation.is_established:
            conversation.abort()
        entity.end(conversation)


def _explain(conversation: Association, peer: str, *, waited: float, seconds: float) -> NoReturn:
    """Raise what became of an association that was requested and neither established nor rejected."""
    if conversation.rejected_contexts:
        raise NothingAccepted(f"{peer} accepts none of the proposed SOP classes")
    if waited < seconds:
        raise NoAssociation(f"{peer} closed the connection instead of accepting the association")
    raise NoAssociation(f"{peer} did not answer the association request in {seconds:g} s")
