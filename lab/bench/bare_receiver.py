"""Our receive path alone: files as they come, no sync, no header read, no ledger.

python -m lab.bench.bare_receiver PORT FOLDER
"""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import structlog

from node.annex import Annex
from node.arrival import SMALL_BYTES, write_all
from node.association import Acceptor, Limits
from node.dimse_status import Refusal, StorageExhausted
from node.hall import Offer
from node.part10 import Announcement, part10_header


class _File:
    """One instance as a file on a memory disk."""

    in_large_pieces = False

    def __init__(self, announced: Announcement, folder: Path) -> None:
        self.name = folder / f"{announced.sop_instance_uid}.dcm"
        self.path = folder / f"{uuid4().hex}.part"
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        write_all(self.descriptor, [part10_header(announced)])
        self._bytes = 0

    @property
    def is_small(self) -> bool:
        """Whether its association is served where the node serves such."""
        return self._bytes <= SMALL_BYTES

    def write(self, *pieces: bytes | memoryview) -> None:
        """Append pieces."""
        self._bytes += write_all(self.descriptor, pieces)

    def moved(self, count: int) -> None:
        """Count bytes that are in it."""
        self._bytes += count

    def fail(self, failure: OSError) -> None:
        """A benchmark whose disk is full is none."""
        raise failure

    def refuse(self, refusal: StorageExhausted) -> None:
        """Nothing here has a quota to exceed."""
        raise refusal

    def discard(self) -> None:
        """Close it."""
        os.close(self.descriptor)


class _Folder:
    """A store that keeps files and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, announced: Announcement) -> _File:
        """Begin a file."""
        return _File(announced, self._folder)

    def accept(self, arrivals: Sequence[_File], *, now: datetime) -> Sequence[str | Exception]:
        """Give them their names; every instance belongs to one study here."""
        del now
        for arrival in arrivals:
            arrival.path.rename(arrival.name)
        return ["1.2"] * len(arrivals)

    def refuse(self, arrival: _File, refusal: Refusal, *, now: datetime) -> None:
        """Nothing is refused here."""


def main() -> None:
    """Receive until killed, in as many processes as the node does by default."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    offer, limits = Offer(store=_Folder(Path(sys.argv[2])), operations={}), Limits()
    quota = limits.quota()
    annex = Annex(lambda: offer, quota=quota, silence=limits.silence)
    acceptor = Acceptor(
        ae_title="BARE",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        offer=offer,
        on_study_touched=lambda _: None,
        limits=limits,
        quota=quota,
        annexes=[annex],
    )
    acceptor.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
