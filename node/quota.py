"""What one caller may have of us at the same time, so that it leaves something for others."""

import threading
from collections import Counter


class Quota:
    """How many places and bytes each caller has; callers are told apart by AE title and address."""

    def __init__(self, *, associations: int, bytes_in_flight: int) -> None:
        self._associations, self._bytes_in_flight = associations, bytes_in_flight
        self._lock = threading.Lock()
        self._places: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()

    def enter(self, caller: tuple[str, str]) -> bool:
        """Take a place; return whether there is one."""
        with self._lock:
            if self._places[caller] >= self._associations:
                return False
            self._places[caller] += 1
            return True

    def leave(self, caller: tuple[str, str]) -> None:
        """Give a place back."""
        with self._lock:
            self._places -= Counter({caller: 1})

    def take(self, caller: tuple[str, str], count: int) -> bool:
        """Count bytes that arrived and are not answered for; return whether it may have so many."""
        with self._lock:
            self._bytes[caller] += count
            return self._bytes[caller] <= self._bytes_in_flight

    def give_back(self, caller: tuple[str, str], count: int) -> None:
        """Count bytes no more that were answered for."""
        with self._lock:
            self._bytes -= Counter({caller: count})
