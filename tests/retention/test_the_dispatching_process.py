"""The role that does all this: a real process, killed and started again."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mammography.ledger.alarms import AlarmKind, alarms
from mammography.study import StudyState
from tests.reception.mammograms import uid
from tests.retention.conftest import Store
from tests.servers import wait_for

ANSWERED = datetime.now(UTC) - timedelta(days=8)


@pytest.fixture
def settings(store: Store, ledger_url: str, tmp_path: Path) -> Path:
    file = tmp_path / "mammocalc.toml"
    file.write_text(
        f'[node]\ndata_dir = "{store.data_dir}"\n[ledger]\nurl = "{ledger_url}"\n'
        '[queue]\nurl = "redis://127.0.0.1:1/0"\n[retention]\nimages = "P7D"\n'
    )
    return file


@contextmanager
def dispatching(settings: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = [sys.executable, "-m", "mammography", "dispatch", "--config", str(settings)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_old_images_go_lost_ones_are_told_of_and_young_ones_stay(store: Store, settings: Path):
    store.answered("old", now=ANSWERED)
    store.answered("young", now=ANSWERED + timedelta(days=2))
    store.answered("lost", now=ANSWERED + timedelta(days=2))
    (store.folder("lost") / f"{uid('lost', 'L CC')}.dcm").unlink()
    with dispatching(settings) as process:
        wait_for(lambda: not store.files("old"), seconds=30, what="the deletion")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with dispatching(settings) as process:

        def told() -> bool:
            with store.ledger.read() as session:
                return [(row.kind, row.subject) for row in alarms(session)] == [
                    (AlarmKind.IMAGE_LOST, uid("lost"))
                ]

        wait_for(told, seconds=30, what="the alarm")
        process.terminate()
        assert process.wait(30) in (
            0,
            -signal.SIGTERM,
        )  # the first process may have told before it was killed
    assert len(store.files("young")) == 4
    assert store.row("old").state is StudyState.COMMITTED
