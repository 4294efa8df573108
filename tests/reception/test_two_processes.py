"""Associations are held in two processes, and nobody outside notices."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lab.demo.free_ports import free_port
from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import instances_of
from node.annex import Annex
from node.association import Acceptor, Limits
from node.hall import Offer
from node.quota import Quota
from node.reception import Reception
from tests.reception.mammograms import mammogram, uid
from tests.reception.raw_callers import association_request, raw_caller
from tests.reception.receiving_process import LOST, TOUCHED
from tests.reception.senders import calling, send
from tests.reception.test_a_killed_receiver import receiving_process
from tests.reception.two_processes import annex_of
from tests.servers import open_descriptors, wait_for

ACCEPTED, ABORTED = 2, 7


@pytest.fixture
def store(tmp_path: Path) -> tuple[Path, str]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    return tmp_path / "data", url


def test_associations_go_where_the_fewest_are(store: tuple[Path, str]):
    with receiving_process(*store) as (process, port):
        pids = [process.pid, annex_of(process.pid)]
        before = [open_descriptors(pid, "socket") for pid in pids]
        callers = [raw_caller(port) for _ in range(6)]
        for caller in callers:
            assert caller.__enter__().associate() == ACCEPTED
        assert [open_descriptors(pid, "socket") for pid in pids] == [before[0] + 3, before[1] + 3]
        for caller in callers:
            caller.__exit__(None, None, None)
        deadline = time.monotonic() + 10
        while [open_descriptors(pid, "socket") for pid in pids] != before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [open_descriptors(pid, "socket") for pid in pids] == before, "what ended is closed in both"


def test_a_study_is_touched_when_nobody_stores_into_it_in_either_process(store: tuple[Path, str]):
    touched = store[0].parent / TOUCHED
    with receiving_process(*store) as (_, port):
        with calling(port) as here:
            with calling(port) as there:
                assert send(here, mammogram("both", "L CC")).Status == 0
                assert send(there, mammogram("both", "R CC")).Status == 0
                assert send(there, mammogram("its own", "R CC")).Status == 0
            wait_for(touched.read_text, what="the end of an association")
            assert touched.read_text() == f"{uid('its own')}\n", "the other study is still stored into"
        wait_for(lambda: touched.read_text().count("\n") == 2, what="the end of the other")
        assert touched.read_text() == f"{uid('its own')}\n{uid('both')}\n"


def test_the_same_instance_in_both_processes_is_stored_once(store: tuple[Path, str]):
    data_dir, url = store
    with receiving_process(data_dir, url) as (_, port):
        images = [mammogram("twice", view) for view in ("L CC", "R CC", "L MLO", "R MLO")]
        statuses: list[int] = []

        def work() -> None:
            with calling(port) as conversation:
                statuses.extend(send(conversation, image).Status for image in images)

        senders = [threading.Thread(target=work) for _ in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert statuses == [0] * 16
    ledger = Ledger(url)
    with ledger.read() as session:
        rows = instances_of(session, uid("twice"))
    ledger.close()
    assert sorted(data_dir / row.path for row in rows) == sorted((data_dir / "studies").rglob("*.dcm"))
    assert len(rows) == 4


def test_a_process_ends_with_the_one_that_started_it(store: tuple[Path, str]):
    with receiving_process(*store) as (process, _):
        annex = annex_of(process.pid)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5
        while Path(f"/proc/{annex}/fd/0").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not Path(f"/proc/{annex}/fd/0").exists()


@contextmanager
def receiving_role(folder: Path, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    """`mammocalc receive`, once it listens."""
    upgrade(f"sqlite:///{folder}/ledger.db")
    (folder / "node.toml").write_text(
        f'[node]\nhost = "127.0.0.1"\nport = {port or free_port()}\ndata_dir = "{folder}/data"\n'
        f'[ledger]\nurl = "sqlite:///{folder}/ledger.db"\n[queue]\nurl = "redis://127.0.0.1:1/0"\n'
    )
    program = [sys.executable, "-m", "mammography", "receive", "--config", f"{folder}/node.toml"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert any('"listening"' in line for line in process.stderr)
            yield process
        finally:
            process.kill()


def test_the_role_ends_where_one_of_its_processes_died_so_that_it_is_started_anew(tmp_path: Path):
    with receiving_role(tmp_path) as process:
        os.kill(annex_of(process.pid), signal.SIGKILL)
        assert process.wait(20) == 1
        assert '"annex-died"' in process.stderr.read()


def test_a_process_that_hangs_keeps_nobody_waiting_for_long(store: tuple[Path, str]):
    long_request = association_request(sop_classes=[uid("a class", str(number)) for number in range(128)])
    with receiving_process(*store) as (process, port), ExitStack() as calls:
        os.kill(annex_of(process.pid), signal.SIGSTOP)
        for _ in range(40):  # half of them are given to it, until it can be given no more
            caller = calls.enter_context(raw_caller(port))
            caller.socket.sendall(long_request)
        assert process.wait(20) == LOST, "it was killed, and what it held let go of"


def test_the_role_ends_in_order_with_both_processes(tmp_path: Path):
    with receiving_role(tmp_path) as process:
        annex = annex_of(process.pid)
        process.terminate()
        assert process.wait(20) == 0
        assert not Path(f"/proc/{annex}").exists()


def test_the_role_ends_in_order_where_both_processes_are_told(tmp_path: Path):
    """As systemd does, unless its unit says otherwise."""
    port = free_port()
    with receiving_role(tmp_path, port) as process, ExitStack() as calls:
        callers = [calls.enter_context(raw_caller(port)) for _ in range(4)]
        for caller in callers:
            assert caller.associate() == ACCEPTED
        for pid in (annex_of(process.pid), process.pid):
            os.kill(pid, signal.SIGTERM)
        assert [caller.pdu()[0] for caller in callers] == [ABORTED] * 4
        assert process.wait(20) == 0


def test_a_process_that_was_not_closed_ends_with_its_program():
    program = """
import time
from datetime import timedelta
from node.annex import Annex
from node.hall import Offer
from node.quota import Quota
offer = Offer(store=None, operations={})
annex = Annex(lambda: offer, quota=Quota(places=1, places_of_one=1, bytes_of_one=1), silence=timedelta(seconds=1))
time.sleep(1)  # it hears no SIGTERM then
raise SystemExit(3)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=20).returncode == 3


def test_the_role_puts_back_what_a_power_cut_took_and_ends_without_a_journal(tmp_path: Path):
    """Each of its processes has a journal of its own."""
    port, data_dir = free_port(), tmp_path / "data"
    with receiving_role(tmp_path, port) as process:
        annex = annex_of(process.pid)
        with calling(port) as one, calling(port) as other:
            send(one, mammogram("cut", "L CC"))
            send(other, mammogram("cut", "R CC"))
        process.kill()
        process.wait()
        wait_for(lambda: not Path(f"/proc/{annex}/fd/0").exists(), what="the end of its annex")
    kept = {path: path.read_bytes() for path in (data_dir / "studies").rglob("*.dcm")}
    assert len(kept) == 2
    for path in kept:
        path.unlink()
    with receiving_role(tmp_path, port) as process:
        assert {path: path.read_bytes() for path in (data_dir / "studies").rglob("*.dcm")} == kept
        with calling(port) as one, calling(port) as other:
            send(one, mammogram("cut", "L MLO"))
            send(other, mammogram("cut", "R MLO"))
        assert list((data_dir / "journal").iterdir())
        process.terminate()
        assert process.wait(20) == 0
    assert not list((data_dir / "journal").iterdir())
    assert len(list((data_dir / "studies").rglob("*.dcm"))) == 4


def test_bytes_in_flight_are_counted_over_processes():
    quota = Quota(places=4, places_of_one=4, bytes_of_one=1000)
    here, there, other = quota.enter("A"), quota.enter("A"), quota.enter("B")
    assert None not in (here, there, other)
    child = os.fork()
    if child == 0:
        os._exit(0 if quota.take(there, 600) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert quota.take(here, 400)
    assert not quota.take(here, 1)
    assert quota.take(other, 1000)
    quota.leave(there)
    assert quota.take(here, 1)


def test_places_are_limited_for_all_and_for_one():
    quota = Quota(places=3, places_of_one=2, bytes_of_one=1000)
    first, second = quota.enter("A"), quota.enter("A")
    assert quota.enter("A") is None
    assert quota.enter("B") is not None
    assert quota.enter("C") is None
    quota.leave(first)
    assert quota.enter("A") == first
    assert second != first


class _Delayed(Annex):
    """As ever, but whoever found that the process is gone waits until somebody else has found it, too."""

    found: threading.Event
    go_on: threading.Event

    def hold(self, *told: object) -> bool:
        is_held = super().hold(*told)
        if not is_held:
            self.found.set()
            self.go_on.wait(10)
        return is_held


def test_a_process_that_dies_while_somebody_calls_is_told_of(store: tuple[Path, str]):
    data_dir, url = store
    limits, lost, judged = Limits(), threading.Event(), threading.Event()
    quota = limits.quota()

    def offer() -> Offer:
        return Offer(
            store=Reception(ledger=Ledger(url), data_dir=data_dir, minimum_free_bytes=0), operations={}
        )

    annex = _Delayed(offer, quota=quota, silence=limits.silence)
    annex.found, annex.go_on = threading.Event(), threading.Event()
    acceptor = Acceptor(
        ae_title="MAMMOCALC",
        host="127.0.0.1",
        port=0,
        offer=offer(),
        on_study_touched=lambda _: None,
        limits=limits,
        quota=quota,
        annexes=[annex],
        when_lost=lost.set,
    )
    over = acceptor.over

    def judge(number: int) -> None:
        """The porter's thread lets go of the caller while this one, which lets go of all, is busy with the ledger."""
        annex.go_on.set()
        judged.wait(10)
        over(number)

    def lose(caught: Callable[[], None]) -> None:
        annex.found.wait(10)
        caught()

    listen = annex._listen
    annex._listen = lambda host, when_lost: listen(host, lambda: lose(when_lost))
    acceptor.over = judge
    acceptor.start()
    with raw_caller(acceptor.port) as here:  # the first process holds this one
        assert here.associate() == ACCEPTED
        os.kill(annex._process.pid, signal.SIGKILL)
        annex._process.join(10)
        with raw_caller(acceptor.port) as there:
            assert there.associate() != ACCEPTED
        judged.set()
        assert lost.wait(10), "the role is to start anew"
    acceptor.stop()
