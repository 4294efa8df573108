"""What `mammocalc bench receive` measures is what it says."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.bench.echoing import Waited, echo_table, echo_under_load, measure_echoes
from lab.bench.receivers import PATH_ALONE, PROMISE_KEPT, Receiver, ReceiverFailed
from lab.bench.receiving import Load, launch_all, measure_receivers, table
from lab.bench.sender import Association, Message
from lab.demo.orthanc import orthanc_program


@pytest.mark.slow
def test_each_turn_sends_instances_that_the_receiver_has_not_seen(tmp_path: Path, monkeypatch):
    receivers = launch_all(
        {"ours": PROMISE_KEPT["ours"], "alone": PATH_ALONE["ours"], "pump": PROMISE_KEPT["plain pump"]},
        tmp_path,
    )
    for receiver in receivers:
        monkeypatch.setattr(receiver, "forget", lambda: None)
    load = Load(size=65536, associations=2, instances=6)
    try:
        measured = measure_receivers(receivers, [load], rounds=1)[load]
        kept = {receiver.name: len(stored(tmp_path / receiver.name)) for receiver in receivers}
        assert kept == {"ours": 12, "alone": 12, "pump": 12}, "two rounds, the first not counted"
        assert measured["ours"].ours_to_it == 1
        assert all(one.turn.mb_per_second > 0 for one in measured.values())
        assert all(0 < one.turn.sender_busy <= 1.1 for one in measured.values())
        assert table({load: measured}, receivers).count("64 KB x 2") == 3
    finally:
        for receiver in receivers:
            receiver.stop()


@pytest.mark.parametrize("refusals", [0, 2])
def test_a_peer_that_refuses_an_instance_has_its_turn_again_and_the_table_says_so(
    tmp_path: Path, refusals: int
):
    with launched("peer", tmp_path) as peer:
        turn = Refusing(peer, refusals)
        assert peer.all_taken(turn, iter([3, 4, 5])) == 3 + refusals, "each time others"
        said = table({}, [peer])
        assert ("taken again" in said) == bool(refusals)
        assert not refusals or said.endswith(f"since an instance was refused: peer {refusals}.")


@pytest.mark.parametrize(("name", "turns"), [("peer", 3), ("ours", 1)])
def test_who_refuses_again_and_again_ends_the_measurement_and_so_does_ours_at_once(
    tmp_path: Path, name: str, turns: int
):
    with launched(name, tmp_path) as receiver:
        turn = Refusing(receiver, 9)
        with pytest.raises(ReceiverFailed, match=f"{name} did not take everything: no; its log ends with: "):
            receiver.all_taken(turn, iter(range(9)))
        assert turn.refusals == 9 - turns


def test_the_sender_says_with_which_status_an_instance_was_refused():
    heard(0)
    with pytest.raises(ConnectionError, match="with status A700"):
        heard(0xA700)


@pytest.mark.slow
def test_echoes_are_timed_while_others_send(tmp_path: Path):
    (ours,) = launch_all({"ours": PROMISE_KEPT["ours"]}, tmp_path)
    load = Load(size=1 << 20, associations=4, instances=1200)
    try:
        waited = measure_echoes([ours], [load])["ours"][load]
        assert waited.unanswered == 0
        median, p99, longest = waited.figures()
        assert 0 < median <= p99 <= longest
        assert f"1 MB x 4 | ours | {len(waited.seconds)} | 0 | " in echo_table({"ours": {load: waited}})
    finally:
        ours.stop()


def test_a_receiver_that_answers_too_few_echoes_has_its_row_without_figures():
    load = Load(size=65536, associations=1, instances=1)
    refusing = Waited(seconds=(0.1,) * 9, unanswered=40)
    assert refusing.figures() is None
    answering = Waited(seconds=(0.1,) * 10, unanswered=0)
    rows = echo_table({"theirs": {load: refusing}, "ours": {load: answering}}).splitlines()
    assert rows[2:] == [
        "| 64 KB x 1 | theirs | 9 | 40 | - | - | - |",
        "| 64 KB x 1 | ours | 10 | 0 | 100 | 100 | 100 |",
    ]


@pytest.mark.slow
@pytest.mark.orthanc
def test_orthanc_answers_the_bench_its_echoes_beside_as_many_senders_as_the_bench_has(tmp_path: Path):
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    (orthanc,) = launch_all({"Orthanc": PROMISE_KEPT["Orthanc"]}, tmp_path)
    try:
        waited = echo_under_load(orthanc, Load(size=1 << 20, associations=32, instances=320), number=900_000)
        assert waited.seconds
        assert waited.unanswered == 0
    finally:
        orthanc.stop()


class Refusing:
    """Turns in which an instance is refused, so often."""

    def __init__(self, receiver: Receiver, refusals: int) -> None:
        self.receiver, self.refusals = receiver, refusals

    def __call__(self, number: int) -> int:
        if self.refusals:
            self.refusals -= 1
            raise self.receiver.failed("no\n")
        return number


@contextmanager
def launched(name: str, folder: Path) -> Iterator[Receiver]:
    receiver = Receiver(name, PROMISE_KEPT["plain pump"], folder / name)
    try:
        yield receiver
    finally:
        receiver.stop()


def heard(status: int) -> None:
    near, far = socket.socketpair()
    with near, far:
        answer = struct.pack("<HHIH", 0, 0x0900, 2, status)
        far.sendall(struct.pack(">BxI", 4, len(answer)) + answer)
        Association(near, Message(65536), names=(1, 1), count=2).hear()


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and 65536 < path.stat().st_size < 70000]
