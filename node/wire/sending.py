"""What goes out over an association, and how slowly the other side may take it."""

import socket
from time import monotonic

from node.wire.inbox import LEAST_BYTES
from node.wire.pdu import ConnectionEnded, TooSlow


def send_all(connection: socket.socket, content: bytes, *, patience: float) -> None:
    """Send it all; the other side takes LEAST_BYTES of it, or the rest, in each `patience` seconds.

    The connection itself waits no longer than that.

    Raises:
        TooSlow, ConnectionEnded: if it does not take it.
    """
    left = memoryview(content)
    try:
        while left:
            deadline = monotonic() + patience
            piece, left = left[:LEAST_BYTES], left[LEAST_BYTES:]
            while piece := piece[connection.send(piece) :]:
                if monotonic() >= deadline:
                    raise TooSlow("It takes our answer too slowly.")
    except (BlockingIOError, TimeoutError) as failure:
        raise TooSlow("It does not take our answer.") from failure
    except OSError as failure:
        raise ConnectionEnded(failure.strerror or type(failure).__name__) from failure
