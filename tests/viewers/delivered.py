"""What the running node answers to the shown study, as a real Orthanc has it."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pydicom
from pydicom.dataset import Dataset

from lab.demo.free_ports import free_port
from lab.demo.orthanc import Orthanc
from mammography.study import StudyState
from tests.journeys.answers import CAD_SR, GSPS, outlines_in_gsps
from tests.journeys.running_node import RunningNode
from tests.viewers.shown_study import Outline, ShownStudy

TID_1500 = "1.2.840.10008.5.1.4.1.1.88.33"
MODALITY = "MODALITY1"
ANSWERED = {StudyState.COMMITTED, StudyState.FAILED, StudyState.UNREADABLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The PACS's folder, the files of what the node stored in it, and the outlines on each view by the GSPS."""

    pacs: Path
    report: Path
    states: Mapping[str, Path]
    measurements: Path
    outlines: Mapping[str, tuple[Outline, ...]]

    @classmethod
    def read(cls, folder: Path, study: ShownStudy) -> Self:
        """Read it from the folder that `deliver` filled."""
        files: dict[str, list[tuple[Path, Dataset]]] = {}
        for file in sorted((folder / "answer").iterdir()):
            dataset = pydicom.dcmread(file)
            files.setdefault(str(dataset.SOPClassUID), []).append((file, dataset))
        (report, _), (measurements, _) = files[CAD_SR][0], files[TID_1500][0]
        states = [state for _, state in files[GSPS]]
        found = outlines_in_gsps(states)
        return cls(
            pacs=folder / "pacs",
            report=report,
            measurements=measurements,
            states={study.view_of(image_of(state)): file for file, state in files[GSPS]},
            outlines={
                view: tuple(
                    tuple((point.column, point.row) for point in outline)
                    for outline in found.get(image.SOPInstanceUID, [])
                )
                for view, image in study.images.items()
            },
        )


def image_of(state: Dataset) -> str:
    """Return the SOP Instance UID of the image that a presentation state is about."""
    series = state.ReferencedSeriesSequence[0]
    return str(series.ReferencedImageSequence[0].ReferencedSOPInstanceUID)


def deliver(folder: Path, study: ShownStudy) -> None:
    """Send a study to a running node and to the PACS of that node, and keep what the node stored there."""
    files = list(study.files.values())
    pacs = Orthanc(folder=folder / "pacs", dicom_port=free_port())
    (folder / "node").mkdir(parents=True)
    node = RunningNode(
        folder / "node", pacs_port=pacs.dicom_port, objects='["cad-sr", "gsps", "tid1500"]', lease="PT120S"
    )
    pacs.modalities = {"MAMMOCALC": node.port, MODALITY: free_port()}
    with pacs:
        node.start()
        try:
            store(files, called=pacs.ae_title, port=pacs.dicom_port)
            store(files, called="MAMMOCALC", port=node.port)
            row = node.wait_for(study.study_instance_uid, ANSWERED, seconds=200)
            assert row.state is StudyState.COMMITTED, row.reason
        finally:
            node.stop()
        images = {image.SOPInstanceUID for image in study.images.values()}
        (folder / "part").mkdir()
        for uid in set(pacs.instances()) - images:
            (folder / "part" / f"{uid}.dcm").write_bytes(pacs.file_of(uid))
    (folder / "part").rename(folder / "answer")


def store(files: Sequence[Path], *, called: str, port: int) -> None:
    """Store files with dcmtk's storescu, as a modality does."""
    to = ["-R", "-aet", MODALITY, "-aec", called, "127.0.0.1", str(port)]
    subprocess.run(["storescu", *to, *files], check=True, capture_output=True, timeout=120)
