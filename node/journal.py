"""What makes small instances durable: all that came together is written into one file, and is on the disk when that returns.

For an instance with a file, a name and a row of its own the disk is waited for three times; here it is once. Files, names and rows are
left to the system to write. Once it was asked to, and did, the journal forgets them. What a power cut took before then,
`node/journal_replay` puts back.

Two files take turns and are written over and over: their length never changes, so that nothing but the new bytes has to be written. They go past the
page cache (O_DIRECT) where the file system lets them. A file begins with a page that has nothing but the begin of an entry, which names the file's
turn. An entry begins on a page, and is, little endian:

    4 bytes  "MCJ1"
    8        the name of the turn, by chance: nothing that is left of earlier turns, or that somebody sent, is taken for an entry
    4, 4     bytes of what the ledger is told, and of the Part 10 file
    8        XXH3-64 of the 20 bytes before, of what the ledger is told, and of the Part 10 file
             what the ledger is told, in JSON; the Part 10 file
"""

import errno
import itertools
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from struct import Struct
from time import monotonic
from typing import NamedTuple

import structlog
import xxhash

from node.durable_files import sync_folder

_log = structlog.get_logger()

FILE_BYTES = 16 << 20
SETTLE_AFTER_SECONDS = 5.0
"""How long an instance stands in the journal alone, about."""

_PAGE_BYTES = 4096
_BUFFER_BYTES = 160 << 10
"""Of what entries are put together in, which O_DIRECT wants to begin on a page; it grows."""
_MAGIC, _TURN_BYTES = b"MCJ1", 8
_HEAD, _DIGEST = Struct("<4s8sII"), Struct("<Q")
_HEADER_BYTES = _HEAD.size + _DIGEST.size


class NewEntry(NamedTuple):
    """A small instance as it goes into the journal."""

    told: bytes
    """What the ledger is told of it, in JSON."""
    part10: Sequence[bytes | bytearray]
    """Its file, in pieces."""

    @property
    def bytes(self) -> int:
        """How long its entry is."""
        return _HEADER_BYTES + len(self.told) + sum(map(len, self.part10))


class Entry(NamedTuple):
    """A small instance as it stands in the journal."""

    told: bytes
    """What the ledger is told of it, in JSON."""
    part10: bytes
    """Its file."""


class Journal:
    """The journal of one process in a folder: files whose names begin with `name`, made when they are first wanted.

    `settle` brings to the disk whatever was written and committed before it was called, or raises OSError. Any thread
    may use it.
    """

    def __init__(
        self, folder: Path, name: str, *, settle: Callable[[], None], file_bytes: int = FILE_BYTES
    ) -> None:
        self._folder, self._name, self._file_bytes = folder, name, file_bytes
        self._settle = settle
        self._changed = threading.Condition()
        self._written: _JournalFile | None = None
        self._free: list[_JournalFile | None] = [None, None]
        """Files of which nothing is needed any more; None is one that is yet to be made."""
        self._full: list[_JournalFile] = []
        """Files to be settled, in their order."""
        self._closing = False
        self._numbers = itertools.count()
        self._settling: threading.Thread | None = None

    @contextmanager
    def holding(self, entries: Sequence[NewEntry]) -> Iterator[bool]:
        """Make instances durable that came together; then commit their rows within the context, whose value is whether they are.

        They are not forgotten before these are settled, too. False is where there is no room: the system still writes what both files name.

        Raises:
            OSError: if the disk does not take them.
        """
        if not entries:
            yield True
            return
        begun = self._begin(sum(map(_pages, entries)))
        if begun is None:
            yield False
            return
        file, place = begun
        try:
            file.write(place, entries)
            yield True
        finally:
            self._end(file)

    def close(self) -> None:
        """Settle everything and remove the files; one that cannot be settled stays, to be replayed."""
        with self._changed:
            self._closing = True
            self._hand_over()
            self._changed.notify_all()
        if self._settling is not None:
            self._settling.join()
        for file in self._free:
            if file is not None:
                file.remove()
        self._free = [None, None]

    def _begin(self, size: int) -> tuple["_JournalFile", int] | None:
        """Return where so many bytes go; None where there is no room."""
        with self._changed:
            if self._written is None or not self._written.takes(size):
                self._hand_over()
                if not self._free:
                    return None
                self._written = self._next_file()
            return self._written, self._written.reserve(size)

    def _end(self, file: "_JournalFile") -> None:
        """Let go of an entry that was held."""
        with self._changed:
            file.held -= 1
            if not file.held and file is not self._written:
                self._changed.notify_all()

    def _hand_over(self) -> None:
        """Have the file that was written last settled."""
        if self._written is not None:
            self._full.append(self._written)
            self._written = None
            self._changed.notify_all()

    def _next_file(self) -> "_JournalFile":
        """Return a file that begins a turn."""
        if self._settling is None:
            self._settling = threading.Thread(target=self._settle_in_turn, name="journal", daemon=True)
            self._settling.start()
        file = self._free[-1]
        if file is None:
            file = _JournalFile(self._folder / f"{self._name}-{next(self._numbers)}", self._file_bytes)
            self._free[-1] = file
        file.begin_turn()
        self._free.pop()
        return file

    def _settle_in_turn(self) -> None:
        """Settle one file after the other: one that is full at once, another once it is old."""
        while (file := self._next_to_settle()) is not None:
            free: _JournalFile | None = file
            try:
                self._settle()
                file.forget()
            except OSError as failure:
                # of what failed once the system may say later that it is written: only a replay writes it anew
                _log.error("journal-not-settled", file=file.path.name, reason=failure.strerror)
                file.close()
                free = None
            with self._changed:
                self._free.append(free)

    def _next_to_settle(self) -> "_JournalFile | None":
        """Wait for a file whose entries are all recorded; None is the end."""
        with self._changed:
            while True:
                for file in self._full:
                    if not file.held:
                        self._full.remove(file)
                        return file
                if self._closing and not self._full:
                    return None
                self._changed.wait(SETTLE_AFTER_SECONDS)
                if self._written is not None and self._written.is_old():
                    self._hand_over()


class _JournalFile:
    """One of the files; it is made in its full length, since to grow is a second thing to write."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self._size = path, size
        self.held = 0
        """Entries that are not recorded yet."""
        self._turn, self._place, self._begun = b"", 0, 0.0
        self._buffers: list[mmap] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = -1
        try:
            with path.open("xb", buffering=0) as file:
                for place in range(0, size, _BUFFER_BYTES):
                    file.write(bytes(min(_BUFFER_BYTES, size - place)))
                os.fsync(file.fileno())
            sync_folder(path.parent)
            sync_folder(path.parent.parent)
            self._descriptor = _opened(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def begin_turn(self) -> None:
        """Begin anew, over what stands there."""
        self._turn = secrets.token_bytes(_TURN_BYTES)
        _write_first_page(self._descriptor, _MAGIC + self._turn)
        self._place, self._begun = _PAGE_BYTES, monotonic()

    def is_old(self) -> bool:
        """Return whether its turn is to end though there is room."""
        return monotonic() - self._begun >= SETTLE_AFTER_SECONDS

    def takes(self, size: int) -> bool:
        """Return whether so many bytes go in now; what no file is long enough for makes an empty one longer."""
        return self._place == _PAGE_BYTES or (self._place + size <= self._size and not self.is_old())

    def reserve(self, size: int) -> int:
        """Hold a place for so many bytes of whole pages, and return it."""
        place = self._place
        self._place += size
        self.held += 1
        return place

    def write(self, place: int, entries: Sequence[NewEntry]) -> None:
        """Write entries into their place, and onto the disk.

        Raises:
            OSError: if the disk does not take them.
        """
        length = sum(map(_pages, entries))
        buffer = self._buffers.pop() if self._buffers else mmap(-1, max(length, _BUFFER_BYTES))
        if len(buffer) < length:
            buffer = mmap(-1, length)
        with memoryview(buffer) as content:
            begin = 0
            for entry in entries:
                _put(entry, content[begin : begin + _pages(entry)], self._turn)
                begin += _pages(entry)
            if os.pwrite(self._descriptor, content[:length], place) < length:
                raise OSError(errno.EIO, "it took a part of it")
        self._buffers.append(buffer)

    def forget(self) -> None:
        """Have no entries: a replay would find nothing to do, but look at every one."""
        _write_first_page(self._descriptor, b"")

    def close(self) -> None:
        """Leave it for a replay."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove it."""
        self.close()
        self.path.unlink(missing_ok=True)


def _opened(path: Path) -> int:
    """Return a descriptor whose writes are on the disk when they return, past the page cache where that can be."""
    flags = os.O_WRONLY | os.O_DSYNC | os.O_CLOEXEC
    try:
        return _tried(path, flags | os.O_DIRECT)
    except OSError as failure:
        if failure.errno != errno.EINVAL:
            raise
    return _tried(path, flags)


def _tried(path: Path, flags: int) -> int:
    """Return a descriptor that was written to: a disk may want longer pages than ours."""
    descriptor = os.open(path, flags)
    try:
        _write_first_page(descriptor, b"")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write_first_page(descriptor: int, content: bytes) -> None:
    with mmap(-1, _PAGE_BYTES) as page:
        page[: len(content)] = content
        os.pwrite(descriptor, page, 0)


def entries_of(path: Path) -> Iterator[Entry]:
    """Yield the entries of the last turn of a journal's file that are whole, in their order.

    Raises:
        OSError: if it cannot be read.
    """
    content = path.read_bytes()
    turn, place = content[len(_MAGIC) :][:_TURN_BYTES], _PAGE_BYTES
    while content.startswith(_MAGIC) and place < len(content):
        entry = _entry_at(content, place, turn)
        if entry is not None:
            yield entry
        place += _PAGE_BYTES if entry is None else _on_pages(_HEADER_BYTES + sum(map(len, entry)))


def _put(entry: NewEntry, pages: memoryview, turn: bytes) -> None:
    """Put an entry together on its pages."""
    head = _HEAD.pack(_MAGIC, turn, len(entry.told), sum(map(len, entry.part10)))
    digest, end = xxhash.xxh3_64(head), _HEADER_BYTES
    for piece in (entry.told, *entry.part10):
        pages[end : end + len(piece)] = piece
        digest.update(piece)
        end += len(piece)
    pages[:_HEADER_BYTES] = head + _DIGEST.pack(digest.intdigest())
    pages[end:] = bytes(len(pages) - end)


def _entry_at(content: bytes, place: int, turn: bytes) -> Entry | None:
    if len(content) - place < _HEADER_BYTES:
        return None
    magic, of_turn, told_bytes, part10_bytes = _HEAD.unpack_from(content, place)
    (digest,) = _DIGEST.unpack_from(content, place + _HEAD.size)
    begin = place + _HEADER_BYTES
    middle, end = begin + told_bytes, begin + told_bytes + part10_bytes
    if magic != _MAGIC or of_turn != turn:
        return None
    if xxhash.xxh3_64_intdigest(content[place : place + _HEAD.size] + content[begin:end]) != digest:
        return None
    return Entry(content[begin:middle], content[middle:end])


def _pages(entry: NewEntry) -> int:
    """Return the bytes of the pages that an entry takes."""
    return _on_pages(entry.bytes)


def _on_pages(size: int) -> int:
    """Return the bytes of the pages that so many take."""
    return size + -size % _PAGE_BYTES
