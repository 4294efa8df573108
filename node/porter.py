"""Where connections wait that have not said yet who calls: one thread for all of them, and no place of an association.

A connection that says nothing, half a request or nonsense costs a descriptor until its deadline; strangers are told
so from here.
"""

import os
import resource
import selectors
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from struct import Struct
from time import monotonic
from typing import Protocol

import structlog

from node.listening import as_written
from node.tls import Tls
from node.wire.pdu import HEADER, AbortReason, PduType, abort

_log = structlog.get_logger()

LONGEST_REQUEST = 256 << 10
"""Bytes of an A-ASSOCIATE-RQ: 128 contexts with 45 transfer syntaxes each have 200 KB."""
MOST_WAITING = 1024
"""Connections that have not asked yet; when more come, the one that waits longest goes."""
DESCRIPTORS_WANTED = 4096
DESCRIPTORS_KEPT = 512
"""For associations, files and the ledger."""
FAREWELL = timedelta(seconds=2)
"""How long a rejected caller may take to close the connection."""

_HEAD = Struct(">BxIHxx16s16s")
"""Type, length, protocol version, called and calling AE title of an A-ASSOCIATE-RQ (PS3.8 table 9-11)."""
_ONE_READ = 16 << 10
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who calls whom from where, as the first bytes of a request say."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    tls: str | None = None
    """Version of TLS that it speaks; None where it speaks in the clear."""

    @property
    def caller(self) -> tuple[str, str]:
        """Who shares a quota: AE title and address."""
        return self.calling_ae_title, self.address


class Desk(Protocol):
    """Decides about calls."""

    def objection(self, call: Call) -> bytes | None:
        """Return the A-ASSOCIATE-RJ for somebody who may not call; None for others."""

    def welcome(self, connection: socket.socket, call: Call, request: bytes) -> bytes | None:
        """Take a connection over with its whole A-ASSOCIATE-RQ; or return the A-ASSOCIATE-RJ."""


@dataclass(slots=True, kw_only=True)
class _Waiting:
    connection: socket.socket
    address: str
    deadline: float
    greeting: bool
    """Whether the handshake of TLS is still going on."""
    request: bytearray = field(default_factory=bytearray)
    call: Call | None = None
    leaving: bool = False

    @property
    def wanted(self) -> int:
        """How many bytes are still to come of what can be judged next."""
        if len(self.request) < _HEAD.size:
            return _HEAD.size - len(self.request)
        return HEADER.size + int(HEADER.unpack_from(self.request)[1]) - len(self.request)

    @property
    def deciphered(self) -> bool:
        """Whether there are bytes that no selector tells of, since TLS took them off the socket already."""
        return isinstance(self.connection, ssl.SSLSocket) and self.connection.pending() > 0


class Porter:
    """Accepts connections on listening sockets, and hands on those that ask for an association in time.

    `doors` says of each listening socket which TLS is spoken there; None: none. Handshakes are done here, a step whenever
    a caller has said something, within the same time: `patience` from the connection to the whole request.
    """

    def __init__(self, doors: Mapping[socket.socket, Tls | None], desk: Desk, *, patience: timedelta) -> None:
        self._doors, self._desk = dict(doors), desk
        self._patience = patience.total_seconds()
        self._most = _room_for_waiting()
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._selector = selectors.DefaultSelector()
        for listener in self._doors:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        self._bell, self._rope = os.pipe()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._stopping = False

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def serve(self) -> None:
        """Serve until `stop` is called; then close the listening sockets and every connection that waits."""
        try:
            while not self._stopping:
                for key, _ in self._selector.select(_PAUSE_SECONDS):
                    if isinstance(key.data, _Waiting):
                        self._attend_to(key.data)
                    elif isinstance(key.fileobj, socket.socket):
                        self._accept(key.fileobj)
                self._dismiss_late()
        finally:
            for waiting in list(self._waiting.values()):
                self._close(waiting)
            self._selector.close()
            for listener in self._doors:
                listener.close()
            os.close(self._bell)

    def stop(self) -> None:
        """Let `serve` end."""
        self._stopping = True
        os.close(self._rope)

    def _accept(self, listener: socket.socket) -> None:
        """Take in whoever stands at a door."""
        try:
            connection, address = listener.accept()
        except OSError:  # it left again, or there is no descriptor for it
            self._dismiss_oldest()
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if len(self._waiting) >= self._most:
            self._dismiss_oldest()
        tls = self._doors[listener]
        if tls is not None:
            try:
                connection = tls.wrap(connection)
            except OSError:  # it left again
                connection.close()
                return
        waiting = _Waiting(
            connection=connection,
            address=as_written(str(address[0])),
            deadline=monotonic() + self._patience,
            greeting=tls is not None,
        )
        self._await(waiting)

    def _await(self, waiting: _Waiting) -> None:
        self._waiting[waiting.connection] = waiting
        self._selector.register(waiting.connection, selectors.EVENT_READ, waiting)

    def _attend_to(self, waiting: _Waiting) -> None:
        """Take in all that a connection has said."""
        if waiting.connection not in self._waiting or (waiting.greeting and not self._greeted(waiting)):
            return
        self._hear(waiting)
        while waiting.connection in self._waiting and waiting.deciphered:
            self._hear(waiting)

    def _greeted(self, waiting: _Waiting) -> bool:
        """Go on with the handshake of TLS; whether it is done."""
        if not isinstance(waiting.connection, ssl.SSLSocket):
            return True
        try:
            waiting.connection.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(waiting.connection, selectors.EVENT_READ, waiting)
        except ssl.SSLWantWriteError:
            self._selector.modify(waiting.connection, selectors.EVENT_WRITE, waiting)
        except OSError as failure:
            reason = getattr(failure, "reason", None) or failure.strerror or type(failure).__name__
            _log.warning("tls-handshake-failed", calling_address=waiting.address, reason=reason)
            self._close(waiting)
        else:
            self._selector.modify(waiting.connection, selectors.EVENT_READ, waiting)
            waiting.greeting = False
        return not waiting.greeting

    def _hear(self, waiting: _Waiting) -> None:
        """Take the next bytes of a connection in."""
        try:
            came = waiting.connection.recv(_ONE_READ if waiting.leaving else min(waiting.wanted, _ONE_READ))
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            came = b""
        if not came:
            self._close(waiting)
        elif not waiting.leaving:
            waiting.request += came
            self._judge(waiting)

    def _judge(self, waiting: _Waiting) -> None:
        """Decide on what a connection has said so far."""
        said = waiting.request
        if said[0] != PduType.ASSOCIATE_RQ:
            self._send_away(waiting, abort(AbortReason.UNEXPECTED_PDU))
            return
        if len(said) < _HEAD.size:
            return
        if waiting.call is None:
            _, length, _, called, calling = _HEAD.unpack_from(said)
            if not _HEAD.size - HEADER.size <= length <= LONGEST_REQUEST:
                self._send_away(waiting, abort(AbortReason.INVALID_PARAMETER))
                return
            waiting.call = Call(
                calling_ae_title=_title(calling),
                called_ae_title=_title(called),
                address=waiting.address,
                tls=waiting.connection.version() if isinstance(waiting.connection, ssl.SSLSocket) else None,
            )
            if rejection := self._desk.objection(waiting.call):
                self._send_away(waiting, rejection)
                return
        if not waiting.wanted:
            self._hand_on(waiting, waiting.call)

    def _hand_on(self, waiting: _Waiting, call: Call) -> None:
        self._forget(waiting)  # whoever takes it over may close it here
        if rejection := self._desk.welcome(waiting.connection, call, bytes(waiting.request)):
            self._await(waiting)
            self._send_away(waiting, rejection)

    def _send_away(self, waiting: _Waiting, answer: bytes) -> None:
        """Answer, and let the other side close, as PS3.8 has it (9.2.3, state 13).

        A connection that is closed over unread bytes loses the answer; one that is closed behind it makes some callers
        say that we hung up, and not that we rejected them.
        """
        try:
            waiting.connection.send(answer)
        except OSError:
            self._close(waiting)
            return
        waiting.leaving = True
        waiting.request.clear()
        waiting.deadline = min(waiting.deadline, monotonic() + FAREWELL.total_seconds())

    def _dismiss_late(self) -> None:
        now = monotonic()
        for waiting in [one for one in self._waiting.values() if one.deadline < now]:
            if not waiting.leaving:
                _log.warning("connection-silent", calling_address=waiting.address)
            self._close(waiting)

    def _dismiss_oldest(self) -> None:
        if self._waiting:
            self._close(next(iter(self._waiting.values())))

    def _forget(self, waiting: _Waiting) -> None:
        """Watch a connection no more; whoever has it now reads from it."""
        del self._waiting[waiting.connection]
        self._selector.unregister(waiting.connection)

    def _close(self, waiting: _Waiting) -> None:
        self._forget(waiting)
        with suppress(OSError):
            waiting.connection.close()


def _title(padded: bytes) -> str:
    """Return an AE title as it may be logged and kept: what is no printable ASCII becomes a question mark."""
    text = padded.decode("ascii", "replace").strip(" \0")
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def _room_for_waiting() -> int:
    """Return how many connections may wait, after asking the system for enough descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(16, min(MOST_WAITING, (wanted if soft == resource.RLIM_INFINITY else soft) - DESCRIPTORS_KEPT))
