"""Associations that bring small instances are served in one thread, together, and nobody waits for another's whims."""

import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from pydicom.uid import DigitalIntraOralXRayImageStorageForPresentation
from typing_extensions import override

from node.arrival import Arrival
from node.association import Limits
from node.conversation import Conversation, Services
from node.desk import FEWEST, Desk, Elsewhere
from node.dimse_status import Refusal, StorageExhausted
from node.incoming import Brought
from node.instance_header import InstanceHeader
from node.metrics import INSTANCES
from node.porter import Call
from node.wire.command_set import parse_command
from node.wire.inbox import Inbox
from node.wire.pdu import ProtocolViolation
from node.wire.small_message import Content
from tests.reception.conftest import ListeningNode
from tests.reception.keeping import arrived
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram, uid
from tests.reception.raw_callers import C_ECHO, RELEASE_RQ, RawCaller, c_store, command, raw_caller
from tests.servers import wait_for

ABORT, RELEASE_RP = 7, 6
LARGE = 300
"""The side of a mammogram that is not small."""


@pytest.fixture(autouse=True)
def fewest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """One caller is enough, but where a test says how many make a desk."""
    number = getattr(request, "param", 1)
    monkeypatch.setattr("node.desk.FEWEST", number)
    return number


several = pytest.mark.parametrize("fewest", [FEWEST], indirect=True)


def at_the_desk() -> int:
    return sum(thread.name == "desk" for thread in threading.enumerate())


def message(study: str, number: int, *, side: int = 8, said: str = "") -> bytes:
    image = mammogram(study, SOPInstanceUID=uid(study, str(number)), side=side)
    return c_store(said or image.SOPInstanceUID, encoded(image))


def of_another_class(stream: bytes) -> bytes:
    """A message whose command names another SOP class than its presentation context."""
    return stream.replace(
        FOR_PRESENTATION.encode(), DigitalIntraOralXRayImageStorageForPresentation.encode(), 1
    )


@contextmanager
def visiting(node: ListeningNode, study: str) -> Iterator[RawCaller]:
    """A caller whose association has brought a small instance, number 0 of a study."""
    with raw_caller(node.port) as caller:
        assert caller.associate() == 2
        caller.socket.sendall(message(study, 0))
        assert caller.status() == 0
        yield caller


def test_whatever_comes_between_small_ones_is_done_in_its_turn(node: ListeningNode):
    with visiting(node, "between") as caller:
        for number, (sent, status) in enumerate(
            [
                (message("between", 1), 0),
                (C_ECHO, 0),
                (message("between", 2, side=LARGE), 0),
                (message("between", 3), 0),
                (message("between", 4, said="1.2.3"), 0xA900),
                (message("between", 5), 0),
                (message("between", 6), 0),
                (of_another_class(message("between", 9)), 0x0122),
                (message("between", 10), 0),
                (c_store("1.2.3", b"no data set of ours"), 0xC000),
                (message("between", 7), 0),
                (message("between", 8), 0),
            ]
        ):
            caller.socket.sendall(sent)
            assert caller.status() == status, number
        caller.socket.sendall(RELEASE_RQ)
        assert caller.pdu()[0] == RELEASE_RP
    assert len(node.instances("between")) == 9
    assert len(node.refusals()) == 2
    wait_for(lambda: node.touched == [uid("between")], what="the end of the association")
    wait_for(lambda: at_the_desk() == 0, what="nobody at the desk")
    assert not node.incoming()


def test_what_was_answered_for_is_in_flight_no_more(node: ListeningNode):
    in_flight = node.acceptor._quota._bytes
    with raw_caller(node.port) as caller:
        assert caller.associate() == 2
        for number, (sent, status) in enumerate(
            [
                (message("quota", 1, said="1.2.3"), 0xA900),  # in its own thread
                (message("quota", 2), 0),
                (message("quota", 3), 0),  # at the desk
                (message("quota", 4, said="1.2.3"), 0xA900),
                (message("quota", 5, side=LARGE), 0),
            ]
        ):
            caller.socket.sendall(sent)
            assert caller.status() == status, number
            wait_for(lambda: not any(in_flight), what="the end of what was in flight")


@several
def test_many_bring_theirs_at_once(node: ListeningNode):
    def bring(study: str) -> list[int]:
        with raw_caller(node.port) as caller:
            caller.associate()
            statuses = []
            for number in range(40):
                caller.socket.sendall(message(study, number))
                statuses.append(caller.status())
            caller.socket.sendall(RELEASE_RQ)
            assert caller.pdu()[0] == RELEASE_RP
            return statuses

    studies = [f"desk-{number}" for number in range(12)]
    with ThreadPoolExecutor(len(studies)) as threads:
        assert list(threads.map(bring, studies)) == [[0] * 40] * len(studies)
    for study in studies:
        assert len(node.instances(study)) == 40
        assert len(node.stored(study)) == 40


@several
def test_who_is_alone_is_served_by_its_thread_until_another_comes(node: ListeningNode):
    def bring(caller: RawCaller, study: str, number: int) -> None:
        caller.socket.sendall(message(study, number))
        assert caller.status() == 0

    with visiting(node, "first") as first:
        for number in range(1, 20):
            bring(first, "first", number)
            assert at_the_desk() == 0
        with visiting(node, "second") as second:
            for number in range(20, 40):
                bring(first, "first", number)
                bring(second, "second", number)
            assert at_the_desk() == 1
        numbers = itertools.count(40)
        wait_for(
            lambda: (bring(first, "first", next(numbers)), at_the_desk())[1] == 0, what="its own thread again"
        )
        bring(first, "first", 1000)
    assert len(node.instances("first")) == next(numbers) + 1
    assert len(node.instances("second")) == 21


@pytest.mark.parametrize("piece", [1, 7, 300])
def test_one_that_comes_in_pieces_is_put_together(node: ListeningNode, piece: int):
    with visiting(node, "pieces") as caller:
        stream = message("pieces", 1)
        for start in range(0, len(stream), piece):
            caller.socket.sendall(stream[start : start + piece])
        assert caller.status() == 0
    assert len(node.instances("pieces")) == 2


def test_who_pauses_within_an_instance_goes_on_where_it_was(node: ListeningNode):
    with visiting(node, "pause") as caller:
        wait_for(lambda: at_the_desk() == 1, what="a desk")
        stream = message("pause", 1)
        caller.socket.sendall(stream[:700])
        wait_for(lambda: at_the_desk() == 0, what="its own thread")
        caller.socket.sendall(stream[700:])
        assert caller.status() == 0
    assert len(node.instances("pause")) == 2


@pytest.mark.parametrize("begun", [0, 3, 700])
def test_who_falls_silent_is_dropped(make_node: Callable[..., ListeningNode], begun: int):
    node = make_node(limits=Limits(silence=timedelta(seconds=2)))
    with visiting(node, "silent") as caller:
        caller.socket.sendall(message("silent", 1)[:begun])
        assert caller.pdu()[0] == ABORT
        assert caller.pdu()[0] == 0


def test_several_that_come_before_the_first_is_answered_are_not_waited_with(node: ListeningNode):
    with visiting(node, "pipelined") as caller:
        began = time.monotonic()
        caller.socket.sendall(b"".join(message("pipelined", number) for number in range(1, 31)))
        assert [caller.status() for _ in range(30)] == [0] * 30
        assert time.monotonic() - began < 20  # one that waits at the desk takes a second
    assert len(node.instances("pipelined")) == 31


def of_64_kb(study: str, number: int) -> bytes:
    """A message of exactly 65,536 bytes: eight of them fill an association's buffer."""

    def padded(by: int) -> bytes:
        image = mammogram(study, SOPInstanceUID=uid(study, str(number)), side=8)
        image.private_block(0x0009, "A VENDOR", create=True).add_new(0x01, "OB", bytes(by))
        return c_store(image.SOPInstanceUID, encoded(image), size=1 << 20)

    return padded((1 << 16) - len(padded(0)))


def test_what_follows_a_large_one_at_once_comes_in_its_order(
    node: ListeningNode, monkeypatch: pytest.MonkeyPatch
):
    """Of what went around the process some is in no buffer yet, while all that is in one was taken."""
    begin = node.reception.begin
    large = mammogram("order", SOPInstanceUID=uid("order", "0"), side=560)
    stream = c_store(large.SOPInstanceUID, encoded(large), size=1 << 18)
    stream += b"".join(of_64_kb("order", number) for number in range(1, 31))
    with raw_caller(node.port) as caller:
        caller.associate()
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        arrived = threading.Event()
        monkeypatch.setattr(
            node.reception, "begin", lambda announced: [arrived.wait(20), begin(announced)][1]
        )
        sending = threading.Thread(target=caller.socket.sendall, args=(stream,))
        sending.start()
        sending.join(0.5)
        arrived.set()
        assert [caller.response().sop_instance_uid for _ in range(31)] == [
            uid("order", str(number)) for number in range(31)
        ]
        sending.join(20)
    assert len(node.instances("order")) == 31


@pytest.mark.parametrize(
    "nonsense",
    [
        struct.pack(">BxI", 0x2A, 4) + bytes(4),
        c_store("1.2.3", b"data", context_id=99),
        struct.pack(">BxIIBB", 4, 6, 600, 1, 3) + bytes(600),
    ],
)
def test_who_breaks_a_rule_is_aborted_and_nobody_else(node: ListeningNode, nonsense: bytes):
    with visiting(node, "lawful") as other, visiting(node, "unlawful") as caller:
        caller.socket.sendall(nonsense)
        assert caller.pdu()[0] == ABORT
        other.socket.sendall(message("lawful", 1))
        assert other.status() == 0
    wait_for(lambda: at_the_desk() == 0, what="nobody at the desk")


def test_who_takes_no_answers_keeps_nobody_waiting(node: ListeningNode):
    most = 300
    with raw_caller(node.port) as lazy:
        lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        lazy.associate()
        stream = message("lazy", 0)
        sent = 0

        def bring() -> None:
            nonlocal sent
            for _ in range(most):
                lazy.socket.sendall(stream)
                sent += 1

        bringing = threading.Thread(target=bring)
        bringing.start()
        with visiting(node, "quick") as quick:
            for number in range(1, 30):
                quick.socket.sendall(message("quick", number))
                assert quick.status() == 0
                time.sleep(0.02)
        assert [lazy.status() for _ in range(most)] == [0] * most
        bringing.join()
    assert sent == most
    assert len(node.instances("lazy")) == 1


def test_the_end_of_the_node_is_the_end_of_the_visits(node: ListeningNode):
    with visiting(node, "visit") as caller:
        node.acceptor.stop(timedelta(seconds=0.1))
        assert caller.pdu()[0] in (0, ABORT)
    wait_for(lambda: at_the_desk() == 0, what="nobody at the desk")


class Ledgerless:
    """A store that fails in a way that nobody foresaw, or refuses, when it is told to."""

    def __init__(self) -> None:
        self.fails: BaseException | None = None
        self.too_few = False
        self.together: list[int] = []
        """How many came at a time."""

    def begin(self, announced: object) -> SimpleNamespace:
        raise NotImplementedError

    def accept(self, arrivals: Sequence[object], *, now: datetime) -> Sequence[str | Exception]:
        assert now.tzinfo
        self.together.append(len(arrivals))
        if isinstance(self.fails, StorageExhausted):
            return [self.fails] * len(arrivals)
        if self.fails:
            raise self.fails
        return ["1.2"] * (len(arrivals) - self.too_few)

    def refuse(self, arrival: object, refusal: Refusal, *, now: datetime) -> None:
        raise NotImplementedError


class Visitor:
    """Brings an instance for each byte that comes, and answers with one."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(20)
        self.left: list[object] = []
        self.own_thread_did: list[object] = []
        self.taken = 0
        self.meanwhile: Callable[[], object] = lambda: None
        """Happens while something of his is taken."""

    def fileno(self) -> int:
        return self.ours.fileno()

    def next_small(self) -> object:
        self.taken += 1
        self.meanwhile()
        match self.ours.recv(1):
            case b"s":
                return SimpleNamespace(arrival=None, leave=lambda: self.left.append("instance"))
            case b"e":
                raise Elsewhere(lambda: self.own_thread_did.append("else"))
            case b"v":
                raise ProtocolViolation("It broke a rule.")
        return None

    def conclude(self, brought: SimpleNamespace, outcome: str | Exception) -> None:
        assert brought.arrival is None
        if isinstance(outcome, Exception):
            raise Elsewhere(lambda: self.own_thread_did.append(outcome))
        self.ours.send(b"a")

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def visitors() -> Iterator[list[Visitor]]:
    some = [Visitor() for _ in range(3)]
    yield some
    for visitor in some:
        visitor.close()


def patient_desk(store: Ledgerless) -> Desk:
    """A desk that lets nobody go because the machine is slow."""
    return Desk(store, idle=timedelta(minutes=2))


def served(desk: Desk, visitor: Visitor) -> threading.Thread:
    """The thread of a visitor who is at the desk."""

    def serve() -> None:
        try:
            desk.serve(visitor)
        except (RuntimeError, ValueError, ProtocolViolation) as failure:
            visitor.own_thread_did.append(failure)

    thread = threading.Thread(target=serve)
    thread.start()
    wait_for(lambda: visitor.fileno() in desk._visits, what="the visit")
    return thread


def let_go(visitors: Sequence[Visitor], threads: Sequence[threading.Thread]) -> None:
    for visitor, thread in zip(visitors, threads, strict=True):
        visitor.theirs.send(b"e")
        thread.join(20)
        assert not thread.is_alive()


def test_what_nobody_foresaw_ends_those_whom_it_befell(visitors: list[Visitor]):
    store = Ledgerless()
    desk = patient_desk(store)
    threads = [served(desk, visitor) for visitor in visitors]
    store.fails = RuntimeError("no ledger")
    visitors[0].theirs.send(b"s")
    threads[0].join(20)
    assert visitors[0].own_thread_did == [store.fails]
    store.fails = None
    visitors[1].theirs.send(b"v")
    threads[1].join(20)
    assert isinstance(visitors[1].own_thread_did[0], ProtocolViolation)
    visitors[2].theirs.send(b"s")
    assert visitors[2].theirs.recv(1) == b"a"
    store.fails = StorageExhausted("The disk is full.")
    visitors[2].theirs.send(b"s")
    threads[2].join(20)
    assert visitors[2].own_thread_did == [store.fails]
    wait_for(lambda: at_the_desk() == 0, what="nobody at the desk")
    store.fails = None
    again = served(desk, visitors[2])
    visitors[2].theirs.send(b"s")
    assert visitors[2].theirs.recv(1) == b"a"
    visitors[2].theirs.send(b"e")
    again.join(20)
    assert visitors[2].own_thread_did[1:] == ["else"]


def test_who_brings_two_at_once_has_them_kept_one_after_the_other(visitors: list[Visitor]):
    desk = patient_desk(Ledgerless())
    threads = [served(desk, visitor) for visitor in visitors]
    *bringing, quiet = visitors  # as long as somebody might join them, others are looked for
    for visitor in bringing:
        visitor.theirs.send(b"sse")
    for visitor, thread in zip(bringing, threads, strict=False):
        thread.join(20)
        assert visitor.own_thread_did == ["else"]
        assert visitor.theirs.recv(3) == b"aa"
    quiet.theirs.send(b"e")
    threads[-1].join(20)
    assert quiet.own_thread_did == ["else"]


@several
def test_who_goes_on_bringing_stays_and_others_may_join(visitors: list[Visitor]):
    first, second, late = visitors
    desk = Desk(Ledgerless(), idle=timedelta(seconds=1))
    desk.serve(first)  # alone
    threads = [served(desk, second), served(desk, first)]
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for visitor in (first, second):
            visitor.theirs.send(b"s")
            assert visitor.theirs.recv(1) == b"a"
        time.sleep(0.05)
    assert all(thread.is_alive() for thread in threads)
    threads.append(served(desk, late))
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_who_comes_while_others_are_taken_in_is_kept_with_them(visitors: list[Visitor]):
    first, second, _ = visitors
    store = Ledgerless()
    desk = patient_desk(store)
    threads = [served(desk, visitor) for visitor in visitors]
    first.meanwhile = lambda: second.theirs.send(b"s")
    first.theirs.send(b"s")
    assert [first.theirs.recv(1), second.theirs.recv(1)] == [b"a", b"a"]
    assert store.together == [2]
    let_go(visitors, threads)


def test_who_trickles_keeps_nobody_waiting(visitors: list[Visitor]):
    trickling, other, _ = visitors
    desk = patient_desk(Ledgerless())
    threads = [served(desk, visitor) for visitor in visitors]
    trickling.theirs.send(b"." * 100_000)
    other.theirs.send(b"s")
    assert other.theirs.recv(1) == b"a"
    assert trickling.taken < 100_000
    let_go(visitors, threads)


def test_who_left_is_not_looked_at_any_more(visitors: list[Visitor]):
    desk = patient_desk(Ledgerless())
    threads = [served(desk, visitor) for visitor in visitors]
    left, other, _ = visitors
    left.theirs.send(b"es")
    threads[0].join(20)
    assert left.own_thread_did == ["else"]
    other.theirs.send(b"s")
    assert other.theirs.recv(1) == b"a"
    let_go(visitors[1:], threads[1:])


@several
def test_two_make_a_desk_and_one_is_none(visitors: list[Visitor], monkeypatch: pytest.MonkeyPatch):
    first, second, third = visitors
    desk = Desk(Ledgerless(), idle=timedelta(seconds=0.5))
    with monkeypatch.context() as alone:
        alone.setattr(desk, "_enter", pytest.fail)
        for _ in range(3):
            desk.serve(first)
        time.sleep(0.6)
        desk.serve(second)  # the first one came too long ago
    threads = [served(desk, third), served(desk, second)]
    second.theirs.send(b"s")
    assert second.theirs.recv(1) == b"a"
    for thread in threads:
        thread.join(20)
    assert (second.own_thread_did, third.own_thread_did) == ([], []), "one was idle, the other then alone"
    wait_for(lambda: at_the_desk() == 0, what="nobody at the desk")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_desk_that_fails_leaves_nobody_waiting(visitors: list[Visitor]):
    store = Ledgerless()
    desk = patient_desk(store)
    threads = [served(desk, visitor) for visitor in visitors]
    store.too_few = True
    visitors[1].theirs.send(b"s")
    for visitor, thread in zip(visitors, threads, strict=True):
        thread.join(20)
        assert isinstance(visitor.own_thread_did[0], ValueError)
    wait_for(lambda: at_the_desk() == 0, what="the end of the thread that failed")
    store.too_few = False
    again = served(desk, visitors[2])
    visitors[2].theirs.send(b"se")
    again.join(20)
    assert visitors[2].theirs.recv(1) == b"a"


class _Recorded(socket.socket):
    """Remembers when it was told to acknowledge at once."""

    acknowledged = 0

    @override
    def setsockopt(self, level: int, option: int, *value: object) -> None:
        if (level, option) == (socket.IPPROTO_TCP, socket.TCP_QUICKACK):
            self.acknowledged += 1
        super().setsockopt(level, option, *value)


def test_the_begin_of_an_instance_is_acknowledged_at_once():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        with theirs, _Recorded(fileno=listener.accept()[0].detach()) as ours:
            inbox = Inbox(ours, silence=timedelta(seconds=5))
            stream = message("acknowledged", 0)
            for begun, content in ((stream[:-9], Content.BEGUN), (stream[-9:], Content.SMALL)):
                theirs.sendall(begun)
                select.select([ours], [], [], 20)
                assert inbox.look(1 << 16) is content
                assert ours.acknowledged == 1


def test_the_end_of_a_connection_is_no_begin_of_an_instance():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for last_words in (b"", message("end", 0)[:50]):
            for reset in (False, True):
                theirs = socket.create_connection(listener.getsockname())
                with listener.accept()[0] as ours:
                    inbox = Inbox(ours, silence=timedelta(seconds=5))
                    theirs.sendall(last_words)
                    select.select([ours], [], [], 20 if last_words else 0)
                    assert inbox.look(1 << 16) is Content.BEGUN
                    if reset:
                        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    theirs.close()
                    select.select([ours], [], [], 20)
                    assert inbox.look(1 << 16) is Content.OTHER


def test_a_fault_that_nobody_foresaw_is_its_own_instances_alone(
    node: ListeningNode, monkeypatch: pytest.MonkeyPatch
):
    examine = node.reception._examine

    def examined(arrival: Arrival) -> InstanceHeader:
        if arrival.announced.sop_instance_uid == uid("fault", "1"):
            raise RuntimeError("a fault")
        return examine(arrival)

    monkeypatch.setattr(node.reception, "_examine", examined)
    before = INSTANCES.labels("new")._value.get()
    arrivals = []
    for number in range(3):
        image = mammogram("fault", SOPInstanceUID=uid("fault", str(number)), side=8)
        arrivals.append(arrived(node.reception, image))
    first, fault, last = node.reception.accept(arrivals, now=datetime.now(UTC))
    assert first == last == uid("fault")
    assert INSTANCES.labels("new")._value.get() == before + 2
    assert isinstance(fault, RuntimeError)
    assert len(node.instances("fault")) == 2


def fill(connection: socket.socket) -> int:
    """Send until the other side would have to read; return how many bytes that were."""
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += connection.send(b"x", socket.MSG_DONTWAIT)
    return filled


class Conversing:
    """A conversation without a node, and what the other side has of it."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.ours, self.theirs = ours, theirs
        theirs.settimeout(20)
        self.given_back: list[int] = []
        self._services = Services(
            store=Ledgerless(),
            desk=Desk(Ledgerless()),
            on_stored=lambda _: None,
            operations={},
            take=lambda _: True,
            give_back=self.given_back.append,
        )
        call = Call(calling_ae_title="MODALITY1", called_ae_title="MAMMOCALC", address="127.0.0.1")
        self.conversation = Conversation(self.ours, call, services=self._services)

    def brought(self) -> Brought:
        """What a C-STORE of 1.2.3 brought."""
        arrival = SimpleNamespace(in_large_pieces=True, discard=lambda: None)
        asked = parse_command(1, command(1, "1.2", "1.2.3"))
        return Brought(asked, arrival, take=self._services.take, give_back=self._services.give_back)

    def answer(self) -> tuple[int, str]:
        """The status and the UID of the one answer that comes."""
        self.ours.shutdown(socket.SHUT_WR)
        came = b"".join(iter(lambda: self.theirs.recv(1 << 16), b""))
        answer = parse_command(1, came[12:])
        return answer.number(0x0900), answer.sop_instance_uid


def test_an_answer_that_is_not_taken_at_once_is_sent_by_its_own_thread():
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as own_thread:
        filled = fill(ours)
        conversing = Conversing(ours, theirs)
        with pytest.raises(Elsewhere) as elsewhere:
            conversing.conversation.conclude(conversing.brought(), "1.2")
        assert conversing.given_back == [0]
        sent = own_thread.submit(elsewhere.value.rest)
        assert len(theirs.recv(filled, socket.MSG_WAITALL)) == filled
        sent.result(20)
        assert conversing.answer() == (0, "1.2.3")


@pytest.mark.parametrize("came", [b"", b"\4"])
def test_who_sent_more_before_the_answer_goes_on_in_its_own_thread(came: bytes):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        with theirs, listener.accept()[0] as ours:
            conversing = Conversing(ours, theirs)
            theirs.sendall(came)
            select.select([ours], [], [], 20 if came else 0)
            assert conversing.conversation._inbox.look(1 << 16) is Content.BEGUN
            with pytest.raises(Elsewhere) if came else nullcontext() as elsewhere:
                conversing.conversation.conclude(conversing.brought(), "1.2")
            if elsewhere:
                elsewhere.value.rest()
            assert conversing.answer() == (0, "1.2.3")


def test_a_descriptor_that_cannot_be_waited_for_is_left_to_its_thread(tmp_path):
    with (tmp_path / "a file").open("w") as file:  # epoll(7) takes no regular file
        Desk(Ledgerless()).serve(file)
    wait_for(lambda: at_the_desk() == 0, what="nobody at the desk")
