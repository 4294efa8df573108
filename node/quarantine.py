"""What was refused for its content: its bytes are kept for a while, so that somebody can see what was wrong."""

import os
import threading
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import structlog

from node.arrival import Arrival

_log = structlog.get_logger()

MOST_BYTES = 1 << 30
MOST_FILES = 1000
"""What the quarantine holds; the oldest make room. A sender that repeats its mistake must not fill the disk."""


class Quarantine:
    """A folder of refused instances, as Part 10 files with the header that we wrote for them."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
        self._folder, self._most_bytes, self._most_files = folder, most_bytes, most_files
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, arrival: Arrival, *, now: datetime) -> str:
        """Keep the bytes of a sealed arrival, and return the file's name; nothing where there are none, or no room."""
        if not 0 < arrival.bytes <= self._most_bytes:
            return ""
        name = _new_name(now)
        with self._lock:
            try:
                self._make_room(arrival.bytes)
                os.link(arrival.in_file(), self._folder / name)
            except OSError as failure:
                _log.warning("not-quarantined", reason=failure.strerror or str(failure))
                return ""
        return name

    def take(self, path: Path, *, now: datetime) -> str:
        """Move a file in from elsewhere in the data folder, and return its name here; nothing where there is no room.

        Raises:
            OSError: if it is gone, or cannot be moved.
        """
        size = path.stat().st_size
        if size > self._most_bytes:
            return ""
        name = _new_name(now)
        with self._lock:
            self._make_room(size)
            path.rename(self._folder / name)
        return name

    def _make_room(self, wanted: int) -> None:
        """Remove the oldest files until there is room for one more."""
        files = [(path.name, path.stat().st_size, path) for path in self._folder.glob("*.dcm")]
        total = sum(size for _, size, _ in files)
        for number, (_, size, path) in enumerate(sorted(files)):
            if len(files) - number < self._most_files and total + wanted <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def _new_name(now: datetime) -> str:
    """Return a name that sorts by age."""
    return f"{now:%Y%m%dT%H%M%S%f}-{uuid4().hex[:8]}.dcm"
