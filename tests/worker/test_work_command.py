"""`mammocalc work`, as a person or a supervisor starts it: with the real reader, or a sentence why not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mammography.finding import ReadStatus
from mammography.ledger.doorbell import Doorbell
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import assessment_of
from mammography.ledger.schema import upgrade
from mammography.ledger.studies import (
    ArrivedInstance,
    expire_leases,
    history_of,
    record_instance,
    study,
)
from mammography.study import StudyEvent, StudyState
from tests.ledger.given import complete
from tests.reception.mammograms import mammogram, uid, with_meta
from tests.servers import RedisServer, wait_for
from worker.app import now

SIDE = 1600
STUDY = uid("worker")
VIEWS = ("R CC", "L CC", "R MLO", "L MLO")


class Installation:
    """A folder with a settings file, a data folder and a ledger, whose worker is `mammocalc work`."""

    def __init__(self, folder: Path, queue_url: str) -> None:
        self.folder, self.data_dir = folder, folder / "var"
        self.ledger_url = f"sqlite:///{folder}/var/ledger.db"
        self.config = folder / "mammocalc.toml"
        self.config.write_text(
            f'[node]\nae_title = "MAMMOCALC"\ndata_dir = "{self.data_dir}"\n'
            f'[ledger]\nurl = "{self.ledger_url}"\n[queue]\nurl = "{queue_url}"\n[reader]\nlease = "PT2S"\n'
            "[console]\nport = 8081\n"
        )
        self.workers: list[subprocess.Popen[str]] = []

    def work(self) -> subprocess.Popen[str]:
        """Start a worker."""
        command = [sys.executable, "-m", "mammography", "work", "--config", str(self.config)]
        environment = {name: value for name, value in os.environ.items() if "MAMMOCALC" not in name}
        worker = subprocess.Popen(
            command, cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        self.workers.append(worker)
        return worker

    def refused(self) -> str:
        """Return the sentence with which a worker does not start."""
        worker = self.work()
        _, sentence = worker.communicate(timeout=60)
        assert worker.returncode == 2
        return sentence


@pytest.fixture
def installation(tmp_path: Path, redis_url: str) -> Iterator[Installation]:
    made = Installation(tmp_path, redis_url)
    yield made
    for worker in made.workers:
        worker.kill()
        worker.communicate()


def breast(view: str) -> Dataset:
    """Return a mammogram with a breast in it and nothing to find."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    across = columns if view.startswith("L") else SIDE - 1 - columns
    depth = np.hypot(across / (SIDE * 0.8), (rows - SIDE / 2) / (SIDE * 0.45))
    noise = np.random.default_rng(7).normal(0, 12, (SIDE, SIDE))
    waves = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)) + 1 / SIDE
    texture = np.fft.irfft2(
        np.fft.rfft2(noise) * waves**-1.4
    )  # a breast's power falls as f to the -2.8 (Burgess 2001)
    pixels = np.where(depth < 1, 2200 - 600 * depth + texture * (150 / texture.std()) + noise, 20).astype(
        "<u2"
    )
    return mammogram(
        "worker",
        view,
        side=SIDE,
        pixels=pixels.tobytes(),
        BitsStored=12,
        HighBit=11,
        ImagerPixelSpacing=[0.07, 0.07],
        WindowCenter=2000,
        WindowWidth=4000,
    )


def arrive(installation: Installation) -> Ledger:
    """Let a study of four views be stored and complete."""
    upgrade(installation.ledger_url)
    ledger = Ledger(installation.ledger_url)
    with ledger.begin() as session:
        for view in VIEWS:
            image = with_meta(breast(view))
            path = Path("images") / f"{image.SOPInstanceUID}.dcm"
            (installation.data_dir / path).parent.mkdir(exist_ok=True)
            image.save_as(installation.data_dir / path, enforce_file_format=True)
            record_instance(
                session,
                ArrivedInstance(
                    sop_instance_uid=image.SOPInstanceUID,
                    study_instance_uid=STUDY,
                    series_instance_uid=image.SeriesInstanceUID,
                    sop_class_uid=image.SOPClassUID,
                    transfer_syntax_uid=image.file_meta.TransferSyntaxUID,
                    modality="MG",
                    path=str(path),
                    bytes=SIDE * SIDE * 2,
                    digest="0" * 32,
                    calling_ae_title="MODALITY1",
                    received_at=now(),
                ),
            )
        complete(session, STUDY, now=now())
    return ledger


def state_of(ledger: Ledger) -> StudyState:
    with ledger.read() as session:
        row = study(session, STUDY)
    assert row is not None
    return row.state


def test_without_a_shared_queue_the_worker_says_where_it_is(installation: Installation) -> None:
    installation.config.write_text('[queue]\nurl = "embedded"\n')
    assert 'The embedded queue lives inside "mammocalc up"' in installation.refused()


def test_without_the_data_folder_the_worker_says_so(installation: Installation) -> None:
    assert f"There is no data folder {installation.data_dir}" in installation.refused()


def test_without_tables_the_worker_says_what_makes_them(installation: Installation) -> None:
    installation.data_dir.mkdir()
    assert "The ledger has no tables yet" in installation.refused()


def test_without_a_ledger_the_worker_says_so(installation: Installation) -> None:
    installation.data_dir.mkdir()
    settings = installation.config.read_text()
    away = "postgresql+psycopg://mammocalc@127.0.0.1:1/mammocalc"
    installation.config.write_text(settings.replace(installation.ledger_url, away))
    assert installation.refused().startswith("The ledger cannot be reached: ")


def test_without_weights_the_worker_says_so(installation: Installation) -> None:
    upgrade(installation.ledger_url)
    settings = installation.config.read_text()
    installation.config.write_text(
        settings.replace("[reader]\n", f'[reader]\nweights = "{installation.folder}"\n')
    )
    sentence = installation.refused()
    assert str(installation.folder) in sentence
    assert "Traceback" not in sentence


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_leaves_one_reading_to_the_next(
    installation: Installation, redis_server: RedisServer
) -> None:
    ledger, doorbell = arrive(installation), Doorbell(redis_server.url)
    first = installation.work()
    doorbell.ring(STUDY)
    wait_for(lambda: state_of(ledger) == StudyState.READING, seconds=90, what="the claim")
    first.send_signal(signal.SIGKILL)
    assert first.wait(10) == -signal.SIGKILL
    assert state_of(ledger) == StudyState.READING

    def swept() -> bool:
        with ledger.begin() as session:
            return expire_leases(session, now=now()) == [STUDY]

    wait_for(swept, what="the lease's end")
    second = installation.work()
    doorbell.ring(STUDY)
    wait_for(lambda: state_of(ledger) == StudyState.READ, seconds=120, what="the reading")
    second.terminate()
    assert second.wait(20) == 0
    with ledger.read() as session:
        assessment = assessment_of(session, STUDY, 1)
        events = [line.event for line in history_of(session, STUDY)]
    assert assessment is not None
    assert [image.status for image in assessment.images] == [ReadStatus.READ] * 4
    assert events[-4:] == [
        StudyEvent.CLAIMED,
        StudyEvent.LEASE_EXPIRED,
        StudyEvent.CLAIMED,
        StudyEvent.ASSESSED,
    ]
    doorbell.close()
    ledger.close()
