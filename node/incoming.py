"""An instance on its way in over an association, from its command to its answer, and the store that it goes to."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from node.dimse_status import Refusal, StorageExhausted
from node.part10 import Announcement
from node.wire.bypass import GrowingFile
from node.wire.command_set import Command


class IncomingInstance(GrowingFile, Protocol):
    """An instance that is on its way in."""

    @property
    def is_small(self) -> bool:
        """Whether it is short, and came whole without waiting for a disk."""

    def write(self, *pieces: bytes | memoryview) -> None:
        """Take the next pieces of its data set; never raises."""

    def refuse(self, refusal: StorageExhausted) -> None:
        """Drop what came and what will come; it is not kept, for this reason."""

    def discard(self) -> None:
        """Forget it; what was kept stays."""


Incoming = TypeVar("Incoming", bound=IncomingInstance)


class InstanceStore(Protocol[Incoming]):
    """Where instances go."""

    def begin(self, announced: Announcement) -> Incoming:
        """Begin to take an instance in; never raises."""

    def accept(self, arrivals: Sequence[Incoming], *, now: datetime) -> Sequence[str | Exception]:
        """Keep instances that are complete; return of each its Study Instance UID, or why it is not kept: a Refusal, or a fault."""

    def refuse(self, arrival: Incoming, refusal: Refusal, *, now: datetime) -> None:
        """Hear that the sender of an instance is about to be told why it is not kept."""


class Brought(Generic[Incoming]):
    """What a C-STORE brings: the taker of its data set, whose bytes `take` allows or not.

    `give_back` is told of them all once it is over.
    """

    def __init__(
        self,
        command: Command,
        arrival: Incoming,
        *,
        take: Callable[[int], bool],
        give_back: Callable[[int], None],
    ) -> None:
        self.command, self.arrival = command, arrival
        self.in_large_pieces = arrival.in_large_pieces
        self._take, self._give_back = take, give_back
        self._bytes, self._is_left = 0, False

    @property
    def descriptor(self) -> int:
        """Of its file."""
        return self.arrival.descriptor

    def write(self, pieces: list[memoryview]) -> None:
        """Count and append pieces."""
        self._count(sum(map(len, pieces)))
        self.arrival.write(*pieces)

    def moved(self, count: int) -> None:
        """Count bytes that are in its file."""
        self._count(count)
        self.arrival.moved(count)

    def fail(self, failure: OSError) -> None:
        """Drop it."""
        self.arrival.fail(failure)

    def leave(self) -> None:
        """Have nothing more to do with it: it is answered, or the association ends. To leave it twice changes nothing."""
        if not self._is_left:
            self._is_left = True
            self.arrival.discard()
            self._give_back(self._bytes)

    def _count(self, came: int) -> None:
        self._bytes += came
        if not self._take(came):
            self.arrival.refuse(StorageExhausted("You have too much in flight: send it again later."))
