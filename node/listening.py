"""Where the node listens: an address of IPv4 or IPv6, or every address that there is."""

import socket

EVERY_ADDRESS = "::"
"""Of both: callers of IPv4 come to it, too."""


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that has an address, and does not listen yet; 0 is any port that is free.

    Raises:
        OSError: if it cannot have that.
    """
    is_ipv6 = ":" in host
    one = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_ipv6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != EVERY_ADDRESS)
        one.bind((host, port))
    except OSError:
        one.close()
        raise
    return one


def as_written(address: str) -> str:
    """Return the address of a peer; one of IPv4 that came to a socket of IPv6 as what it is (RFC 4291 2.5.5.2)."""
    return address.removeprefix("::ffff:") if "." in address else address
