"""What a machine offers a reader: a device, a precision, images side by side, and memory that stays."""

import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

MOST_LANES = 2
"""Images that a processor reads at once: each more costs 0.4 GB and gains nothing where its threads are shared."""
MOST_GPU_LANES = 8
"""Images that are decoded and prepared at once for a GPU, which is far faster than one processor prepares."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Names of mallopt(3), from malloc.h."""
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """How images are read here: `lanes` at once, each on `threads` processors, the network on `device`.

    `precision` is that of the network's weights and features; its answers are float32 always.
    """

    device: torch.device
    precision: torch.dtype
    lanes: int
    threads: int


def hardware_here() -> Hardware:
    """Return the best way to read on this machine: a GPU where there is one, bfloat16 where it is native.

    Threads of one convolution wait for each other at every layer, and lose much where they share processors
    with other work; two images at once wait for nothing. So each lane gets its share of the processors.
    """
    count = processors()
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Hardware(
            device=torch.device("cuda"),
            precision=torch.bfloat16 if native else torch.float32,
            lanes=min(count, MOST_GPU_LANES),
            threads=1,
        )
    lanes = min(count, MOST_LANES)
    return Hardware(
        device=torch.device("cpu"), precision=cpu_precision(), lanes=lanes, threads=count // lanes
    )


def cpu_precision() -> torch.dtype:
    """Return bfloat16 where the processor multiplies in it (AMX, AVX-512 BF16), float32 elsewhere.

    Without such units every value is widened first, and bfloat16 is the slower one.
    """
    offered = torch.cpu.get_capabilities()
    native = offered.get("amx_bf16") or offered.get("avx512_bf16")
    return torch.bfloat16 if native else torch.float32


def processors() -> int:
    """Return how many processors this process may use: its affinity, and the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_QUOTA.read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def keep_memory() -> None:
    """Let freed memory stay with this process, in one arena for all threads; best before any thread begins.

    A network's features are tens of megabytes a layer. By default glibc returns such blocks to the system, which
    clears every page again for the next layer: a third of the time of a forward pass.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


class Rest:
    """Returns what was kept and is free to the system once there was nothing to do for a while.

    Returned between studies that follow each other, every page would be cleared again for the next one.
    """

    def __init__(self, after: timedelta = timedelta(seconds=20)) -> None:
        self._after = after
        self._timer: threading.Timer | None = None

    def interrupt(self) -> None:
        """Keep what is kept: there is something to do."""
        if self._timer is not None:
            self._timer.cancel()

    def begin(self) -> None:
        """Return it later, unless that is interrupted."""
        self.interrupt()
        self._timer = threading.Timer(self._after.total_seconds(), give_memory_back)
        self._timer.daemon = True
        self._timer.start()


def give_memory_back() -> None:
    """Return what was kept and is free to the system."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, None where it has none of that name."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function
