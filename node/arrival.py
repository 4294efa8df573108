"""An instance on its way in: a file that grows by pieces, under a name that nobody looks for; a small one is kept in memory."""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from io import SEEK_CUR, SEEK_SET
from pathlib import Path
from typing import BinaryIO, Protocol

import structlog
import xxhash

from node.data_set_digest import data_set_digest
from node.dimse_status import InstanceRefused, StorageExhausted
from node.durable_files import sync_file
from node.part10 import Announcement, part10_header

_log = structlog.get_logger()

HEAD_BYTES = 16 << 10
"""What is kept in memory of the begin of a data set: the ledger's attributes are there."""
SMALL_BYTES = 128 << 10
"""Data sets up to this are kept in memory, and are in a file only once they are to have a name."""

_STEP_BYTES = 2 << 20
"""After so many the disk is told to begin."""
_MOST_PIECES = 1000
"""Of one call to the system; more are joined first (IOV_MAX is 1024)."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class DataSet(Protocol):
    """An encoded data set that is read where it is asked for."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Move to a place, and return it."""

    def tell(self) -> int:
        """Return the place."""


class Arrival:
    """An instance on its way in.

    `sync` is whether it has to survive a power cut. Nothing is raised while it grows, since the rest must be taken off the network anyway: the first failure is
    remembered, what follows is dropped, and `seal` raises it.
    """

    def __init__(
        self,
        announced: Announcement,
        path: Path,
        refusal: InstanceRefused | StorageExhausted | None,
        *,
        sync: bool = True,
    ) -> None:
        self.announced = announced
        self.path = path
        self.bytes = 0
        self._sync, self._on_its_way = sync, 0
        self._refusal = refusal
        self.in_large_pieces = True
        self.digest_taken = ""
        """The digest, once somebody asked for it."""
        self.compared: dict[Path, str] = {}
        """Digests of the files whose names it could not have."""
        self._head = bytearray()
        self._header, self._begun = part10_header(announced), False
        self._descriptor = -1
        self._has_file = False
        self._small: bytearray | None = None
        """The data set as long as that is small."""
        if not isinstance(
            refusal, StorageExhausted
        ):  # what is refused for its content goes into the quarantine
            self._small = bytearray()

    @property
    def is_small(self) -> bool:
        """Whether all of it is in memory, and nothing of it was brought to the disk."""
        return self._small is not None

    @property
    def digest(self) -> str:
        """The digest of its data set, read from its file, which must be sealed and there, or from memory.

        Raises:
            OSError: if it cannot be read.
        """
        if not self.digest_taken:
            small = self._small
            self.digest_taken = (
                data_set_digest(self.path) if small is None else xxhash.xxh3_128(small).hexdigest()
            )
        return self.digest_taken

    @property
    def descriptor(self) -> int:
        """Of its file, where bytes may go that `moved` is told of; -1 where what comes is dropped."""
        self._begin_file()
        return self._descriptor

    def write(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Append pieces of the encoded data set; its first HEAD_BYTES come this way."""
        if self._small is not None:
            if len(self._small) + sum(map(len, pieces)) <= SMALL_BYTES:
                for piece in pieces:
                    self._small += piece
                self.bytes = len(self._small)
                return
            self._begin_file()
        if self._descriptor < 0:
            return
        try:
            before = [] if self._begun else [self._header]
            self.bytes += write_all(self._descriptor, [*before, *pieces]) - sum(map(len, before))
            self._begun = True
            self._write_out()
        except OSError as failure:
            self.fail(failure)
            return
        for piece in pieces:
            if (missing := HEAD_BYTES - len(self._head)) <= 0:
                break
            self._head += piece[:missing]

    def moved(self, count: int) -> None:
        """Count bytes of the data set that went into the file past us."""
        if self._descriptor < 0:
            return
        self.bytes += count
        try:
            self._write_out()
        except OSError as failure:
            self.fail(failure)

    def fail(self, failure: OSError) -> None:
        """Remember why nothing can be kept, and give the room back at once."""
        self._refusal = exhausted(failure)
        self.discard()

    def refuse(self, refusal: InstanceRefused | StorageExhausted) -> None:
        """Drop what came and what will come; `seal` raises the refusal."""
        self._refusal = self._refusal or refusal
        self.discard()

    def seal(self) -> None:
        """Bring every byte to the disk and close the file; without syncing only to the operating system. A small one stays in memory.

        Raises:
            InstanceRefused, StorageExhausted: what went wrong since it began.
        """
        if self._descriptor >= 0:
            try:
                if self._sync:
                    os.fdatasync(self._descriptor)
                self._close()
            except OSError as failure:
                self.fail(failure)
        if self._refusal is not None:
            raise self._refusal

    def part10(self) -> Sequence[bytes | bytearray]:
        """Return the file of a small one as it is to be, in pieces."""
        return [self._header, self._small or b""]

    def link(self, path: Path) -> None:
        """Give its sealed file a name; that of a small one is written, and left to the system to bring to the disk.

        Raises:
            FileExistsError, FileNotFoundError: if the name is taken, or its folder is not there.
            OSError: if the disk does not take it.
        """
        self._write_small()
        os.link(self.path, path)

    def is_at(self, path: Path) -> bool:
        """Return whether a file as long as its own is at a path that it was linked to."""
        try:
            return path.stat().st_size == len(self._header) + self.bytes
        except OSError:
            return False

    def in_file(self) -> Path:
        """Return its sealed file under its temporary name; a small one is written and synced for that, and is small no more.

        Raises:
            OSError: if the disk does not take it.
        """
        if self._small is not None:
            self._write_small()
            if self._sync:
                sync_file(self.path)
            self._small = None
        return self.path

    def data_set(self) -> "WrittenDataSet":
        """Return the data set that came."""
        if self._small is not None:
            return WrittenDataSet(self.path, len(self._header), self._small, self.bytes)
        return WrittenDataSet(self.path, len(self._header), self._head, self.bytes)

    def discard(self) -> None:
        """Remove the temporary file; what was kept has a name of its own by then.

        Where the disk takes not even that, the next start removes it.
        """
        self._small = None
        with suppress(OSError):
            self._close()
        if self._has_file:
            self._has_file = False
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _begin_file(self) -> None:
        """Have a file, with what was kept in memory so far; from now on it is none of the small ones."""
        small, self._small = self._small, None
        if small is not None:
            self._open()
            self.bytes = 0
            self.write(small)

    def _write_small(self) -> None:
        """Write the file of a small one; its bytes stay in memory, too."""
        if self._small is None or self._has_file:
            return
        descriptor, self._has_file = os.open(self.path, _NEW_FILE, 0o666), True
        try:
            write_all(descriptor, [self._header, self._small])
        except OSError:
            self.discard()
            raise
        finally:
            os.close(descriptor)

    def _open(self) -> None:
        try:
            self._descriptor, self._has_file = os.open(self.path, _NEW_FILE, 0o666), True
        except OSError as failure:
            self.fail(failure)

    def _write_out(self) -> None:
        """Let the disk begin with what came, once it is enough, so that the sync at the end has little left to wait for.

        The advice has the kernel start to write what is dirty; of that it can drop nothing yet.
        """
        if not self._sync or self.bytes - self._on_its_way < _STEP_BYTES:
            return
        os.posix_fadvise(
            self._descriptor,
            len(self._header) + self._on_its_way,
            self.bytes - self._on_its_way,
            os.POSIX_FADV_DONTNEED,
        )
        self._on_its_way = self.bytes

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class WrittenDataSet:
    """The data set of an arrival, to be read: its head from memory, the rest from its file once that is asked for."""

    def __init__(self, path: Path, header_bytes: int, head: bytes | bytearray, size: int) -> None:
        self._path, self._header_bytes = path, header_bytes
        self._head, self._size = memoryview(head), size
        self._place = 0
        self._file: BinaryIO | None = None

    def close(self) -> None:
        """Close what had to be opened."""
        if self._file is not None:
            self._file.close()

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""
        end = min(self._place + size, self._size)
        if end <= len(self._head):
            piece = bytes(self._head[self._place : end])
        else:
            if self._file is None:
                self._file = self._path.open("rb")
            self._file.seek(self._header_bytes + self._place)
            piece = self._file.read(max(0, end - self._place))
        self._place += len(piece)
        return piece

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Move to a place, and return it."""
        start = {SEEK_SET: 0, SEEK_CUR: self._place}.get(whence, self._size)
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place


def write_all(descriptor: int, pieces: Sequence[bytes | bytearray | memoryview]) -> int:
    """Write pieces to a file, in order and completely; return how many bytes that were.

    Raises:
        OSError: if the file takes no more.
    """
    if len(pieces) > _MOST_PIECES:
        pieces = [b"".join(pieces)]
    total = sum(map(len, pieces))
    written = os.writev(descriptor, pieces)
    if written < total:
        rest = memoryview(b"".join(pieces))
        while written < total:
            written += os.write(descriptor, rest[written:])
    return total


def exhausted(failure: OSError) -> StorageExhausted:
    """Return an error of the disk as the refusal that the sender is given, and log it."""
    full = failure.errno in {errno.ENOSPC, errno.EDQUOT}
    why = "The disk is full" if full else f"The disk does not take it ({failure.strerror or failure})"
    _log.error("disk-refused", reason=why)
    return StorageExhausted(f"{why}: send it again later.")
