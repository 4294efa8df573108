"""A file of an answer is whole, or not there."""

import os
import resource
from pathlib import Path

import pytest

from node.durable_files import write_durably, write_whole


def test_a_file_that_the_disk_does_not_take_leaves_the_old_one_and_nothing_else(tmp_path: Path):
    path = tmp_path / "report.txt"
    write_durably(path, b"first")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_durably(path, bytes(8192))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [each.name for each in tmp_path.iterdir()] == ["report.txt"]
    assert path.read_bytes() == b"first"


def test_what_is_written_durably_is_on_the_disk_before_its_name_and_then_that_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real, synced = os.fsync, []

    def note(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().suffix, (tmp_path / "a").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_durably(tmp_path / "a", b"content")
    assert synced == [(".part", False), ("", True)]
    write_whole(tmp_path / "b", b"content", sync=False)
    assert len(synced) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
