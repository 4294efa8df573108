"""What the two processes of a receiver hold: the one that was started, and its annex."""

import re
from pathlib import Path


def annex_of(pid: int) -> int:
    """The process that a receiver started."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def resident_kb(pid: int) -> int:
    """Memory of both that is resident now."""
    return _kb("VmRSS", pid) + _kb("VmRSS", annex_of(pid))


def peak_kb(pid: int) -> int:
    """The most memory of both that ever was resident."""
    return _kb("VmHWM", pid) + _kb("VmHWM", annex_of(pid))


def descriptors(pid: int) -> int:
    """Open descriptors of both."""
    return sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in (pid, annex_of(pid)))


def _kb(name: str, pid: int) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, f"{name} of {pid}"
    return int(found[1])
