"""Who may call us."""

import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import structlog

from node.listening import as_written

_log = structlog.get_logger()

ANY_TITLE = "*"
"""Every AE title of a network."""

_FOUND_SECONDS, _LOST_SECONDS = 60.0, 5.0
"""How long an address is taken for right, and how soon a name that was not found is looked up again."""


EVERYWHERE: tuple[IPv4Network | IPv6Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who may call us: an AE title, or ANY_TITLE, from an address or a network."""

    ae_title: str
    network: IPv4Network | IPv6Network

    def is_it(self, ae_title: str, address: str) -> bool:
        """Whether a calling AE title and its peer's address are this caller's."""
        peer = ip_address(as_written(address).partition("%")[0])
        return self.ae_title.strip() in (ANY_TITLE, ae_title.strip()) and peer in self.network

    @property
    def is_everybody(self) -> bool:
        """Whether it stands for the whole world."""
        return self.ae_title == ANY_TITLE and self.network.prefixlen == 0


THIS_MACHINE: tuple[Caller, ...] = (
    Caller(ae_title=ANY_TITLE, network=ip_network("127.0.0.0/8")),
    Caller(ae_title=ANY_TITLE, network=ip_network("::1/128")),
)
"""Who may call where nobody is listed."""


Name = tuple[str, str]
"""AE title, and the name or address of a host."""


class Callers:
    """Who may call at this moment: those who are listed, and destinations that report their commitment (PS3.4 J.3.3).

    The latter are known by the names of their hosts, which may lead elsewhere later, or nowhere while no name server answers: a
    thread looks them up again and again. Where one is not found, the addresses that it had last may go on calling.
    """

    def __init__(self, listed: Iterable[Caller], reporting: Iterable[Name] = ()) -> None:
        self._listed, self._reporting = tuple(listed), tuple(dict.fromkeys(reporting))
        self._found: dict[Name, tuple[Caller, ...]] = {}
        self._lost: set[Name] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_up_until_stopped, name="callers", daemon=True)
        self.look_up()

    def __iter__(self) -> Iterator[Caller]:
        """Return who may call now; waits for nobody."""
        return itertools.chain(self._listed, *list(self._found.values()))

    def start(self) -> None:
        """Look the names up from time to time, from now on."""
        if self._reporting:
            self._thread.start()

    def stop(self) -> None:
        """Look nothing up any more."""
        self._stopping.set()

    def look_up(self) -> None:
        """Look every name up once; a line says which is not found, or found again."""
        for name in self._reporting:
            try:
                self._found[name] = _at(*name)
            except (OSError, UnicodeError) as failure:  # a name may also be none that can be asked for
                self._lose(name, failure)
            else:
                if name in self._lost:
                    self._lost.discard(name)
                    _log.info("destination-resolved", host=name[1])

    def _lose(self, name: Name, failure: OSError | UnicodeError) -> None:
        if name not in self._lost:
            self._lost.add(name)
            _log.warning(
                "destination-unresolved",
                host=name[1],
                reason=str(failure),
                advice="it is looked up again; until it is found it cannot report its commitment on an association of its own",
            )

    def _look_up_until_stopped(self) -> None:
        while not self._stopping.wait(_LOST_SECONDS if self._lost else _FOUND_SECONDS):
            self.look_up()


def _at(ae_title: str, host: str) -> tuple[Caller, ...]:
    """Return who calls with a title from a host.

    Raises:
        OSError: if its name is not known now.
    """
    addresses = {str(peer[4][0]) for peer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return tuple(
        Caller(ae_title=ae_title, network=ip_network(address.partition("%")[0]))
        for address in sorted(addresses)
    )
