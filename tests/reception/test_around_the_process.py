"""What of a large data set goes around the process is the same bytes; whatever is in its way, none is lost."""

import errno
import itertools
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from node.wire.bypass import Bypass, Rest
from node.wire.inbox import Aborted, Inbox
from node.wire.pdu import COMMAND, DATA_HEADER, LAST, ConnectionEnded, ProtocolViolation, TooSlow
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram
from tests.reception.raw_callers import RELEASE_RQ, c_store, command, fragments, pdus, raw_caller
from tests.reception.test_wire import connected
from tests.servers import open_descriptors, wait_for

LARGE = bytes(range(256)) * 4096 + b"the end"
"""1 MB and a little."""
ABORT = struct.pack(">BxI", 7, 4) + bytes(4)


class GrowingFile:
    """Counts what came by the ordinary way, and what went around."""

    def __init__(self, path: Path, *, in_large_pieces: bool, flags: int = 0) -> None:
        self.in_large_pieces, self.path = in_large_pieces, path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags)
        self.written = self.went_around = 0
        self.failure: OSError | None = None

    def write(self, pieces: Sequence[memoryview]) -> None:
        for piece in pieces:
            self.written += len(piece)
            if self.descriptor >= 0:
                os.write(self.descriptor, piece)

    def moved(self, count: int) -> None:
        self.went_around += count

    def fail(self, failure: OSError) -> None:
        self.failure = failure
        self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


@contextmanager
def sender_of(pieces: Sequence[bytes], *, silence: float = 30) -> Iterator[Inbox]:
    """An inbox to which somebody sends these pieces one by one, and then hangs up."""
    ours, theirs = connected()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send() -> None:
        with theirs:
            for piece in pieces:
                theirs.sendall(piece)

    thread = threading.Thread(target=send)
    inbox = Inbox(ours, silence=timedelta(seconds=silence))
    with ours:
        thread.start()
        yield inbox
    inbox.close()
    thread.join()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def cut(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    """A stream in pieces of these sizes, again and again."""
    pieces, start = [], 0
    for size in itertools.cycle(sizes or [len(stream)]):
        if start >= len(stream):
            return pieces
        pieces.append(stream[start : start + size])
        start += size
    raise AssertionError


def stream_of(data: bytes, sizes: Sequence[int], uid: str = "1.2.3") -> bytes:
    """A C-STORE whose data set comes in PDUs of these sizes, again and again."""
    values = fragments(1, command(1, FOR_PRESENTATION, uid), is_command=True, size=1000)
    pieces = cut(data, sizes)
    values += [(1, 2 if place == len(pieces) - 1 else 0, piece) for place, piece in enumerate(pieces)]
    return b"".join(pdus(values))


def taken(inbox: Inbox, file: GrowingFile) -> str:
    """Take one C-STORE, and return its UID."""
    asked = inbox.next_command()
    inbox.pass_data_set(asked.context_id, file.write, file)
    return asked.sop_instance_uid


@pytest.fixture(params=[True, False], ids=["large-pieces", "as-it-comes"])
def in_large_pieces(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(60_000, 2_000_000),
    sizes=st.lists(st.integers(1, 9) | st.integers(60_000, 300_000), min_size=1, max_size=5).filter(
        lambda sizes: sum(sizes) > 60_000
    ),
    segments=st.lists(st.integers(1000, 200_000), max_size=4),
    in_large_pieces=st.booleans(),
)
def test_any_data_set_in_any_pdus_in_any_segments_is_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, size, sizes, segments, in_large_pieces
):
    data = (LARGE * 2)[:size]
    other = data[::-1]
    file = GrowingFile(tmp_path_factory.mktemp("f") / "file", in_large_pieces=in_large_pieces)
    after = GrowingFile(file.path.with_name("after"), in_large_pieces=in_large_pieces)
    stream = stream_of(data, sizes) + stream_of(other, sizes, "1.2.4") + RELEASE_RQ
    with sender_of(cut(stream, segments)) as inbox:
        assert (taken(inbox, file), taken(inbox, after)) == ("1.2.3", "1.2.4")
    assert file.path.read_bytes() == data
    assert after.path.read_bytes() == other
    assert file.written + file.went_around == len(data)
    assert inbox.bytes <= len(stream)


def test_most_of_a_large_one_goes_around(tmp_path: Path, in_large_pieces: bool):
    file = GrowingFile(tmp_path / "file", in_large_pieces=in_large_pieces)
    with sender_of([stream_of(LARGE * 8, [131_060])]) as inbox:
        taken(inbox, file)
    assert file.path.read_bytes() == LARGE * 8
    assert file.went_around > 7 * len(LARGE)


def passed_by(pieces: Sequence[bytes], file: GrowingFile, *, left: int) -> Rest:
    """What is left of a data set that comes in these pieces, each once the one before has gone on."""
    ours, theirs = socket.socketpair()
    queue = list(pieces)
    way = Bypass()

    def receive() -> int:
        theirs.sendall(queue.pop(0))
        return way.fill(ours.fileno())

    with ours, theirs:
        rest = way.pass_on(receive, file, context_id=1, rest=Rest(left, is_last=False))
    way.close()
    assert not queue
    return rest


def test_a_pipe_whose_slots_are_taken_by_splinters_is_emptied(tmp_path: Path):
    """256 small segments take a pipe's slots; the one that a header splits takes one more in the next pipe."""
    file = GrowingFile(tmp_path / "file", in_large_pieces=True)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.sendall(b"first" + DATA_HEADER.pack(4, 406, 402, 1, LAST) + b"x" * 50)
        for _ in range(350):
            theirs.sendall(b"y")
        way = Bypass()
        rest = way.pass_on(
            lambda: way.fill(ours.fileno()), file, context_id=1, rest=Rest(len(b"first"), is_last=False)
        )
        way.close()
    assert rest == (0, True, b"")
    assert file.path.read_bytes() == b"first" + b"x" * 50 + b"y" * 350
    assert file.failure is None


@pytest.mark.parametrize("cut_at", [1, 5, 6, 11])
def test_half_a_header_is_given_back(tmp_path: Path, in_large_pieces: bool, cut_at: int):
    """Though the one before was the same: nobody fills the other half in from that."""
    header = DATA_HEADER.pack(4, 70_006, 70_002, 1, 0)
    file = GrowingFile(tmp_path / "file", in_large_pieces=in_large_pieces)
    rest = passed_by([b"first", header + b"x" * 70_000 + header[:cut_at]], file, left=5)
    assert rest == (0, False, header[:cut_at])
    assert file.path.read_bytes() == b"first" + b"x" * 70_000
    assert file.went_around == 70_005


@pytest.mark.parametrize("followed_by", [1, 3])
def test_what_goes_on_in_short_pdus_or_another_way_comes_through_the_buffer(
    tmp_path: Path, in_large_pieces: bool, followed_by: int
):
    """Several values in a PDU, or short PDUs, after long ones; and long ones again."""
    long = 2 * LARGE
    parts = [long, LARGE[:5000], long]
    values = fragments(1, command(1, FOR_PRESENTATION, "1.2.3"), is_command=True, size=1000)
    stream = b"".join(pdus(values))
    for place, part in enumerate(parts):
        size, together = (1000, followed_by) if place == 1 else (131_060, 1)
        values = [(1, 0, piece) for _, _, piece in fragments(1, part, is_command=False, size=size)]
        if place == 2:
            values[-1] = (1, LAST, values[-1][2])
        stream += b"".join(pdus(values, values_in_a_pdu=together))
    file = GrowingFile(tmp_path / "file", in_large_pieces=in_large_pieces)
    with sender_of([stream]) as inbox:
        taken(inbox, file)
    assert file.path.read_bytes() == b"".join(parts)
    assert file.went_around > len(
        long
    )  # of either a part comes through the buffer: the more, the sooner it is there


@pytest.mark.parametrize(
    ("last_words", "expected"),
    [
        (b"", ConnectionEnded),
        (ABORT, Aborted),
        (RELEASE_RQ, ProtocolViolation),
        (b"".join(pdus([(1, COMMAND, b"x" * 100)])), ProtocolViolation),
        (b"".join(pdus([(3, 0, b"x" * 70_000)])), ProtocolViolation),
        (DATA_HEADER.pack(4, 70_000, 80_000, 1, 0), ProtocolViolation),
        (DATA_HEADER.pack(5, 70_004, 70_000, 1, 0) + bytes(70_000), ProtocolViolation),
        (b"\x09" * 12, ProtocolViolation),
    ],
)
def test_what_breaks_a_rule_in_the_midst_ends_it(
    tmp_path: Path, in_large_pieces: bool, last_words: bytes, expected: type[Exception]
):
    """After a whole fragment, so that a header is what is looked for."""
    whole = stream_of(LARGE, [131_060])
    end = whole.rindex(DATA_HEADER.pack(4, len(LARGE) % 131_060 + 6, len(LARGE) % 131_060 + 2, 1, LAST))
    file = GrowingFile(tmp_path / "file", in_large_pieces=in_large_pieces)
    with sender_of([whole[:end] + last_words]) as inbox, pytest.raises(expected):
        taken(inbox, file)


def test_who_falls_silent_in_the_midst_is_not_waited_for(tmp_path: Path, in_large_pieces: bool):
    ours, theirs = connected()
    with ours, theirs:
        threading.Thread(target=theirs.sendall, args=(stream_of(LARGE, [131_060])[:-100],)).start()
        inbox = Inbox(ours, silence=timedelta(seconds=0.5))
        with pytest.raises(TooSlow):
            taken(inbox, GrowingFile(tmp_path / "file", in_large_pieces=in_large_pieces))
        inbox.close()


def test_a_file_that_cannot_be_spliced_into_is_written(tmp_path: Path, in_large_pieces: bool):
    """The kernel does not splice into a file that is open for appending."""
    file = GrowingFile(tmp_path / "file", in_large_pieces=in_large_pieces, flags=os.O_APPEND)
    with sender_of([stream_of(LARGE * 4, [131_060]) * 2]) as inbox:
        taken(inbox, file)
        assert file.path.read_bytes() == LARGE * 4
        taken(inbox, file)
    assert file.path.read_bytes() == LARGE * 8
    assert file.failure is None
    assert file.written > 7 * len(LARGE), "it is tried once"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_socket_that_cannot_be_spliced_from_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    def refuse(*_arguments: object, **_options: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "splice", refuse)
    file = GrowingFile(tmp_path / "file", in_large_pieces=True)
    with sender_of([stream_of(LARGE, [131_060])]) as inbox:
        taken(inbox, file)
    assert file.path.read_bytes() == LARGE
    assert (file.went_around, file.failure) == (0, None)


@pytest.mark.parametrize("pipes", [0, 1])
def test_without_descriptors_for_pipes_the_buffer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipes: int
):
    ours, open_before = os.pipe2, descriptors()
    left = [True] * pipes

    def refuse(flags: int) -> tuple[int, int]:
        if not left:
            raise OSError(errno.EMFILE, "Too many open files")
        left.pop()
        return ours(flags)

    monkeypatch.setattr(os, "pipe2", refuse)
    file = GrowingFile(tmp_path / "file", in_large_pieces=True)
    with sender_of([stream_of(LARGE, [131_060])]) as inbox:
        taken(inbox, file)
    file.close()
    assert file.path.read_bytes() == LARGE
    assert file.went_around == 0
    assert descriptors() <= open_before  # what other tests left may be closed meanwhile


def test_a_file_that_takes_no_more_fails_and_the_rest_is_dropped(tmp_path: Path, in_large_pieces: bool):
    """And what comes next is whole: nothing of the first lies in a pipe any more."""
    nobody, end = os.pipe()
    file = GrowingFile(tmp_path / "file", in_large_pieces=in_large_pieces)
    whole = GrowingFile(tmp_path / "whole", in_large_pieces=in_large_pieces)
    with sender_of([stream_of(LARGE * 3, [131_060]) * 2]) as inbox:
        asked = inbox.next_command()

        def write(pieces: Sequence[memoryview]) -> None:
            if file.written == 0:  # from now on nobody reads what it takes
                os.dup2(end, file.descriptor)
                os.close(nobody)
            file.written += sum(map(len, pieces))

        inbox.pass_data_set(asked.context_id, write, file)
        taken(inbox, whole)
    os.close(end)
    assert file.failure is not None
    assert file.failure.errno == errno.EPIPE
    assert whole.path.read_bytes() == LARGE * 3
    assert whole.went_around > 2 * len(LARGE)


def test_a_large_instance_leaves_no_pipe(node: ListeningNode):
    image = mammogram("pipes", side=1200)
    before = open_descriptors("self", "pipe")
    with raw_caller(node.port) as caller:
        assert caller.associate() == 2
        for _ in range(2):
            caller.socket.sendall(c_store(image.SOPInstanceUID, encoded(image), size=100_000))
            assert caller.status() == 0
            assert open_descriptors("self", "pipe") == before + 4
    wait_for(lambda: open_descriptors("self", "pipe") == before, what="the end of both pipes")
    (row,) = node.instances("pipes")
    assert (node.data_dir / row.path).read_bytes().endswith(encoded(image))


def test_the_head_is_looked_at_though_headers_come_alone(node: ListeningNode):
    """The buffer is empty then; but no byte of a data set goes around before its file has begun."""
    image = mammogram("alone", side=500)
    stream = c_store(image.SOPInstanceUID, encoded(image), size=100_000)
    command_end = stream.index(DATA_HEADER.pack(4, 100_006, 100_002, 1, 0))
    with raw_caller(node.port) as caller:
        assert caller.associate() == 2
        for piece in (stream[:command_end], stream[command_end : command_end + DATA_HEADER.size]):
            caller.socket.sendall(piece)
            time.sleep(0.2)
        caller.socket.sendall(stream[command_end + DATA_HEADER.size :])
        assert caller.status() == 0
    (row,) = node.instances("alone")
    file = dcmread(node.data_dir / row.path)
    assert file.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert file == image


@pytest.mark.parametrize("size", [16_000, 100_000])
def test_a_disk_that_takes_no_more_is_a_reason_to_send_again(node: ListeningNode, size: int):
    """Of a process whose files may not grow over 1 MB; in short PDUs, and in long ones around it."""
    image = mammogram("no-room", side=1200)
    message = c_store(image.SOPInstanceUID, encoded(image), size=size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with raw_caller(node.port) as caller:
        assert caller.associate() == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        try:
            caller.socket.sendall(message)
            assert caller.status() == 0xA700
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert node.refusals()[0].reason == "The disk does not take it (File too large): send it again later."
        caller.socket.sendall(message)
        assert caller.status() == 0
    assert not node.incoming()
    (row,) = node.instances("no-room")
    assert (node.data_dir / row.path).read_bytes().endswith(encoded(image))
