"""Ports for servers that are started in a moment: nobody else may take them meanwhile (standard library alone)."""

import itertools
import os
import socket

FIRST, LAST = 15_000, 32_000
"""Below the ports that Linux gives to outgoing connections and to whoever asks for port 0 (ip_local_port_range): a server of ours
needs seconds to start, and a stranger who was given its port would answer in its place."""

_STEP = 131
_places = itertools.count(os.getpid() * _STEP)


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that this process was not given lately.

    Processes that start one after the other begin in different places, so that they do not hand out the same ports.

    Raises:
        OSError: if none is free.
    """
    for place in itertools.islice(_places, LAST - FIRST):
        port = FIRST + place % (LAST - FIRST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"No port from {FIRST} to {LAST - 1} is free: end some of the servers that listen there.")
