"""A file of an answer is whole, or not there."""

import resource
from pathlib import Path

import pytest

from node.durable_files import write_durably


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
