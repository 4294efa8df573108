"""What was acknowledged survives `kill -9` at any moment, and nothing is half there."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import xxhash
from sqlalchemy import select

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.tables import InstanceRow
from node.data_set_digest import data_set_digest
from tests.reception.mammograms import encoded, mammogram, uid
from tests.reception.raw_callers import c_store, raw_caller
from tests.reception.senders import calling, send
from tests.reception.two_processes import peak_kb

KILLS = int(os.environ.get("MAMMOCALC_KILLS", "4"))
SENDERS = 4
MOST_IMAGES = 400
"""Of one sender between two kills: more than it can send."""
SOP_PLACE, STUDY_PLACE = f"2.25.1{38 * '0'}", f"2.25.2{38 * '0'}"
LARGE, SMALL = (
    encoded(mammogram("kill", side=side, SOPInstanceUID=SOP_PLACE, StudyInstanceUID=STUDY_PLACE))
    for side in (512, 180)
)
"""Half a megabyte, and 64 KB, which go into the journal first."""


@contextmanager
def receiving_process(
    data_dir: Path, url: str, survives: str = "power-cut"
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    program = [sys.executable, "-m", "tests.reception.receiving_process", str(data_dir), url, survives]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stdout:
                if found := re.fullmatch(r"port (\d+)\n", line):
                    yield process, int(found[1])
                    break
            else:
                pytest.fail("the receiving process did not start")
        finally:
            process.kill()


def data_set_of(study: str, number: int) -> tuple[str, bytes]:
    """The SOP Instance UID and the data set of one of a study's images; every other is small."""
    sop_instance_uid = sop_uid(study, number)
    encoded_image = (SMALL if number % 2 else LARGE).replace(SOP_PLACE.encode(), sop_instance_uid.encode())
    return sop_instance_uid, encoded_image.replace(STUDY_PLACE.encode(), study_uid(study).encode())


def same_length(one: str) -> str:
    """A UID of as many characters as every other, so that one may be written over another."""
    return f"{one}{len(SOP_PLACE) * '7'}"[: len(SOP_PLACE)]


def sop_uid(study: str, number: int) -> str:
    return same_length(uid(study, str(number)))


def study_uid(study: str) -> str:
    return same_length(uid(study))


def send_until_it_breaks(
    port: int, study: str, acknowledged: dict[str, str], enough: threading.Event
) -> None:
    """Send as fast as it goes, and note what was answered with success."""
    with suppress(OSError, AssertionError), raw_caller(port) as caller:
        assert caller.associate() == 2
        for number in range(MOST_IMAGES):
            sop_instance_uid, data_set = data_set_of(study, number)
            caller.socket.sendall(c_store(sop_instance_uid, data_set, size=128 << 10))
            assert caller.status() == 0
            acknowledged[sop_instance_uid] = xxhash.xxh3_128(data_set).hexdigest()
            if number == 2:
                enough.set()


@pytest.mark.timeout(120 + 10 * KILLS)
def test_every_acknowledged_instance_is_there_after_kill_9(tmp_path: Path):
    """MAMMOCALC_KILLS=100 kills as often, over one store."""
    data_dir, url = tmp_path / "data", f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    acknowledged: dict[str, str] = {}
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    for kill in range(KILLS):
        studies = [f"kill-{kill}-{sender}" for sender in range(SENDERS)]
        with receiving_process(data_dir, url) as (process, port):
            assert not list((data_dir / "incoming").iterdir()), "swept at the start"
            enough = threading.Event()
            senders = [
                threading.Thread(target=send_until_it_breaks, args=(port, study, acknowledged, enough))
                for study in studies
            ]
            for sender in senders:
                sender.start()
            assert enough.wait(60)
            threading.Event().wait(chance.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            for sender in senders:
                sender.join(60)
    assert len(acknowledged) > 3 * KILLS
    with receiving_process(data_dir, url) as (_, port):
        assert not list((data_dir / "incoming").iterdir())
        stored = check_the_store(data_dir, url, acknowledged)
        with raw_caller(port) as caller:
            assert caller.associate() == 2
            caller.socket.sendall(c_store(*data_set_of("after", 1)))
            assert caller.status() == 0
    sys.stderr.write(
        f"{KILLS} kills, seed {seed}: {len(acknowledged)} acknowledged, {stored} files, all whole\n"
    )


def check_the_store(data_dir: Path, url: str, acknowledged: dict[str, str]) -> int:
    """Every acknowledged instance is in the ledger and on the disk, whole; so is every other file there is."""
    ledger = Ledger(url)
    with ledger.read() as session:
        rows = {row.sop_instance_uid: row for row in session.scalars(select(InstanceRow))}
    ledger.close()
    assert acknowledged.keys() <= rows.keys()
    for sop_instance_uid, row in rows.items():
        kept = data_set_digest(data_dir / row.path)
        assert acknowledged.get(sop_instance_uid, kept) == kept
    sent = {
        sop_uid(f"kill-{kill}-{sender}", number): (f"kill-{kill}-{sender}", number)
        for kill in range(KILLS)
        for sender in range(SENDERS)
        for number in range(MOST_IMAGES)
    }
    files = list((data_dir / "studies").rglob("*.dcm"))
    for path in files:
        _, data_set = data_set_of(*sent[path.stem])
        assert path.read_bytes().endswith(data_set), "half a file"
    return len(files)


def test_a_large_object_does_not_sit_in_memory(tmp_path: Path):
    data_dir, url = tmp_path / "data", f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    with receiving_process(data_dir, url) as (process, port), calling(port) as conversation:
        send(conversation, mammogram("memory", "L CC"))
        before = peak_kb(process.pid)
        large = mammogram("memory", "R CC", side=8000)
        assert send(conversation, large).Status == 0x0000
        assert peak_kb(process.pid) - before < 24 << 10, "128 MB came by"
