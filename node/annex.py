"""A hall in a process of its own, where associations are held beside those of the receiving process.

One interpreter runs one thread at a time; two of them take in nearly twice the small objects, and copy large ones at the same
time. The connection of an association that was let in is passed on with its request (SCM_RIGHTS, unix(7)). What may be had by whom
is still decided, and counted, in one place.
"""

import atexit
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from struct import Struct
from typing import NamedTuple, cast

import structlog

from node.hall import Guest, Hall, Host, Offer
from node.mortality import die_with_parent
from node.quota import Quota

_log = structlog.get_logger()

_STOPPING_SECONDS = 2.0
_PATIENCE_SECONDS = 5
"""For the other process to take what it is given; the porter waits with it."""
_SECONDS_AND_MICROSECONDS = Struct("ll")
_ENDS_AT_ONCE = 16


class _Enter(NamedTuple):
    """Hold this association; its connection follows."""

    guest: Guest
    request: bytes


class _Abort(NamedTuple):
    """End every association."""


class _Stored(NamedTuple):
    number: int
    study_instance_uid: str


class _Over(NamedTuple):
    number: int


class _Left(NamedTuple):
    number: int


_News = _Stored | _Over | _Left
_Order = _Enter | _Abort


class Annex:
    """The receiving process's side of a hall that is elsewhere.

    The process is forked at once: make it before any thread is started and before anything is opened that two processes cannot
    share. `furnish` is called there and returns what the hall offers.
    """

    def __init__(self, furnish: Callable[[], Offer], *, quota: Quota, silence: timedelta) -> None:
        context = get_context("fork")
        self._line, far_end = context.Pipe()
        self._lock = threading.Lock()
        self._process = context.Process(
            target=_hold_associations,
            args=(self._line, far_end, furnish),
            kwargs={"quota": quota, "silence": silence, "parent": os.getpid()},
            name="annex",
            daemon=True,
        )
        self._closing = False
        self._process.start()
        # the program's end waits for it where it was not closed, and it does not hear SIGTERM
        atexit.register(self._process.kill)
        far_end.close()
        with socket.socket(fileno=os.dup(self._line.fileno())) as line:
            patience = _SECONDS_AND_MICROSECONDS.pack(_PATIENCE_SECONDS, 0)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)

    def serve(self, host: Host, *, when_lost: Callable[[], None]) -> None:
        """Pass on to `host` what is told from there; `when_lost` is called when its process ended by itself."""
        threading.Thread(target=self._listen, args=(host, when_lost), name="annex", daemon=True).start()

    def hold(self, connection: socket.socket, guest: Guest, request: bytes) -> bool:
        """Have an association held there; the connection is closed here. False where its process is gone.

        One that takes nothing any more (it is stopped, or hangs) is killed: half a message cannot be taken back.
        """
        try:
            with self._lock:
                self._line.send(_Enter(guest, request))
                send_handle(self._line, connection.fileno(), self._process.pid)
        except BlockingIOError:
            _log.error("annex-hangs", seconds=_PATIENCE_SECONDS)
            self._process.kill()
            return False
        except OSError:
            return False
        connection.close()
        return True

    def abort(self) -> None:
        """End every association there."""
        with suppress(OSError), self._lock:
            self._line.send(_Abort())

    def close(self) -> None:
        """End its process, once nobody is there."""
        self._closing = True
        with suppress(OSError), socket.socket(fileno=os.dup(self._line.fileno())) as line:
            line.shutdown(socket.SHUT_WR)
        self._process.join(_STOPPING_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        atexit.unregister(self._process.kill)

    def _listen(self, host: Host, when_lost: Callable[[], None]) -> None:
        """Hear what happens there; what follows from an end may wait for the ledger, and nobody shall wait with it."""
        ends: dict[int, Future[None]] = {}
        with ThreadPoolExecutor(_ENDS_AT_ONCE, thread_name_prefix="annex-ends") as elsewhere:
            while (message := self._heard()) is not None:
                match message:
                    case _Stored(number, study_instance_uid):
                        host.stored(number, study_instance_uid)
                    case _Over(number):
                        ends[number] = elsewhere.submit(host.over, number)
                    case _Left(number):
                        ends.pop(number).add_done_callback(partial(_leave, host, number))
        if not self._closing:
            _log.error("annex-died", exit_status=self._process.exitcode)
            when_lost()

    def _heard(self) -> _News | None:
        """Return the next message; None once nobody is there any more."""
        try:
            return cast(_News, self._line.recv())
        except (EOFError, OSError):
            return None


def _leave(host: Host, number: int, _over: Future[None]) -> None:
    host.left(number)


class _Messenger:
    """Tells the receiving process what happens here."""

    def __init__(self, line: Connection) -> None:
        self._line, self._lock = line, threading.Lock()
        self._told: dict[int, set[str]] = {}

    def stored(self, number: int, study_instance_uid: str) -> None:
        """Say once of each study that an association stores into it."""
        told = self._told.setdefault(number, set())
        if study_instance_uid not in told:
            told.add(study_instance_uid)
            self._tell(_Stored(number, study_instance_uid))

    def over(self, number: int) -> None:
        """Say that an association ended."""
        self._told.pop(number, None)
        self._tell(_Over(number))

    def left(self, number: int) -> None:
        """Say that its place is free."""
        self._tell(_Left(number))

    def _tell(self, message: _News) -> None:
        with self._lock:
            self._line.send(message)


def _hold_associations(
    parents_end: Connection,
    line: Connection,
    furnish: Callable[[], Offer],
    *,
    quota: Quota,
    silence: timedelta,
    parent: int,
) -> None:
    """Hold associations until the receiving process says no more."""
    die_with_parent()
    if os.getppid() != parent:
        return
    # a terminal and systemd tell both; the receiving process ends this one
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parents_end.close()
    host = _Messenger(line)
    hall = Hall(furnish(), host, quota=quota, silence=silence)
    with suppress(EOFError):
        while True:
            match cast(_Order, line.recv()):
                case _Enter(guest, request):
                    connection = socket.socket(fileno=recv_handle(line))
                    if not hall.hold(connection, guest, request):
                        connection.close()
                        host.over(guest.number)
                        host.left(guest.number)
                case _Abort():
                    hall.abort()
