"""What was acknowledged survives a power cut: the disk is as it was at that moment, and what only memory had is gone.

The disk is a file that is mounted (needs root and loop devices). At a moment of a full-speed load the receiver is stopped and the file is
copied: what the kernel had not written yet is not in the copy. The copy is checked as after a power cut, and mounted in its place.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import xxhash
from sqlalchemy import select

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.tables import InstanceRow
from node.data_set_digest import data_set_digest
from tests.reception.mammograms import encoded, mammogram
from tests.reception.raw_callers import c_store, raw_caller
from tests.reception.test_a_killed_receiver import (
    SOP_PLACE,
    STUDY_PLACE,
    receiving_process,
    sop_uid,
    study_uid,
)
from tests.reception.two_processes import annex_of
from tests.servers import wait_for

CUTS = int(os.environ.get("MAMMOCALC_POWER_CUTS", "1"))
DISK_BYTES = 1 << 30
SIDES = (180, 180, 180, 512)
"""Of the mammograms of each sender: 64 KB, which go into the journal, and half a megabyte."""
MOST_IMAGES = 2000

MEMORY = Path("/dev/shm")


class Disk:
    """A file with a file system that is mounted at a folder."""

    def __init__(self, folder: Path, *, data: str) -> None:
        self.image, self.root = folder / "disk", folder / "mounted"
        self.root.mkdir(parents=True)
        with self.image.open("wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", self.image)
        self._options = f"loop,data={data},commit=300"  # not by itself while it is copied

    @contextmanager
    def mounted(self) -> Iterator[None]:
        run("mount", "-o", self._options, self.image, self.root)
        try:
            yield
        finally:
            wait_for(self._unmounted, what="the end of whoever uses the disk")

    def _unmounted(self) -> bool:
        """The receiver's second process ends a moment after the first."""
        return not subprocess.run(["umount", self.root], check=False, stderr=subprocess.DEVNULL).returncode

    def at_this_moment(self) -> Path:
        """What is on the disk itself."""
        copy = self.image.with_suffix(".copy")
        run("cp", "--sparse=always", self.image, copy)
        return copy

    def become(self, copy: Path) -> None:
        copy.replace(self.image)
        checked = subprocess.run(["fsck.ext4", "-fy", self.image], check=False, stdout=subprocess.DEVNULL)
        assert checked.returncode in {0, 1}, "it is as it was, or was put right"


def run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, timeout=60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where there is enough: what the disk itself is made of need not wait for another disk."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 * DISK_BYTES
    with TemporaryDirectory(dir=MEMORY if roomy else None) as name:
        try:
            with Disk(Path(name) / "trial", data="ordered").mounted():
                pass
        except (OSError, subprocess.CalledProcessError) as refused:
            pytest.skip(f"mounting a disk of its own needs root, loop devices and mkfs.ext4: {refused}")
        yield Path(name)


def template(side: int) -> bytes:
    return encoded(mammogram("cut", side=side, SOPInstanceUID=SOP_PLACE, StudyInstanceUID=STUDY_PLACE))


def send_until_it_breaks(
    port: int, study: str, encoded_once: bytes, acknowledged: dict[str, str], enough: threading.Event
) -> None:
    """Send as fast as it goes, and note what was answered with success."""
    of_study = encoded_once.replace(STUDY_PLACE.encode(), study_uid(study).encode())
    with suppress(OSError, AssertionError), raw_caller(port) as caller:
        assert caller.associate() == 2
        for number in range(MOST_IMAGES):
            sop_instance_uid = sop_uid(study, number)
            data_set = of_study.replace(SOP_PLACE.encode(), sop_instance_uid.encode())
            caller.socket.sendall(c_store(sop_instance_uid, data_set, size=128 << 10))
            assert caller.status() == 0
            acknowledged[sop_instance_uid] = xxhash.xxh3_128(data_set).hexdigest()
            if number == 5:
                enough.set()


def stop(*pids: int) -> None:
    """Stop processes, and wait for what their threads have asked of the system: a copy is not made in a moment."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    wait_for(
        lambda: all((task / "stat").read_text().rpartition(") ")[2].startswith("T") for task in tasks),
        what="the last calls to the system",
    )


def cut_the_power(disk: Disk, seconds: float, survives: str) -> dict[str, str]:
    """Receive at full speed and lose the power; return the digests of what was acknowledged by then."""
    acknowledged: dict[str, str] = {}
    data_dir, url = disk.root / "data", f"sqlite:///{disk.root}/ledger.db"
    templates = {side: template(side) for side in SIDES}
    with disk.mounted():
        upgrade(url)
        with receiving_process(data_dir, url, survives) as (process, port):
            enough = threading.Event()
            senders = [
                threading.Thread(
                    target=send_until_it_breaks,
                    args=(port, f"cut-{number}", templates[side], acknowledged, enough),
                )
                for number, side in enumerate(SIDES)
            ]
            for sender in senders:
                sender.start()
            assert enough.wait(60)
            threading.Event().wait(seconds)
            promised = dict(acknowledged)
            stop(annex_of(process.pid), process.pid)
            copy = disk.at_this_moment()
            os.kill(annex_of(process.pid), signal.SIGKILL)
            process.kill()
            process.wait(10)
            for sender in senders:
                sender.join(60)
    disk.become(copy)
    return promised


def whole(disk: Disk, promised: dict[str, str], survives: str) -> tuple[set[str], set[str]]:
    """Which of the promised instances are in the ledger and whole: on the disk as it was left, and once a receiver has started anew."""
    data_dir, url = disk.root / "data", f"sqlite:///{disk.root}/ledger.db"
    with disk.mounted():
        before = whole_now(data_dir, url, promised)
        with receiving_process(data_dir, url, survives):
            return before, whole_now(data_dir, url, promised)


def whole_now(data_dir: Path, url: str, promised: dict[str, str]) -> set[str]:
    ledger = Ledger(url)
    with ledger.read() as session:
        paths = {row.sop_instance_uid: data_dir / row.path for row in session.scalars(select(InstanceRow))}
    ledger.close()
    return {
        one
        for one, digest in promised.items()
        if one in paths and paths[one].is_file() and data_set_digest(paths[one]) == digest
    }


@pytest.mark.timeout(120 + 30 * CUTS)
@pytest.mark.parametrize("data", ["ordered", "writeback"])
def test_every_acknowledged_instance_is_there_after_a_power_cut(folder: Path, data: str):
    """MAMMOCALC_POWER_CUTS=20 cuts as often. With "writeback", names may be on the disk before their bytes (ext4(5))."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance, acknowledged, put_back = random.Random(seed), 0, 0
    for cut in range(CUTS):
        disk = Disk(folder / str(cut), data=data)
        promised = cut_the_power(disk, chance.uniform(0, 2), "power-cut")
        before, after = whole(disk, promised, "power-cut")
        assert len(promised) > 5
        assert after == promised.keys(), f"seed {seed}, cut {cut}: {len(after)} of {len(promised)}"
        acknowledged, put_back = acknowledged + len(promised), put_back + len(after - before)
        disk.image.unlink()
    sys.stderr.write(
        f"{CUTS} power cuts, data={data}, seed {seed}: {acknowledged} acknowledged, all whole, {put_back} from the journal\n"
    )


def test_what_is_to_survive_a_kill_alone_does_not_survive_a_power_cut(folder: Path):
    """Or else nothing was cut here."""
    disk = Disk(folder / "kill", data="ordered")
    promised = cut_the_power(disk, 0.5, "kill")
    _, after = whole(disk, promised, "kill")
    assert after < promised.keys()
