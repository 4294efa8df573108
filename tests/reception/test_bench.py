"""What `mammocalc bench receive` measures is what it says."""

from pathlib import Path

import pytest

from lab.bench.echoing import echo_table, echo_under_load, measure_echoes
from lab.bench.receivers import PATH_ALONE, PROMISE_KEPT, ReceiverFailed
from lab.bench.receiving import Load, launch_all, measure_receivers, table


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


@pytest.mark.slow
def test_echoes_are_timed_while_others_send(tmp_path: Path):
    (ours,) = launch_all({"ours": PROMISE_KEPT["ours"]}, tmp_path)
    load = Load(size=1 << 20, associations=4, instances=1200)
    try:
        waited = measure_echoes([ours], [load])["ours"][load]
        assert waited.echoes >= 10
        assert waited.unanswered == 0
        assert 0 < waited.median <= waited.p99 <= waited.longest
        assert "1 MB x 4 | ours" in echo_table({"ours": {load: waited}})
        with pytest.raises(ReceiverFailed, match="echoes only"):
            echo_under_load(ours, Load(size=65536, associations=1, instances=1), number=7, fewest=1_000_000)
    finally:
        ours.stop()


def stored(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and 65536 < path.stat().st_size < 70000]
