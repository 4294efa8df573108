"""What comes over one association: a receive buffer, and the messages in it as slices, never copied.

A data set goes from the socket to its taker in pieces of the buffer; what follows of a large one goes around this process.
Whatever the size of PDUs, fragments and objects, an association holds one buffer and two pipes.
"""

import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from struct import Struct
from time import monotonic
from typing import NamedTuple

from node.wire.bypass import Bypass, GrowingFile, Rest
from node.wire.command_set import LONGEST_COMMAND, Command, parse_command
from node.wire.pdu import (
    COMMAND,
    DATA_HEADER,
    HEADER,
    LAST,
    OF_DATA,
    PDV_HEADER,
    SMALL_PDU_BYTES,
    AbortReason,
    ConnectionEnded,
    PduType,
    ProtocolViolation,
    TooSlow,
)
from node.wire.small_message import Content, content_of

BUFFER_BYTES = 512 << 10
"""Of one association: few calls to the system, and yet it stays in the processor's cache until it is written."""

LEAST_BYTES = 64 << 10
"""What a message must bring while `silence` lasts, unless it ends before: 1 KB a second at 60 s."""

Taker = Callable[[list[memoryview]], None]
"""What is given pieces of a data set; they are valid until it returns."""

_BEFORE_IT_PASSES_BY = 128 << 10
"""Bytes of a data set that pass through the buffer, where their taker may look at them; of a small one that is all."""
_TIMEVAL = Struct("@ll")


class Released(Exception):
    """The other side asks to release the association (PS3.8 7.2)."""


class Aborted(Exception):
    """The other side aborted the association (PS3.8 7.3)."""


class _Fragment(NamedTuple):
    """The header of one presentation data value."""

    context_id: int
    is_command: bool
    is_last: bool
    bytes: int


class Inbox:
    """Takes the messages of one established association off its socket, in their order.

    `silence` is how long the other side may send nothing, and how often a message must have brought LEAST_BYTES.
    Any method may raise ConnectionEnded, TooSlow, ProtocolViolation or Aborted; after that it is of no more use.
    """

    def __init__(self, connection: socket.socket, *, silence: timedelta) -> None:
        self._connection = connection
        self._patience = silence.total_seconds()
        _wait_at_most(connection, self._patience)
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._pdu_left = 0
        self._small = False
        self._taken: list[memoryview] = []
        self._taker: Taker | None = None
        self._bypass: Bypass | None = None
        self._has_bypass = not isinstance(connection, ssl.SSLSocket)
        """Whether large data sets may go around us: not if they have to be deciphered first."""
        self._came = 0
        self._deadline = 0.0
        self.bytes = 0

    def next_command(self) -> Command:
        """Return the next command set.

        Raises:
            Released: if the other side has nothing more to say.
        """
        self._deadline = 0.0
        if self._start == self._end:
            self._fill()
        self._deadline, self._came = monotonic() + self._patience, 0
        encoded = bytearray()
        while True:
            fragment = self._next_fragment(within_message=bool(encoded))
            if not fragment.is_command:
                raise ProtocolViolation("A data set came without its command.")
            if len(encoded) + fragment.bytes > LONGEST_COMMAND:
                raise ProtocolViolation("A command set is longer than any that there is.")
            self._copy(fragment, encoded)
            if fragment.is_last:
                return parse_command(fragment.context_id, bytes(encoded))

    def pass_data_set(self, context_id: int, taker: Taker, file: GrowingFile | None = None) -> None:
        """Give the data set that follows a command to `taker`, piece by piece as it comes.

        With `file`, what follows of a large one may go into that past `taker`.
        """
        self._taker = taker
        is_last, passed = False, 0
        while not is_last:
            fragment = self._data_fragment(context_id)
            left, is_last = fragment.bytes, fragment.is_last
            passed += left
            while left:
                if self._start == self._end:
                    if file and passed - left >= _BEFORE_IT_PASSES_BY and (way := self._way_past(file)):
                        left, is_last, _ = self._pass_by(way, context_id, Rest(left, is_last), file)
                        continue
                    self._fill()
                piece = self._view[self._start : min(self._end, self._start + left)]
                self._taken.append(piece)
                self._start += len(piece)
                left -= len(piece)
        self._hand_over()
        self._taker = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing that came is still here: in the buffer, or in the bypass."""
        return self._start == self._end and not (self._bypass and self._bypass.bytes)

    def look(self, longest: int) -> Content:
        """Receive what the socket has, without waiting, and return what the buffer then begins with.

        For a socket without TLS, where a message begins; nothing may be in the bypass. It never raises: what went wrong shows when the
        next message is taken. Whoever sends the rest only once its begin is acknowledged (Nagle's algorithm) does not wait for that.
        """
        self._to_the_front()
        try:
            came = self._connection.recv_into(self._view[self._end :], 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return Content.BEGUN
        except OSError:
            return Content.OTHER
        if not came:  # its end, or the buffer is full
            return Content.OTHER
        self.bytes += came
        self._end += came
        content = content_of(self._view[: self._end], longest)
        if content is Content.BEGUN:
            self._acknowledge()
        return content

    def close(self) -> None:
        """Close the bypass; the connection is not ours to close."""
        if self._bypass:
            self._bypass.close()

    def data_set(self, context_id: int, longest: int) -> bytes:
        """Return the data set that follows a command.

        Raises:
            ProtocolViolation: if it has more than `longest` bytes.
        """
        encoded = bytearray()

        def take(pieces: list[memoryview]) -> None:
            if len(encoded) + sum(map(len, pieces)) > longest:
                raise ProtocolViolation("A data set is longer than its service needs.")
            for piece in pieces:
                encoded.extend(piece)

        self.pass_data_set(context_id, take)
        return bytes(encoded)

    def _way_past(self, file: GrowingFile) -> Bypass | None:
        """Return the way that what follows may go around us; short PDUs cost less in the buffer."""
        if self._small or not self._has_bypass or file.descriptor < 0:
            return None
        if self._bypass is None:
            try:
                self._bypass = Bypass()
            except OSError:
                self._has_bypass = False
        return self._bypass

    def _pass_by(self, way: Bypass, context_id: int, rest: Rest, file: GrowingFile) -> Rest:
        """Let what follows of a data set go into its file, and return what of it comes through the buffer again."""
        self._hand_over()
        receive = partial(self._received, partial(way.fill, self._connection.fileno()))
        rest = way.pass_on(receive, file, context_id=context_id, rest=rest)
        self._has_bypass = way.works
        self._start, self._end = 0, len(rest.header)
        self._view[: self._end] = rest.header
        return rest

    def _data_fragment(self, context_id: int) -> _Fragment:
        """Return the header of a data set's next fragment; nearly always it is a PDU of its own, whose header lies in the buffer."""
        if not self._pdu_left and self._end - self._start >= DATA_HEADER.size:
            kind, pdu_length, length, context, control = DATA_HEADER.unpack_from(self._buffer, self._start)
            alone = kind == PduType.DATA_TF and pdu_length == length + 4
            if alone and context == context_id and control in OF_DATA and length >= 2:
                self._start += DATA_HEADER.size
                self._small = pdu_length < SMALL_PDU_BYTES
                return _Fragment(context, False, bool(control), length - 2)
        fragment = self._next_fragment(within_message=True)
        if fragment.is_command or fragment.context_id != context_id:
            raise ProtocolViolation("Another message began within a data set.")
        return fragment

    def _copy(self, fragment: _Fragment, into: bytearray) -> None:
        left = fragment.bytes
        while left:
            if self._start == self._end:
                self._fill()
            piece = self._view[self._start : min(self._end, self._start + left)]
            into += piece
            self._start += len(piece)
            left -= len(piece)

    def _next_fragment(self, *, within_message: bool) -> _Fragment:
        """Return the next fragment's header, and stand at its first byte."""
        while not self._pdu_left:
            self._open_pdu(within_message=within_message)
        if self._pdu_left < PDV_HEADER.size:
            raise ProtocolViolation("A P-DATA-TF PDU ends within the header of a value.")
        self._have(PDV_HEADER.size)
        length, context_id, control = PDV_HEADER.unpack_from(self._buffer, self._start)
        self._start += PDV_HEADER.size
        if length < 2 or length + 4 > self._pdu_left:
            raise ProtocolViolation("A presentation data value is longer than its PDU.")
        self._pdu_left -= length + 4
        return _Fragment(
            context_id=context_id,
            is_command=bool(control & COMMAND),
            is_last=bool(control & LAST),
            bytes=length - 2,
        )

    def _open_pdu(self, *, within_message: bool) -> None:
        """Read the header of the next PDU, and what is not P-DATA-TF to its end."""
        self._have(HEADER.size)
        kind, length = HEADER.unpack_from(self._buffer, self._start)
        if kind == PduType.DATA_TF:
            self._start += HEADER.size
            self._pdu_left = length
            self._small = length < SMALL_PDU_BYTES
            return
        if kind == PduType.ABORT:
            raise Aborted
        if kind == PduType.RELEASE_RQ and not within_message:
            raise Released
        if PduType.ASSOCIATE_RQ <= kind <= PduType.ABORT:
            raise ProtocolViolation("A PDU came that has no place here.", AbortReason.UNEXPECTED_PDU)
        raise ProtocolViolation("A PDU came that the standard does not know.", AbortReason.UNRECOGNIZED_PDU)

    def _have(self, wanted: int) -> None:
        """Make sure that so many bytes lie in the buffer, in one piece."""
        while self._end - self._start < wanted:
            self._fill()

    def _fill(self) -> None:
        """Receive what the socket has, after whatever was taken from the buffer was handed over."""
        self._hand_over()
        self._to_the_front()
        if self._bypass and self._bypass.bytes:
            self._end += self._bypass.read_into(self._view[self._end :])
            return
        self._end += self._received(partial(self._connection.recv_into, self._view[self._end :]))
        if self._small:
            self._acknowledge()

    def _to_the_front(self) -> None:
        """Have what lies in the buffer begin where that does."""
        kept = self._end - self._start
        if kept and self._start:
            self._buffer[:kept] = self._buffer[self._start : self._end]
        self._start, self._end = 0, kept

    def _acknowledge(self) -> None:
        """Have what came acknowledged at once."""
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _received(self, receive: Callable[[], int]) -> int:
        """Receive from the socket, and return how many bytes came."""
        try:
            came = receive()
        except (BlockingIOError, TimeoutError) as failure:
            raise TooSlow(f"It was silent for {self._patience:g} s.") from failure
        except OSError as failure:
            raise ConnectionEnded(failure.strerror or type(failure).__name__) from failure
        if not came:
            raise ConnectionEnded("The other side closed the connection.")
        self.bytes += came
        self._watch(came)
        return came

    def _watch(self, came: int) -> None:
        """Raise where a message trickles."""
        self._came += came
        if self._deadline and (now := monotonic()) > self._deadline:
            if self._came < LEAST_BYTES:
                raise TooSlow(f"It brought {self._came} bytes in {self._patience:g} s.")
            self._deadline, self._came = now + self._patience, 0

    def _hand_over(self) -> None:
        if self._taken and self._taker is not None:
            self._taker(self._taken)
        self._taken = []


def _wait_at_most(connection: socket.socket, seconds: float) -> None:
    """Let receiving and sending wait so long: by the kernel, which costs a call less, or by TLS, which asks again."""
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(seconds)
        return
    whole = int(seconds)
    waiting = _TIMEVAL.pack(whole, round((seconds - whole) * 1e6))
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, waiting)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, waiting)
