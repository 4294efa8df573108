"""The table of faults names tests that there are."""

import re
from pathlib import Path

TABLE = Path("docs/faults.md").read_text()


def test_every_test_that_the_table_of_faults_names_is_there():
    named = re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", TABLE)
    assert len(named) > 25
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (Path("tests") / file).is_file() or f"def {name}(" not in (Path("tests") / file).read_text()
    ]
    assert not missing


def test_every_row_of_the_table_of_faults_names_a_test():
    rows = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) > 20
    assert [row for row in rows if "::test_" not in row] == []
