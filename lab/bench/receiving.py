"""Measure receivers in turns: the same sender, the same minutes, instances that none has seen."""

import itertools
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.bench.receivers import OURS, Launch, Receiver, ReceiverFailed
from mammography.progress import tracked

_LONGEST_SECONDS = 600
_FEW_FILES_BYTES = 1 << 20
"""Of such sizes a turn sends some dozens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent in one turn."""

    size: int
    """Bytes of an instance, about."""
    associations: int
    instances: int

    @property
    def name(self) -> str:
        """As the tables call it."""
        size = f"{self.size >> 10} KB" if self.size < 1 << 20 else f"{self.size / 1e6:.0f} MB"
        return f"{size} x {self.associations}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one receiver did with one load."""

    mb_per_second: float
    instances_per_second: float
    cpu_seconds_per_gb: float
    sender_busy: float
    """The part of the turn that the sender computed, 0 to 1; near 1 it is the sender that is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Medians over rounds, and our ratio to each: the median of the ratios within a round."""

    turn: Turn
    ours_to_it: float


def loads_of(sizes: Sequence[int], associations: Sequence[int], *, megabytes: int) -> list[Load]:
    """Return the loads of a table, each of about `megabytes` and at least two instances an association."""
    return [
        Load(size=size, associations=number, instances=max(2 * number, min(2000, megabytes * 10**6 // size)))
        for size in sizes
        for number in associations
    ]


def measure_receivers(
    receivers: Sequence[Receiver], loads: Sequence[Load], *, rounds: int, keep_small: bool = False
) -> dict[Load, dict[str, Measured]]:
    """Return what each receiver does with each load; in a round each takes one turn, in an order of chance.

    A first round that is not counted warms everything up. What came is removed after each turn; with `keep_small` only
    where its files are few: ext4 looks twice at an inode that was freed in the last minutes, and whoever makes files after
    thousands were removed pays for it, a third of its processor time.

    A peer that refuses an instance has its turn again; ours may not, since that is a defect of ours.

    Raises:
        ReceiverFailed: if ours refuses an instance, or a peer does in three turns on end.
    """
    chance, numbers = random.Random(7), itertools.count(1)
    turns: dict[Load, dict[str, list[Turn]]] = {load: {one.name: [] for one in receivers} for load in loads}
    plan = [(load, turn) for load in loads for turn in range(rounds + 1)]
    for load, turn in tracked(plan, label="receiving in turns", total=len(plan)):
        for receiver in chance.sample(receivers, len(receivers)):
            taken = receiver.all_taken(partial(_turn, receiver, load), numbers)
            if load.size >= _FEW_FILES_BYTES or not keep_small:
                receiver.forget()
            if turn:
                turns[load][receiver.name].append(taken)
    return {load: _medians(of_load) for load, of_load in turns.items()}


def _medians(turns: Mapping[str, Sequence[Turn]]) -> dict[str, Measured]:
    ours = [turn.mb_per_second for turn in turns[OURS]]
    return {
        name: Measured(
            turn=Turn(
                mb_per_second=statistics.median(one.mb_per_second for one in taken),
                instances_per_second=statistics.median(one.instances_per_second for one in taken),
                cpu_seconds_per_gb=statistics.median(one.cpu_seconds_per_gb for one in taken),
                sender_busy=statistics.median(one.sender_busy for one in taken),
            ),
            ours_to_it=statistics.median(
                mine / its.mb_per_second for mine, its in zip(ours, taken, strict=True)
            ),
        )
        for name, taken in turns.items()
    }


def _turn(receiver: Receiver, load: Load, number: int) -> Turn:
    before = receiver.cpu_seconds()
    words = [receiver.port, receiver.ae_title, load.associations, load.instances, load.size, number]
    sent = subprocess.run(
        [sys.executable, "-m", "lab.bench.sender", *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
    )
    if sent.returncode:
        raise receiver.failed(sent.stderr)
    seconds, instances, taken, sending = map(float, sent.stdout.split())
    cpu = receiver.cpu_seconds() - before
    return Turn(
        mb_per_second=taken / 1e6 / seconds,
        instances_per_second=instances / seconds,
        cpu_seconds_per_gb=cpu / (taken / 1e9),
        sender_busy=sending / seconds,
    )


def table(measured: Mapping[Load, Mapping[str, Measured]], receivers: Sequence[Receiver]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| load | receiver | MB/s | instances/s | CPU s/GB | sender busy | ours / it |",
        "|---|---|---|---|---|---|---|",
    ]
    for load, of_load in measured.items():
        lines += [
            f"| {load.name} | {name} | {one.turn.mb_per_second:.0f} | {one.turn.instances_per_second:.0f}"
            f" | {one.turn.cpu_seconds_per_gb:.2f} | {one.turn.sender_busy:.0%} | {one.ours_to_it:.2f} |"
            for name, one in of_load.items()
        ]
    peaks = ", ".join(f"{one.name} {one.peak_memory_mb():.0f} MB" for one in receivers)
    lines += ["", f"Peak memory over all loads, of the processes that live, added up: {peaks}."]
    again = ", ".join(f"{one.name} {one.turns_again}" for one in receivers if one.turns_again)
    if again:
        lines.append(f"Turns that were taken again, since an instance was refused: {again}.")
    return "\n".join(lines)


def launch_all(launches: Mapping[str, Callable[[Path, int], Launch]], folder: Path) -> list[Receiver]:
    """Start every receiver of a table.

    Raises:
        ReceiverFailed: if one does not start; those that did are ended.
    """
    running: list[Receiver] = []
    try:
        for name, launch in launches.items():
            running.append(Receiver(name, launch, folder / name.replace(" ", "-")))
    except (ReceiverFailed, OSError):
        for receiver in running:
            receiver.stop()
        raise
    return running
