"""Processor seconds, wall seconds and memory of a piece of work; medians over rounds that take turns."""

import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mammography.progress import tracked

_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_RESET_PEAK = "5"
"""What resets the peak of resident memory when written to clear_refs (proc(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one piece of work took, children included."""

    cpu_seconds: float
    wall_seconds: float


def cost_of(work: Callable[[], object]) -> Cost:
    """Return what a piece of work takes."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    work()
    return Cost(cpu_seconds=_cpu_seconds() - cpu, wall_seconds=time.perf_counter() - wall)


def median_of(costs: list[Cost]) -> Cost:
    """Return the medians of several costs."""
    return Cost(
        cpu_seconds=statistics.median(cost.cpu_seconds for cost in costs),
        wall_seconds=statistics.median(cost.wall_seconds for cost in costs),
    )


def taking_turns(pieces: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, Cost]:
    """Return the median cost of each piece of work; in every round each runs once, so that all meet the same load.

    A first round that is not counted loads libraries and files.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in pieces}
    turns = [(turn, name) for turn in range(rounds + 1) for name in pieces]
    for turn, name in tracked(turns, label="measuring in turns", total=len(turns)):
        cost = cost_of(pieces[name])
        if turn:
            costs[name].append(cost)
    return {name: median_of(taken) for name, taken in costs.items()}


def peak_memory_gb(work: Callable[[], object]) -> float:
    """Return the most memory, in 10^9 bytes, that was resident in this process while it did a piece of work.

    It holds all that was resident before, such as the libraries. Raises OSError elsewhere than on Linux.
    """
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    work()
    said = _PEAK.search(Path("/proc/self/status").read_text())
    assert said is not None, "Linux says the peak of every process"  # noqa: S101
    return int(said[1]) * 1024 / 1e9


def _cpu_seconds() -> float:
    """Return the processor seconds of this process and of the children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
