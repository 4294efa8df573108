"""What was acknowledged survives `kill -9` at any moment, and nothing is half there."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import xxhash

from mammography.ledger.engine import Ledger
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import instances_of
from node.reception import data_set_digest
from node.requestor import NoAssociation
from tests.reception.mammograms import encoded, mammogram, uid
from tests.reception.senders import calling, send

STUDIES = ("kill-1", "kill-2", "kill-3", "kill-4")


@contextmanager
def receiving_process(data_dir: Path, url: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    program = [sys.executable, "-m", "tests.reception.receiving_process", str(data_dir), url]
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


def images_of(study: str) -> Iterator[tuple[str, bytes]]:
    for number in range(200):
        image = mammogram(study, side=96, SOPInstanceUID=uid(study, str(number)))
        yield image.SOPInstanceUID, encoded(image)


def send_until_it_breaks(
    port: int, study: str, acknowledged: dict[str, str], enough: threading.Event
) -> None:
    try:
        with calling(port) as conversation:
            for number in range(200):
                image = mammogram(study, side=96, SOPInstanceUID=uid(study, str(number)))
                if send(conversation, image).Status == 0x0000:
                    acknowledged[image.SOPInstanceUID] = xxhash.xxh3_128(encoded(image)).hexdigest()
                if number == 8:
                    enough.set()
    except (ConnectionError, RuntimeError, ValueError, NoAssociation):
        pass  # it was killed in the middle


@pytest.mark.parametrize("moment_ms", [0, 7, 40])
def test_every_acknowledged_instance_is_there_after_kill_9(tmp_path: Path, moment_ms: int):
    data_dir, url = tmp_path / "data", f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    acknowledged: dict[str, str] = {}
    with receiving_process(data_dir, url) as (process, port):
        enough = threading.Event()
        senders = [
            threading.Thread(target=send_until_it_breaks, args=(port, study, acknowledged, enough))
            for study in STUDIES
        ]
        for sender in senders:
            sender.start()
        assert enough.wait(60)
        threading.Event().wait(moment_ms / 1000)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        for sender in senders:
            sender.join(90)
    assert 8 < len(acknowledged) < 200 * len(STUDIES)

    with receiving_process(data_dir, url) as (_, port):
        assert not list((data_dir / "incoming").iterdir())
        check_the_store(data_dir, url, acknowledged)
        with calling(port) as conversation:
            again = mammogram(STUDIES[0], side=96, SOPInstanceUID=uid(STUDIES[0], "199"))
            assert send(conversation, again).Status == 0x0000


def check_the_store(data_dir: Path, url: str, acknowledged: dict[str, str]) -> None:
    ledger = Ledger(url)
    with ledger.read() as session:
        rows = {row.sop_instance_uid: row for study in STUDIES for row in instances_of(session, uid(study))}
    ledger.close()
    assert acknowledged.keys() <= rows.keys()
    for sop_instance_uid, row in rows.items():
        assert data_set_digest(data_dir / row.path) == row.digest
        assert acknowledged.get(sop_instance_uid, row.digest) == row.digest
    whole = {one: data_set for study in STUDIES for one, data_set in images_of(study)}
    for path in (data_dir / "studies").rglob("*.dcm"):
        assert data_set_digest(path) == xxhash.xxh3_128(whole[path.stem]).hexdigest(), "half a file"


def test_a_large_object_does_not_sit_in_memory(tmp_path: Path):
    data_dir, url = tmp_path / "data", f"sqlite:///{tmp_path}/ledger.db"
    upgrade(url)
    with receiving_process(data_dir, url) as (process, port), calling(port) as conversation:
        send(conversation, mammogram("memory", "L CC"))
        before = peak_memory(process.pid)
        large = mammogram("memory", "R CC", side=8000)
        assert send(conversation, large).Status == 0x0000
        assert peak_memory(process.pid) - before < 24 << 20, "128 MB came by"


def peak_memory(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
