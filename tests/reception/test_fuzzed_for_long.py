"""Two minutes of calls that are almost lawful, or an hour: MAMMOCALC_FUZZ_SECONDS=3600, or `make fuzz`."""

import logging
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammography.ledger.schema import upgrade
from tests.reception.fuzzing import Fuzzing
from tests.reception.test_a_killed_receiver import receiving_process
from tests.reception.two_processes import descriptors, resident_kb
from tests.servers import wait_for

SECONDS = float(os.environ.get("MAMMOCALC_FUZZ_SECONDS", "120"))
MOST_GROWTH_KB = 60_000
"""Of resident memory after the first calls: threads keep their arenas, and an association its 2 MB for a moment."""


@pytest.fixture
def quiet_parsers() -> Iterator[None]:
    """Pytest keeps every record of a log: millions of them in an hour stop this process for seconds at a time."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.usefixtures("quiet_parsers")
def test_nothing_that_is_almost_lawful_hurts_the_node(tmp_path: Path):
    data_dir, url = tmp_path / "data", f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    seed = random.SystemRandom().randrange(1 << 32)
    with receiving_process(data_dir, url) as (process, port):
        Fuzzing(port=port, seconds=min(10, SECONDS / 4), seed=1).run(lambda: "")
        at_first, held = resident_kb(process.pid), descriptors(process.pid)

        def still_well() -> str:
            if process.poll() is not None:
                return f"the process ended with {process.returncode}"
            if (grown := resident_kb(process.pid) - at_first) > MOST_GROWTH_KB:
                return f"it holds {grown} KB more than at first"
            return ""

        fuzzing = Fuzzing(port=port, seconds=SECONDS, seed=seed)
        fuzzing.run(still_well)
        sys.stderr.write(
            f"fuzzed for {SECONDS:g} s, seed {seed}: {fuzzing.calls} calls, {fuzzing.parsed} parses, "
            f"slowest echo {fuzzing.slowest_echo:.2f} s, memory {at_first} to {resident_kb(process.pid)} KB\n"
        )
        assert not fuzzing.faults, f"seed {seed}"
        assert fuzzing.slowest_echo < 5
        wait_for(lambda: descriptors(process.pid) <= held + 2, seconds=90, what="the end of every descriptor")
        wait_for(lambda: not list((data_dir / "incoming").iterdir()), what="the end of half files")
        assert process.poll() is None
