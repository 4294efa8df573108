"""A synthetic study, a node and a PACS for each journey."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.demo.free_ports import free_port
from lab.demo.orthanc import Orthanc, orthanc_program
from tests.journeys.running_node import RunningNode


class PhantomStudy:
    """A four-view study on disk, with its truth."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.truth = json.loads((folder / "truth.json").read_text())
        self.files = sorted(folder.glob("*.dcm"))

    @property
    def study_instance_uid(self) -> str:
        return self.truth["study_instance_uid"]

    def send(self, port: int, files: list[Path] | None = None) -> subprocess.CompletedProcess[str]:
        """Send it with dcmtk's storescu, as a modality does: one association."""
        return subprocess.run(
            [
                "storescu",
                "-aet",
                "MODALITY1",
                "-aec",
                "MAMMOCALC",
                "127.0.0.1",
                str(port),
                *map(str, files or self.files),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    """An easy study of four views, drawn once; its clusters are small, as PixelMed takes seconds a speck."""
    if not shutil.which("storescu"):
        pytest.skip("dcmtk is not installed: `apt-get install dcmtk` brings storescu.")
    from lab.phantom.commands import write_study

    folder = tmp_path_factory.mktemp("phantom") / "study"
    write_study(folder, seed=79, easy=True)
    return PhantomStudy(folder)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A real Orthanc that is not started yet, because it has to know the node's port."""
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    pacs = Orthanc(folder=tmp_path / "orthanc", dicom_port=free_port())
    yield pacs
    pacs.stop()


@pytest.fixture
def node(tmp_path: Path, orthanc: Orthanc) -> Iterator[RunningNode]:
    """A node whose answers go to that Orthanc; both run."""
    running = RunningNode(tmp_path, pacs_port=orthanc.dicom_port)
    orthanc.modalities = {"MAMMOCALC": running.port}
    orthanc.start()
    running.start()
    yield running
    running.stop()
