"""A network between the nodes and a PACS that a fault run cuts, slows down and lets fall silent."""

import random
import socket
import struct
import threading
import time
from contextlib import closing, suppress

ONE_PIECE = 4096


class Wire:
    """Carries connections to `target`, a port on this machine, until it is told to do otherwise."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.refuses = self.slow = self.silent = False
        self.bytes_until_cut: int | None = None
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def heal(self) -> None:
        """Carry everything again."""
        self.refuses = self.slow = self.silent = False
        self.bytes_until_cut = None

    def cut_soon(self, chance: random.Random) -> None:
        """Cut every connection in the middle of an object."""
        self.bytes_until_cut = chance.randrange(500, 60_000)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.refuses:
                    _reset(near)
                else:
                    threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with closing(near):
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                return
            far.settimeout(None)
            with closing(far):
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
                back.start()
                self._pump(near, far)
                back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry one direction to its end, or to the next cut."""
        with suppress(OSError):
            while piece := source.recv(ONE_PIECE):
                while self.silent:
                    time.sleep(0.05)
                if self.slow:
                    time.sleep(0.1)
                if self.bytes_until_cut is not None:
                    self.bytes_until_cut -= len(piece)
                    if self.bytes_until_cut < 0:
                        self.bytes_until_cut = 40_000
                        self.cuts += 1
                        for end in (source, sink):
                            _reset(end)
                        return
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _reset(connection: socket.socket) -> None:
    """End a connection as a cable does that is pulled: with a reset, and nothing said."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        connection.close()
