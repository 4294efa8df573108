"""However a sender cuts its messages, the same bytes arrive; whatever breaks a rule ends its own association."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.association import Limits
from node.wire.command_set import encode_command, parse_command
from node.wire.inbox import Inbox
from node.wire.pdu import ConnectionEnded, ProtocolViolation, TooSlow, command_pdus
from node.wire.sending import send_all
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import encoded, mammogram, uid
from tests.reception.raw_callers import C_ECHO, RELEASE_RQ, c_store, command, fragments, pdus, raw_caller
from tests.servers import wait_for

ABORT, RELEASE_RP = 7, 6


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        return listener.accept()[0], theirs


def received(stream: bytes, pieces: list[int]) -> tuple[str, bytes]:
    """The UID and data set of the C-STORE in a stream that is sent in pieces of these sizes."""
    ours, theirs = connected()
    with ours, theirs:

        def send() -> None:
            start = 0
            for size in [*pieces, len(stream)]:
                theirs.sendall(stream[start : start + size])
                start += size

        sender = threading.Thread(target=send)
        sender.start()
        inbox = Inbox(ours, silence=timedelta(seconds=30))
        asked = inbox.next_command()
        taken = bytearray()
        inbox.pass_data_set(asked.context_id, lambda some: [taken.extend(one) for one in some])
        sender.join()
        return asked.sop_instance_uid, bytes(taken)


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=3000),
    size=st.integers(1, 3200),
    together=st.integers(1, 9),
    pieces=st.lists(st.integers(1, 400), max_size=8),
)
def test_any_fragments_in_any_pdus_in_any_segments_are_the_same_message(data, size, together, pieces):
    stream = c_store("1.2.3", data, size=size, values_in_a_pdu=together)
    assert received(stream, pieces) == ("1.2.3", data)


@pytest.mark.parametrize("size", [997, 1 << 20, 1 << 30])
def test_fragments_longer_and_shorter_than_the_buffer(size: int):
    data = bytes(range(251)) * 12_000
    assert received(c_store("1.2.3", data, size=size), [5, 100_000]) == ("1.2.3", data)


def test_several_instances_may_come_before_the_first_is_answered(node: ListeningNode):
    images = [mammogram("pipelined", SOPInstanceUID=uid("pipelined", str(number))) for number in range(5)]
    with raw_caller(node.port) as caller:
        assert caller.associate() == 2
        stream = b"".join(c_store(image.SOPInstanceUID, encoded(image), size=700) for image in images)
        caller.socket.sendall(stream + RELEASE_RQ)
        answers = [caller.response() for _ in images]
        assert [answer.number(0x0900) for answer in answers] == [0] * 5
        assert [answer.sop_instance_uid for answer in answers] == [image.SOPInstanceUID for image in images]
        assert caller.pdu()[0] == RELEASE_RP
    assert len(node.instances("pipelined")) == 5


@given(
    elements=st.dictionaries(st.integers(1, 0xFFFF), st.binary(max_size=70), max_size=12),
    longest=st.integers(0, 400),
)
def test_a_command_set_survives_its_encoding(elements: dict[int, bytes], longest: int):
    lawful = elements | {0x0100: b"\x01\x00", 0x0800: b"\x01\x01"}
    ours, theirs = connected()
    with ours, theirs:
        theirs.sendall(command_pdus(5, encode_command(lawful), longest))
        came = Inbox(ours, silence=timedelta(seconds=5)).next_command()
    assert came.context_id == 5
    assert came.elements.keys() - {0} == lawful.keys()
    assert all(came.elements[key].startswith(value) for key, value in lawful.items())


@given(st.binary(max_size=300))
def test_bytes_that_are_no_command_set_are_called_so(noise: bytes):
    try:
        parse_command(1, noise)
    except ProtocolViolation:
        return
    assert len(noise) >= 20


NONSENSE = {
    "an unknown PDU": struct.pack(">BxI", 0x2A, 4) + bytes(4),
    "a second request": struct.pack(">BxI", 1, 4) + bytes(4),
    "a value longer than its PDU": struct.pack(">BxIIBB", 4, 6, 600, 1, 3) + bytes(600),
    "a value without a control header": struct.pack(">BxIIBB", 4, 6, 1, 1, 3),
    "a header that its PDU cuts": struct.pack(">BxI", 4, 3) + bytes(3),
    "a data set without a command": b"".join(pdus(fragments(1, b"data", is_command=False, size=9))),
    "a context that was not accepted": c_store("1.2.3", b"data", context_id=99),
    "a command without an end": b"".join(
        pdus((1, 1, bytes(16000)) for _ in range(6))  # the last bit is never set
    ),
    "a message within a data set": b"".join(pdus([(1, 3, command(1, "1.2", "1.2.3")), (3, 3, b"")])),
    "another context within a data set": b"".join(pdus([(1, 3, command(1, "1.2", "1.2.3")), (3, 2, b"x")])),
    "no command set at all": b"".join(pdus([(1, 3, b"\1\2\3\4\5\6\7\10\11")])),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_whoever_breaks_a_rule_is_aborted_and_nobody_else(node: ListeningNode, name: str):
    with raw_caller(node.port) as other, raw_caller(node.port) as caller:
        assert other.associate() == caller.associate() == 2
        caller.socket.sendall(NONSENSE[name])
        assert caller.pdu()[0] == ABORT
        assert caller.pdu()[0] == 0
        other.socket.sendall(C_ECHO)
        assert other.status() == 0
    wait_for(lambda: not node.incoming(), what="the end of the half file")


def test_a_message_that_we_do_not_serve_is_answered_so(node: ListeningNode):
    with raw_caller(node.port) as caller:
        caller.associate()
        find = fragments(1, command(0x20, "1.2.3"), is_command=True, size=400)
        query = fragments(1, b"a query", is_command=False, size=400)
        caller.socket.sendall(b"".join(pdus(find + query)))
        assert caller.status() == 0x0211
        caller.socket.sendall(C_ECHO)
        assert caller.status() == 0


def test_an_instance_of_another_class_than_its_context_is_refused(node: ListeningNode):
    with raw_caller(node.port) as caller:
        caller.associate()
        asked = fragments(1, command(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"), is_command=True, size=400)
        caller.socket.sendall(b"".join(pdus([*asked, (1, 2, b"data")])))
        assert caller.status() == 0x0122
    wait_for(lambda: not node.incoming(), what="the end of the file")


def test_a_receiver_that_takes_little_gets_answers_in_small_pdus(node: ListeningNode):
    with raw_caller(node.port) as caller:
        caller.associate(longest_pdu=100)
        caller.socket.sendall(c_store("1.2.3", b"no data set of ours"))
        assert caller.status() == 0xC000


@pytest.mark.parametrize("said", [b"", C_ECHO[:3], C_ECHO[:-1]])
def test_a_caller_that_falls_silent_is_dropped(make_node: Callable[..., ListeningNode], said: bytes):
    node = make_node(limits=Limits(silence=timedelta(seconds=0.3)))
    with raw_caller(node.port) as caller:
        caller.associate()
        caller.socket.sendall(said)
        began = time.monotonic()
        assert caller.pdu()[0] == ABORT
        assert time.monotonic() - began < 5


def test_a_caller_that_trickles_is_dropped():
    ours, theirs = connected()
    with ours, theirs:

        def trickle() -> None:
            theirs.sendall(c_store("1.2.3", bytes(9000), size=9000)[:400])
            while not done.wait(0.05):
                theirs.sendall(b"x")

        done = threading.Event()
        sender = threading.Thread(target=trickle)
        sender.start()
        inbox = Inbox(ours, silence=timedelta(seconds=0.4))
        asked = inbox.next_command()
        try:
            with pytest.raises(TooSlow, match="brought"):
                inbox.pass_data_set(asked.context_id, lambda _: None)
        finally:
            done.set()
            sender.join()


@contextmanager
def taking(connection: socket.socket, at_once: int, *, pause: float) -> Iterator[list[int]]:
    """A receiver that takes so many bytes, pauses, and takes more; what it took so far."""
    taken: list[int] = []
    done = threading.Event()

    def take() -> None:
        while not done.wait(pause) and (came := len(connection.recv(at_once))):
            taken.append(came)

    receiver = threading.Thread(target=take)
    receiver.start()
    try:
        yield taken
    finally:
        done.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        receiver.join()
        connection.close()


def narrow(*, silence: float = 0.4) -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that holds little on the way, and is slow to take more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.socket()
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        theirs.connect(listener.getsockname())
        ours = listener.accept()[0]
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    Inbox(ours, silence=timedelta(seconds=silence))
    return ours, theirs


def test_who_takes_an_answer_by_little_pieces_is_dropped():
    ours, theirs = narrow()
    with ours, taking(theirs, 2000, pause=0.04) as taken:
        began = time.monotonic()
        with pytest.raises(TooSlow, match="too slowly"):
            send_all(ours, bytes(1 << 20), patience=0.4)
        assert time.monotonic() - began < 5
        assert taken


def test_who_takes_nothing_of_an_answer_is_dropped():
    ours, theirs = narrow()
    with ours, theirs, pytest.raises(TooSlow):
        send_all(ours, bytes(1 << 20), patience=0.4)


def test_a_long_answer_may_last_longer_than_silence_may():
    ours, theirs = narrow(silence=1)
    with ours, taking(theirs, 32 << 10, pause=0.01) as taken:
        began = time.monotonic()
        send_all(ours, bytes(2 << 20), patience=1)
        assert time.monotonic() - began > 1
        wait_for(lambda: sum(taken) == 2 << 20, what="all of it")


def test_who_left_hears_no_answer():
    ours, theirs = narrow()
    theirs.close()
    with ours, pytest.raises(ConnectionEnded):
        send_all(ours, bytes(1 << 20), patience=0.4)


def test_an_association_may_last_however_slowly_short_messages_come(make_node: Callable[..., ListeningNode]):
    node = make_node(limits=Limits(silence=timedelta(seconds=0.6)))
    with raw_caller(node.port) as caller:
        caller.associate()
        for _ in range(5):
            time.sleep(0.3)
            caller.socket.sendall(C_ECHO)
            assert caller.status() == 0


def test_a_connection_that_ends_is_told_from_one_that_is_silent():
    ours, theirs = connected()
    with ours:
        theirs.close()
        with pytest.raises(ConnectionEnded):
            Inbox(ours, silence=timedelta(seconds=30)).next_command()
