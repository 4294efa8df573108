"""The way of a large data set around this process: off the socket into a pipe, from there into a file (splice(2)).

Its bytes are copied once, not twice, and of each PDU the interpreter sees the headers alone (ADR 0022).
"""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from node.wire.pdu import DATA_HEADER, OF_DATA, SMALL_PDU_BYTES, PduType

_PIPE_BYTES = 1 << 20
"""What a pipe holds, and what is taken off a socket at once; the most that Linux gives one unasked (pipe(7))."""

_CANNOT_SPLICE = frozenset({errno.EINVAL, errno.ENOSYS})
"""How a system, a socket or a file system says that it has no such way."""


class GrowingFile(Protocol):
    """A file that a data set goes into."""

    in_large_pieces: bool
    """Whether it takes large pieces best: file systems do; a memory disk takes what is still in the processor's cache."""

    @property
    def descriptor(self) -> int:
        """Of the file, to append to; -1 where what comes is to be dropped."""

    def moved(self, count: int) -> None:
        """Count bytes that went into it, or would have; never raises. It may be closed then."""

    def fail(self, failure: OSError) -> None:
        """Hear why it takes no more, and close it; never raises."""


class CannotSplice(Exception):
    """A socket cannot be spliced from."""


class Rest(NamedTuple):
    """What is still to come of a data set by the ordinary way."""

    left: int
    """Bytes of the present fragment."""
    is_last: bool
    """Whether that fragment is the last one."""
    header: bytes = b""
    """What was read of what follows it, maybe not the whole header, and is to be understood elsewhere."""


class Bypass:
    """The pipes of one association.

    `bytes` is what came off its socket and did not go on; `works` is whether its socket and the files so far could be spliced.

    Raises:
        OSError: if no descriptor is left, or this user has as many large pipes as users may.
    """

    def __init__(self) -> None:
        self.bytes, self.works = 0, True
        self._out, self._in = _pipe()
        try:
            self._gathered_out, self._gathered_in = _pipe()
        except OSError:
            _close(self._out, self._in)
            raise

    def fill(self, socket: int) -> int:
        """Take off a socket what it has, or wait for it; return how many bytes that were, 0 at its end.

        Only while nothing is in here: whoever fills a full pipe waits for ever.

        Raises:
            CannotSplice: if there is no such way.
            OSError: as recv(2) does.
        """
        try:
            return os.splice(socket, self._in, _PIPE_BYTES)
        except OSError as failure:
            if failure.errno in _CANNOT_SPLICE:
                raise CannotSplice from failure
            raise

    def pass_on(self, receive: Callable[[], int], file: GrowingFile, *, context_id: int, rest: Rest) -> Rest:
        """Let the rest of a data set go into its file, and return what is still to come then.

        It stops with the data set, before anything but a long PDU of one fragment, and where the file takes no more.
        `receive` fills and returns how many bytes came; what it raises is raised, and all is lost then.
        """
        left, is_last, not_understood = rest
        into = self._gathered_in if file.in_large_pieces else file.descriptor
        header, moved = bytearray(DATA_HEADER.size), 0
        try:
            while self.works and file.descriptor >= 0 and (left or not is_last):
                if not self.bytes:
                    self._settle(file, moved)
                    moved = 0
                    self.bytes += receive()
                elif left:
                    try:
                        went = os.splice(self._out, into, min(left, self.bytes), flags=os.SPLICE_F_NONBLOCK)
                    except BlockingIOError:  # small segments have taken every slot of what is gathered
                        self._settle(file, moved)
                        moved = 0
                        continue
                    self.bytes, left, moved = self.bytes - went, left - went, moved + went
                else:
                    came = self.read_into(header)
                    length = _length_of(header, context_id) if came == len(header) else 0
                    if not length:
                        not_understood = bytes(header[:came])
                        break
                    left, is_last = length, bool(header[-1])
        except CannotSplice:
            self.works = False
        except OSError as failure:
            self._give_up(file, failure)
        self._settle(file, moved)
        return Rest(left, is_last, not_understood)

    def read_into(self, place: memoryview | bytearray) -> int:
        """Copy out what there is place for, and return how many bytes that were."""
        came = os.readv(self._out, [place])
        self.bytes -= came
        return came

    def close(self) -> None:
        """Close the pipes."""
        _close(self._out, self._in, self._gathered_out, self._gathered_in)

    def _settle(self, file: GrowingFile, count: int) -> None:
        """Bring what was gathered into the file, and have what went there counted."""
        left = count if file.in_large_pieces else 0
        try:
            while left:
                left -= os.splice(self._gathered_out, file.descriptor, left)
        except OSError as failure:
            self._give_up(file, failure)
            self._copy(file, left)
        file.moved(count)

    def _give_up(self, file: GrowingFile, failure: OSError) -> None:
        """Go this way no more, or have the file know that it takes no more."""
        self.works = failure.errno not in _CANNOT_SPLICE
        if self.works:
            file.fail(failure)

    def _copy(self, file: GrowingFile, count: int) -> None:
        """Write what was gathered by hand, or drop it where the file is closed."""
        rest = b""
        while len(rest) < count:
            rest += os.read(self._gathered_out, count - len(rest))
        try:
            while rest and file.descriptor >= 0:
                rest = rest[os.write(file.descriptor, rest) :]
        except OSError as failure:
            file.fail(failure)


def _length_of(header: bytearray, context_id: int) -> int:
    """Return how many bytes of the data set follow a header; 0 where it is not that of a long PDU with one of its fragments.

    A short one costs less in the buffer, unless it is the last.
    """
    kind, pdu_length, length, context, control = DATA_HEADER.unpack(header)
    is_alone = kind == PduType.DATA_TF and pdu_length == length + 4 and length > 2
    is_of_it = context == context_id and control in OF_DATA
    is_long = pdu_length >= SMALL_PDU_BYTES or control
    return length - 2 if is_alone and is_of_it and is_long else 0


def _pipe() -> tuple[int, int]:
    out, into = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        _close(out, into)
        raise
    return out, into


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
