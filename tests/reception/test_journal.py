"""The journal of small instances: what is held is on the disk, is read back whole, and is not forgotten too early."""

import errno
import os
import struct
import threading
from pathlib import Path

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from node import journal as module
from node.journal import Entry, Journal, NewEntry, entries_of
from tests.servers import wait_for

PAGE = 4096
LARGE = bytes(5000)
"""Two pages; a file of four pages holds one such entry, one of six two."""


def settled_by_itself() -> None:
    """Settles what is never lost."""


def make(tmp_path: Path, *, pages: int = 256, settle=settled_by_itself) -> Journal:
    return Journal(tmp_path / "journal", "here", settle=settle, file_bytes=pages * PAGE)


def hold(journal: Journal, *entries: Entry) -> None:
    """One after the other, as soon as there is room."""
    for each in entries:
        wait_for(lambda each=each: was_held(journal, each), what="room in the journal")


def was_held(journal: Journal, entry: Entry) -> bool:
    with journal.holding([NewEntry(entry.told, [entry.part10])]) as there_is_room:
        return there_is_room


def held(tmp_path: Path) -> list[list[Entry]]:
    """The entries of each file that has some, by name."""
    files = [list(entries_of(path)) for path in sorted((tmp_path / "journal").glob("*"))]
    return [entries for entries in files if entries]


def entry(number: int, content: bytes = LARGE) -> Entry:
    return Entry(f"entry {number}".encode(), content)


def test_what_is_held_is_read_back(tmp_path: Path):
    journal = make(tmp_path)
    pieces = [b"header", bytearray(b"x" * 70_000), b"end"]
    with journal.holding([NewEntry(b"told", pieces)]):
        assert held(tmp_path) == [[Entry(b"told", b"".join(pieces))]]
    hold(journal, entry(1, b""), entry(2, os.urandom(200_000)), entry(3))
    (entries,) = held(tmp_path)
    assert [each.told for each in entries] == [b"told", b"entry 1", b"entry 2", b"entry 3"]
    assert (tmp_path / "journal" / "here-0").stat().st_size == 256 * PAGE, "it does not grow"


def test_a_group_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal, real, written = make(tmp_path, pages=1024), os.pwrite, []
    hold(journal, entry(0))
    group = [entry(number, os.urandom(number * 9000)) for number in range(1, 20)]

    def note(descriptor: int, content: memoryview, place: int) -> int:
        written.append(place)
        return real(descriptor, content, place)

    monkeypatch.setattr(os, "pwrite", note)
    with journal.holding([NewEntry(each.told, [each.part10]) for each in group]), journal.holding([]):
        assert written == [3 * PAGE]
        assert held(tmp_path) == [[entry(0), *group]]


def test_what_is_not_used_makes_no_file(tmp_path: Path):
    journal = make(tmp_path)
    with journal.holding([]):
        pass
    journal.close()
    assert not (tmp_path / "journal").exists()


def test_a_new_file_is_on_the_disk_with_its_name_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done, fsync, pwrite = [], os.fsync, os.pwrite

    def note(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def note_entry(descriptor: int, content: memoryview, place: int) -> int:
        done.append(place)
        return pwrite(descriptor, content, place)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "pwrite", note_entry)
    hold(make(tmp_path), entry(1))
    folder = tmp_path / "journal"
    assert done == [folder / "here-0", folder, tmp_path, 0, 0, PAGE], "its first page, and that of the turn"


def test_writers_do_not_meet(tmp_path: Path):
    journal = make(tmp_path, pages=2048)
    entries = [entry(number, os.urandom(number * 37)) for number in range(160)]
    threads = [threading.Thread(target=hold, args=(journal, *entries[number::8])) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(each for file in held(tmp_path) for each in file) == sorted(entries)


def test_files_take_turns_and_are_settled_before_they_are_written_over(tmp_path: Path):
    settled: list[Entry] = []

    def settle() -> None:
        settled.extend(each for file in held(tmp_path) for each in file)

    journal = make(tmp_path, pages=6, settle=settle)
    entries = [entry(number) for number in range(9)]
    hold(journal, *entries)
    assert sorted(path.name for path in (tmp_path / "journal").iterdir()) == ["here-0", "here-1"]
    journal.close()
    assert set(settled) == set(entries), "each was still there when it was settled"
    assert not list((tmp_path / "journal").iterdir())


def test_nothing_is_settled_while_its_row_is_not_committed(tmp_path: Path):
    settled = threading.Event()
    journal = make(tmp_path, pages=4, settle=settled.set)
    with journal.holding([NewEntry(b"one", [LARGE])]):
        hold(journal, entry(2))  # in the other file: this one has no room
        assert not settled.wait(0.3)
    assert settled.wait(10)


def test_an_old_turn_ends_though_nobody_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SETTLE_AFTER_SECONDS", 0.05)
    settled = threading.Event()
    journal = make(tmp_path, settle=settled.set)
    hold(journal, entry(1))
    assert settled.wait(10)
    journal.close()


def test_an_entry_longer_than_a_file_is_taken_whole(tmp_path: Path):
    journal = make(tmp_path, pages=4)
    long = entry(1, os.urandom(40_000))
    hold(journal, entry(0), long)
    assert [long] in held(tmp_path)


def fail(*_arguments: object) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_what_cannot_be_settled_stays_and_another_file_is_made(tmp_path: Path):
    journal = make(tmp_path, pages=4, settle=fail)
    entries = [entry(number) for number in range(5)]
    hold(journal, *entries)
    journal.close()
    assert held(tmp_path) == [[each] for each in entries]


def test_a_disk_that_refuses_one_takes_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = make(tmp_path)
    hold(journal, entry(0))
    for broken in (fail, lambda *_arguments: 1):
        with monkeypatch.context() as context:
            context.setattr(os, "pwrite", broken)
            with (
                pytest.raises(OSError, match=r"Input/output|a part of it"),
                journal.holding([NewEntry(b"", [])]),
            ):
                pytest.fail("nothing is committed that is not durable")
    hold(journal, entry(1))
    assert held(tmp_path) == [[entry(0), entry(1)]]
    journal.close()


def test_a_disk_that_is_full_makes_no_file_and_later_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = make(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            hold(journal, entry(1))
    assert not list((tmp_path / "journal").iterdir())
    hold(journal, entry(2))
    assert held(tmp_path) == [[entry(2)]]


def test_a_turn_that_could_not_begin_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = make(tmp_path)
    write_first_page = module._write_first_page

    def refuse(descriptor: int, content: bytes) -> None:
        if content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_first_page(descriptor, content)

    for _ in range(3):  # there are two files
        with monkeypatch.context() as full:
            full.setattr(module, "_write_first_page", refuse)
            with pytest.raises(OSError, match="No space left"):
                was_held(journal, entry(1))
    assert was_held(journal, entry(2))
    assert held(tmp_path) == [[entry(2)]]
    assert len(list((tmp_path / "journal").iterdir())) == 1
    journal.close()


def test_where_nothing_is_settled_yet_there_is_no_room(tmp_path: Path):
    go_on = threading.Event()
    journal = make(tmp_path, pages=4, settle=lambda: go_on.wait(20) and None)
    hold(journal, entry(0), entry(1))
    with journal.holding([NewEntry(b"", [LARGE])]) as there_is_room:
        assert not there_is_room
    assert held(tmp_path) == [[entry(0)], [entry(1)]]
    go_on.set()
    wait_for(lambda: journal._free, what="the settlement")
    with journal.holding([NewEntry(b"", [LARGE])]) as there_is_room:
        assert there_is_room
    journal.close()


def test_a_file_system_without_direct_writes_is_written_through_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, flags = os.open, []

    def without(path: Path, flag: int, mode: int = 0o777) -> int:
        flags.append(flag)
        if flag & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(path, flag, mode)

    monkeypatch.setattr(os, "open", without)
    journal = make(tmp_path)
    hold(journal, entry(1))
    assert any(flag & os.O_DSYNC and not flag & os.O_DIRECT for flag in flags)
    assert held(tmp_path) == [[entry(1)]]


def test_entries_of_an_earlier_turn_are_not_taken_for_this_one(tmp_path: Path):
    journal = make(tmp_path, pages=6)
    hold(journal, *(entry(number) for number in range(4)))
    before = (tmp_path / "journal" / "here-0").read_bytes()
    hold(journal, entry(4))
    assert b"entry 1" in before
    assert b"entry 1" in (tmp_path / "journal" / "here-0").read_bytes()
    assert [entry(4)] in held(tmp_path)


def test_what_a_sender_puts_on_a_page_is_no_entry(tmp_path: Path):
    journal = make(tmp_path)
    hold(journal, entry(1))
    path = tmp_path / "journal" / "here-0"
    of_another_turn = path.read_bytes()[PAGE : 2 * PAGE]
    hold(make(tmp_path / "other"), Entry(b"outer", bytes(PAGE - 28 - 5) + of_another_turn))
    other = tmp_path / "other" / "journal" / "here-0"
    content = bytearray(other.read_bytes())
    content[PAGE] ^= 1  # the entry around it is no more
    other.write_bytes(content)
    assert content[2 * PAGE :].startswith(of_another_turn)
    assert not list(entries_of(other))


def test_a_file_that_was_forgotten_has_no_entries_whatever_a_sender_put_there(tmp_path: Path):
    """Its first page names no turn, and neither does this."""
    told, part10 = b"told", b"file"
    head = b"MCJ1" + bytes(8) + struct.pack("<II", len(told), len(part10))
    forged = head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head + told + part10)) + told + part10
    journal = make(tmp_path, pages=6)
    hold(journal, Entry(b"outer", bytes(PAGE - 28 - 5) + forged))
    (path,) = (tmp_path / "journal").iterdir()
    assert path.read_bytes()[2 * PAGE :].startswith(forged)
    hold(journal, entry(1), entry(2))  # the first file is settled meanwhile
    wait_for(lambda: not path.read_bytes().startswith(b"MCJ1"), what="the settlement")
    assert not list(entries_of(path))


@settings(max_examples=40, deadline=None)
@given(lost=st.sets(st.integers(1, 12)), noise=st.binary(min_size=1, max_size=64))
def test_pages_that_a_power_cut_took_take_no_other_entry_with_them(
    tmp_path_factory: pytest.TempPathFactory, lost: set[int], noise: bytes
):
    folder = tmp_path_factory.mktemp("torn")
    entries = [entry(number, os.urandom(5000 * (number % 3 + 1))) for number in range(5)]
    hold(make(folder, pages=16), *entries)
    path = folder / "journal" / "here-0"
    content, whole, place = bytearray(path.read_bytes()), [], 1
    for page in lost:
        content[page * PAGE : page * PAGE + len(noise)] = noise
    for each in entries:
        pages = range(place, place + (28 + len(each.told) + len(each.part10) - 1) // PAGE + 1)
        place = pages.stop
        if (
            content[pages.start * PAGE : pages.stop * PAGE]
            == path.read_bytes()[pages.start * PAGE : pages.stop * PAGE]
        ):
            whole.append(each)
    path.write_bytes(content)
    found = list(entries_of(path))
    assert set(whole) <= set(found)
    assert set(found) <= set(entries), "or its padding alone was lost"


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=9000))
def test_no_bytes_break_the_reading(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.mktemp("any") / "any"
    for begin in (b"", b"MCJ1" + bytes(8), b"MCJ1" + bytes(4092) + b"MCJ1" + bytes(8)):
        path.write_bytes(begin + content)
        assert not list(entries_of(path))
