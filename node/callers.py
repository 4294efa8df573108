"""Who may call us."""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import structlog

_log = structlog.get_logger()

ANY_TITLE = "*"
"""Every AE title of a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who may call us: an AE title, or ANY_TITLE, from an address or a network."""

    ae_title: str
    network: IPv4Network | IPv6Network

    def is_it(self, ae_title: str, address: str) -> bool:
        """Whether a calling AE title and its peer's address are this caller's."""
        peer = ip_address(address.partition("%")[0])
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
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


def who_reports_back(destinations: Iterable[tuple[str, str]]) -> Sequence[Caller]:
    """Return the callers that destinations are when they report their commitment (PS3.4 J.3.3).

    `destinations`: AE title and host of each. A host that cannot be resolved now may not call; a line says so.
    """
    found = []
    for ae_title, host in destinations:
        try:
            addresses = {str(peer[4][0]) for peer in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except OSError as failure:
            _log.warning(
                "destination-unresolved",
                host=host,
                reason=failure.strerror,
                advice="list it under [[callers]], or it cannot report its commitment on an association of its own",
            )
            continue
        found += [
            Caller(ae_title=ae_title, network=ip_network(address.partition("%")[0]))
            for address in sorted(addresses)
        ]
    return found
