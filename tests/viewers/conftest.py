"""The study that all viewers show, and what the node answers to it."""

import fcntl
import os
import shutil

import pytest

from lab.demo.orthanc import orthanc_program
from tests.viewers.delivered import Delivered, deliver
from tests.viewers.shown_study import ShownStudy, draw


@pytest.fixture(scope="session")
def shown_study(tmp_path_factory: pytest.TempPathFactory) -> ShownStudy:
    """Four views with a square in each corner, on disk, and what an assessment says of them."""
    return draw(tmp_path_factory.mktemp("shown"))


@pytest.fixture(scope="session")
def delivered(shown_study: ShownStudy, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """What one run of the node answered to it, shared by all processes that run tests."""
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    if shutil.which("storescu") is None:
        pytest.skip("dcmtk is not installed: `apt-get install dcmtk` brings storescu.")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "delivered"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "answer").exists():
            shutil.rmtree(folder, ignore_errors=True)
            deliver(folder, shown_study)
    return Delivered.read(folder, shown_study)
