"""Associations that other application entities open with us: who may, how many, and what their end says."""

import itertools
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic, sleep

import structlog

from node.annex import Annex
from node.callers import THIS_MACHINE, Caller
from node.conversation import SILENCE
from node.hall import Guest, Hall, Offer
from node.listening import bound
from node.metrics import ASSOCIATIONS_OPEN, REJECTIONS
from node.porter import Call, Porter
from node.quota import Quota
from node.tls import Credentials, Tls
from node.wire.association_request import is_of_our_application, is_of_our_version
from node.wire.pdu import ProtocolViolation, rejection

_log = structlog.get_logger()

_BACKLOG = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One way to reject an association."""

    result: int
    source: int
    reason: int
    meaning: str
    """As the standard words it (PS3.8 table 9-21)."""

    @property
    def pdu(self) -> bytes:
        """A-ASSOCIATE-RJ."""
        return rejection(self.result, self.source, self.reason)


APPLICATION_NOT_SUPPORTED = Rejection(
    result=1, source=1, reason=2, meaning="application context name not supported"
)
CALLING_NOT_RECOGNIZED = Rejection(result=1, source=1, reason=3, meaning="calling AE title not recognized")
CALLED_NOT_RECOGNIZED = Rejection(result=1, source=1, reason=7, meaning="called AE title not recognized")
VERSION_NOT_SUPPORTED = Rejection(result=1, source=2, reason=2, meaning="protocol version not supported")
LIMIT_EXCEEDED = Rejection(result=2, source=3, reason=2, meaning="local limit exceeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a caller may cost."""

    associations: int = 64
    """At the same time, of all callers."""
    associations_of_one: int = 48
    """At the same time, of one AE title at one address."""
    bytes_of_one: int = 8 << 30
    """That arrived from one AE title at one address and were not answered yet."""
    request_timeout: timedelta = timedelta(seconds=10)
    """From the connection to the last byte of the request for an association (the ARTIM timer, PS3.8 9.1.5)."""
    silence: timedelta = SILENCE
    """Within an association, and for how long a message may trickle."""

    def quota(self) -> Quota:
        """Return what keeps count of places and bytes."""
        return Quota(
            places=self.associations,
            places_of_one=self.associations_of_one,
            bytes_of_one=self.bytes_of_one,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsDoor:
    """A second port, where TLS is spoken."""

    port: int
    credentials: Credentials


class Acceptor:
    """Our application entity as the acceptor of associations.

    It verifies (C-ECHO), stores every storage class in every transfer syntax as it was received, private and
    unknown ones too (or those of the `offer` alone), and passes on what else is asked to whoever offers it.

    `on_study_touched` is called when an association ended, for each study that it stored into, unless another
    association still stores into the same study; it may wait, and does not raise. `callers` are those who may call whenever it is gone through; nobody else is accepted, and
    `on_stranger` is told of those with the reason, and must not wait. With `tls` it listens on two ports.

    `annexes` are halls in other processes, made with the same `quota`; associations go where the fewest are. `when_lost` is
    called when such a process ended by itself, and its associations with it, or when nobody is let in any more: the node is to start anew.
    """

    def __init__(  # noqa: PLR0913  what an application entity is told
        self,
        *,
        ae_title: str,
        host: str,
        port: int,
        offer: Offer,
        on_study_touched: Callable[[str], None],
        callers: Iterable[Caller] = THIS_MACHINE,
        on_stranger: Callable[[Call, str], None] = lambda _call, _reason: None,
        limits: Limits | None = None,
        tls: TlsDoor | None = None,
        quota: Quota | None = None,
        annexes: Sequence[Annex] = (),
        when_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._ae_title = ae_title.strip()
        self._host, self._port = host, port
        self._tls, self._tls_port = tls, 0
        self._on_study_touched = on_study_touched
        self._callers = callers
        self._on_stranger = on_stranger
        self._limits = limits or Limits()
        self._quota = quota or self._limits.quota()
        self._hall = Hall(offer, self, quota=self._quota, silence=self._limits.silence)
        self._annexes, self._when_lost = tuple(annexes), when_lost
        self._halls: list[Hall | Annex] = [self._hall, *annexes]
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._guests: dict[int, tuple[Guest, Hall | Annex]] = {}
        self._stored_into: dict[int, set[str]] = {}
        self._porter: Porter | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; where 0 was asked for, the one that it was given."""
        return self._port

    @property
    def tls_port(self) -> int:
        """The port where it speaks TLS; 0 where there is none."""
        return self._tls_port

    def start(self) -> None:
        """Listen, and answer from threads of its own.

        Raises:
            OSError: if the address cannot be listened on.
            CredentialsRefused: if TLS cannot be spoken with the files that were given.
        """
        if any(caller.is_everybody for caller in self._callers):
            _log.warning("everybody-may-call", advice="list those who may under [[callers]]")
        tls = Tls(self._tls.credentials) if self._tls else None
        listener, self._port = self._listen(self._port)
        doors: dict[socket.socket, Tls | None] = {listener: None}
        if self._tls:
            listener, self._tls_port = self._listen(self._tls.port)
            doors[listener] = tls
        for annex in self._annexes:
            annex.serve(self, when_lost=partial(self._lose, annex))
        self._porter = Porter(doors, self, patience=self._limits.request_timeout)
        threading.Thread(
            target=self._keep_the_doors, args=(self._porter,), name="porter", daemon=True
        ).start()

    def _keep_the_doors(self, porter: Porter) -> None:
        """Let callers in until we stop; a node whose doors closed by themselves is to start anew."""
        try:
            porter.serve()
        finally:
            if not porter.is_stopping:
                self._when_lost()

    def _listen(self, port: int) -> tuple[socket.socket, int]:
        listener = bound(self._host, port)
        listener.listen(_BACKLOG)
        return listener, int(listener.getsockname()[1])

    def stop(self, timeout: timedelta = timedelta(seconds=10)) -> None:
        """Accept nothing more, let open associations end, and abort what is left after `timeout`."""
        if self._porter is None:
            return
        self._porter.stop()
        self._wait_until_nobody_calls(timeout)
        for hall in self._halls:
            hall.abort()
        self._wait_until_nobody_calls(timeout)
        for annex in self._annexes:
            annex.close()
        self._porter = None

    def objection(self, call: Call) -> bytes | None:
        """Return the A-ASSOCIATE-RJ for somebody who may not call, or who calls somebody else; None for others."""
        if not any(caller.is_it(call.calling_ae_title, call.address) for caller in self._callers):
            why = CALLING_NOT_RECOGNIZED
        elif call.called_ae_title != self._ae_title:
            why = CALLED_NOT_RECOGNIZED
        else:
            return None
        self._on_stranger(call, why.meaning)
        return self._rejected(call, why)

    def welcome(self, connection: socket.socket, call: Call, request: bytes) -> bytes | None:
        """Have an association held where the fewest are; or return the A-ASSOCIATE-RJ if it is none of DICOM, or has no place."""
        if misfit := _misfit(request):
            return self._rejected(call, misfit)
        with self._lock:
            place = self._quota.enter(call.caller)
            if place is None:
                return self._rejected(call, LIMIT_EXCEEDED)
            guest = Guest(number=next(self._numbers), place=place, call=call)
            hall = self._quietest(connection)
            self._guests[guest.number] = (guest, hall)
            ASSOCIATIONS_OPEN.set(len(self._guests))
        if not hall.hold(connection, guest, request):
            self.left(guest.number)
            return self._rejected(call, LIMIT_EXCEEDED)
        return None

    def stored(self, number: int, study_instance_uid: str) -> None:
        """Remember that an association stores into a study."""
        with self._lock:
            self._stored_into.setdefault(number, set()).add(study_instance_uid)

    def over(self, number: int) -> None:
        """Say which studies nobody stores into any more, now that an association ended."""
        with self._lock:
            mine = self._stored_into.pop(number, set())
            others = set().union(*self._stored_into.values())
        for study_instance_uid in sorted(mine - others):
            self._on_study_touched(study_instance_uid)

    def left(self, number: int) -> None:
        """Take a place back."""
        with self._lock:
            known = self._guests.pop(number, None)
            if known is None:  # let go of already, with the others of a process that was lost
                return
            self._quota.leave(known[0].place)
            ASSOCIATIONS_OPEN.set(len(self._guests))

    def _quietest(self, connection: socket.socket) -> Hall | Annex:
        """Return the hall that holds the fewest associations; a session of TLS cannot leave its process."""
        if isinstance(connection, ssl.SSLSocket):
            return self._hall
        held = Counter(id(hall) for _, hall in self._guests.values())
        return min(self._halls, key=lambda hall: held[id(hall)])

    def _lose(self, annex: Annex) -> None:
        """Let go of the associations that ended with a process."""
        with self._lock:
            lost = [number for number, (_, hall) in self._guests.items() if hall is annex]
        try:
            for number in lost:
                self.over(number)
                self.left(number)
        finally:
            self._when_lost()

    def _rejected(self, call: Call, why: Rejection) -> bytes:
        REJECTIONS.labels(why.meaning).inc()
        _log.warning(
            "association-rejected",
            calling_ae_title=call.calling_ae_title,
            calling_address=call.address,
            called_ae_title=call.called_ae_title,
            reason=why.meaning,
        )
        return why.pdu

    def _wait_until_nobody_calls(self, timeout: timedelta) -> None:
        deadline = monotonic() + timeout.total_seconds()
        while self._guests and monotonic() < deadline:
            sleep(0.02)


def _misfit(request: bytes) -> Rejection | None:
    """Return why a request, a whole PDU, asks for something that is no association of DICOM; None where it does.

    What cannot be understood is aborted by whoever holds the association.
    """
    if not is_of_our_version(request):
        return VERSION_NOT_SUPPORTED
    with suppress(ProtocolViolation):
        if not is_of_our_application(request):
            return APPLICATION_NOT_SUPPORTED
    return None
