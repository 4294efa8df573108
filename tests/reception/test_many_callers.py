"""Many at once: nobody is lost, nobody waits for those who say nothing, and nothing is left over."""

import resource
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import xxhash

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import instances_of
from node.association import Limits
from node.callers import Caller
from node.data_set_digest import data_set_digest
from tests.reception.conftest import ListeningNode
from tests.reception.mammograms import encoded, mammogram, uid
from tests.reception.raw_callers import C_ECHO, RELEASE_RQ, association_request, c_store, raw_caller
from tests.reception.test_a_killed_receiver import receiving_process
from tests.reception.two_processes import descriptors, resident_kb
from tests.servers import wait_for

REJECTED, ACCEPTED = 3, 2


def together(number: int, work: Callable[[int], None]) -> None:
    """Run work in so many threads, and fail where one of them does."""
    failures: list[BaseException] = []

    def run(place: int) -> None:
        try:
            work(place)
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=run, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_sixteen_senders_of_the_same_instances_store_each_once(tmp_path: Path):
    data_dir, url = tmp_path / "data", f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    images = [mammogram("sixteen", side=64, SOPInstanceUID=uid("sixteen", str(n))) for n in range(200)]
    messages = [c_store(image.SOPInstanceUID, encoded(image)) for image in images]

    with receiving_process(data_dir, url) as (process, port):

        def send_all(place: int) -> None:
            with raw_caller(port) as caller:
                assert caller.associate() == ACCEPTED
                for message in messages[place:] + messages[:place]:
                    caller.socket.sendall(message)
                    assert caller.status() == 0
                caller.socket.sendall(RELEASE_RQ)
                caller.pdu()

        send_all(0)
        time.sleep(0.5)
        before, resident = descriptors(process.pid), resident_kb(process.pid)
        together(16, send_all)
        wait_for(
            lambda: descriptors(process.pid) <= before + 16,  # connections of the ledger's pool stay
            what="the end of all descriptors",
        )
        assert resident_kb(process.pid) - resident < 60_000, "of 16 associations of 2 MB and their threads"
        assert not list((data_dir / "incoming").iterdir())
    ledger = Ledger(url)
    with ledger.read() as session:
        rows = instances_of(session, uid("sixteen"))
    ledger.close()
    sent = {str(image.SOPInstanceUID): xxhash.xxh3_128(encoded(image)).hexdigest() for image in images}
    assert {row.sop_instance_uid: data_set_digest(data_dir / row.path) for row in rows} == sent
    assert {row.sop_instance_uid: row.digest for row in rows} == sent, "all came again"
    assert len(list(data_dir.rglob("*.dcm"))) == 200


def test_an_echo_is_answered_while_thirty_two_send(node: ListeningNode):
    """Senders and node share this process and its lock, so the bound only tells a stall; figures are the bench's."""
    images = [encoded(mammogram("busy", side=700, SOPInstanceUID=uid("busy", str(n)))) for n in range(32)]
    done = threading.Event()

    def send(place: int) -> None:
        with raw_caller(node.port) as caller:
            caller.associate()
            while not done.is_set():
                caller.socket.sendall(c_store(uid("busy", str(place)), images[place], size=100_000))
                assert caller.status() == 0

    def ask() -> None:
        for _ in range(20):
            began = time.monotonic()
            with raw_caller(node.port) as caller:
                assert caller.associate(calling="CONSOLE") == ACCEPTED
                caller.socket.sendall(C_ECHO)
                assert caller.status() == 0
            waited.append(time.monotonic() - began)
        done.set()

    waited: list[float] = []
    together(33, lambda place: send(place) if place < 32 else ask())
    assert statistics.median(waited) < 2.5


def test_a_thousand_silent_connections_keep_nobody_out(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    data_dir, url = tmp_path / "data", f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    with receiving_process(data_dir, url) as (_, port), ExitStack() as silent:
        silent.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        request = association_request()
        for number in range(1000):
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            silent.callback(connection.close)
            connection.sendall(request[: number % 60])
        for _ in range(20):
            began = time.monotonic()
            with raw_caller(port) as caller:
                assert caller.associate() == ACCEPTED
                caller.socket.sendall(C_ECHO + RELEASE_RQ)
                assert caller.status() == 0
                caller.pdu()
            assert time.monotonic() - began < 1


def test_strangers_take_no_place(make_node: Callable[..., ListeningNode]):
    known = Caller(ae_title="MODALITY1", network=ip_network("127.0.0.1/32"))
    node = make_node(callers=[known], limits=Limits(associations=1))
    with ExitStack() as there:
        for _ in range(20):
            stranger = there.enter_context(raw_caller(node.port))
            assert stranger.associate(calling="STRANGER") == REJECTED
        caller = there.enter_context(raw_caller(node.port))
        assert caller.associate() == ACCEPTED


def test_one_more_than_there_are_places_is_told_to_come_again(make_node: Callable[..., ListeningNode]):
    node = make_node(limits=Limits(associations=2))
    with raw_caller(node.port) as first:
        assert first.associate() == ACCEPTED
        with raw_caller(node.port) as second, raw_caller(node.port) as third:
            assert second.associate() == ACCEPTED
            third.socket.sendall(association_request())
            kind, body = third.pdu()
            assert (kind, body[1:]) == (REJECTED, b"\x02\x03\x02"), "transient, local limit exceeded"
        wait_for(lambda: may_come(node.port), what="a place")


def may_come(port: int) -> bool:
    with raw_caller(port) as caller:
        return caller.associate() == ACCEPTED


def test_one_caller_cannot_take_every_place(make_node: Callable[..., ListeningNode]):
    node = make_node(limits=Limits(associations=8, associations_of_one=2))
    with raw_caller(node.port) as first, raw_caller(node.port) as second, raw_caller(node.port) as third:
        assert first.associate() == second.associate() == ACCEPTED
        assert third.associate() == REJECTED
        with raw_caller(node.port) as other:
            assert other.associate(calling="MODALITY2") == ACCEPTED
    wait_for(lambda: may_come(node.port), what="a place of its own")


@pytest.mark.parametrize("size", [16_000, 100_000])
def test_what_one_caller_has_in_flight_is_limited(make_node: Callable[..., ListeningNode], size: int):
    """Whether it comes in short PDUs, or in long ones around the process."""
    node = make_node(limits=Limits(bytes_of_one=1_000_000))
    large, small = mammogram("quota", side=900), mammogram("quota", "L CC", side=300)
    with raw_caller(node.port) as caller:
        caller.associate()
        caller.socket.sendall(c_store(large.SOPInstanceUID, encoded(large), size=size))
        assert caller.status() == 0xA700
        for _ in range(8):  # what was answered is in flight no more
            caller.socket.sendall(c_store(small.SOPInstanceUID, encoded(small)))
            assert caller.status() == 0
    assert not node.incoming()


@pytest.mark.parametrize("said", [b"", association_request()[:50], association_request()[:-1]])
def test_a_request_that_does_not_come_is_not_waited_for(make_node: Callable[..., ListeningNode], said: bytes):
    node = make_node(limits=Limits(request_timeout=timedelta(seconds=0.3)))
    with raw_caller(node.port) as caller:
        caller.socket.sendall(said)
        began = time.monotonic()
        assert caller.pdu() == (0, b"")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(90), b"\x01\x00\xff\xff\xff\xff" + bytes(90)]
)
def test_who_speaks_another_language_is_sent_away(node: ListeningNode, said: bytes):
    with raw_caller(node.port) as caller:
        caller.socket.sendall(said)
        kind, _ = caller.pdu()
        assert kind in (0, 7)
    with raw_caller(node.port) as caller:
        assert caller.associate() == ACCEPTED


def test_findscu_is_refused_politely(node: ListeningNode):
    call = subprocess.run(
        [
            "/usr/bin/findscu",
            "-aec",
            "MAMMOCALC",
            "127.0.0.1",
            str(node.port),
            "-k",
            "QueryRetrieveLevel=STUDY",
            "-S",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "No Acceptable Presentation Contexts" in call.stdout + call.stderr
