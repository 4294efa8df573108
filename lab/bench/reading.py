"""How long a study takes from files to findings, beside the network alone and beside other decoders."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pydicom
from pydicom.pixels import pixel_array

from lab.bench.measuring import Cost, peak_memory_gb, taking_turns
from lab.phantom.dicom import to_dicom
from lab.phantom.study import draw_study
from mammography.mammogram import open_mammogram
from mammography.reader.detection import maps_of
from mammography.reader.fusion import placed
from mammography.reader.pipeline import side_by_side
from mammography.reader.preprocessing import Prepared
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights

SYNTAXES = {"explicit": "uncompressed", "jpegls": "JPEG-LS", "jpeg2000": "JPEG 2000", "jpeg": "JPEG Lossless"}
"""The folders of one study in several transfer syntaxes, and what they are called; all are lossless."""
LARGEST_RATIO, LONGEST_SECONDS, MOST_MEMORY_GB = 1.35, 12.0, 1.5
"""The demands: a study in units of the network alone; four views on two free processors; resident memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingSpeed:
    """What reading one study took. `study`: from files to findings, `network`: its forward passes alone.

    `parts`: processor seconds of decoding, preparing, the network and the rest. `decoding`:
    by transfer syntax and decoder, for all images; ours, pydicom's, and dcmtk's where it is installed.
    """

    images: int
    findings: int
    rounds: int
    study: Cost
    network: Cost
    parts: dict[str, float]
    decoding: dict[str, dict[str, Cost]]
    memory_gb: float

    @property
    def ratio(self) -> float:
        """Processor seconds of the study in units of those of the network alone."""
        return self.study.cpu_seconds / self.network.cpu_seconds


def write_study(folder: Path, seed: int) -> Iterator[Path]:
    """Write the four views of a synthetic study, 3328 by 2560 pixels each, in every syntax; yield each view.

    JPEG Lossless is there where dcmtk's dcmcjpeg is installed.
    """
    for number, scene in enumerate(
        draw_study(seed, easy=False, rows=3328, columns=2560, spacing_mm=0.07), start=1
    ):
        for syntax in ("explicit", "jpegls", "jpeg2000"):
            path = folder / syntax / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            to_dicom(scene, seed=seed, syntax=syntax).save_as(path, enforce_file_format=True)
        plain, lossless = folder / "explicit" / f"{number}.dcm", folder / "jpeg" / f"{number}.dcm"
        if shutil.which("dcmcjpeg"):
            lossless.parent.mkdir(exist_ok=True)
            subprocess.run(["dcmcjpeg", str(plain), str(lossless)], check=True, capture_output=True)
        yield plain


def _pieces_of_work(folder: Path, reader: Reader) -> dict[str, Callable[[], object]]:
    """Return what is measured on the study in a folder, by name; a decoder's name is "decode SYNTAX DECODER"."""
    files = _files(folder, "explicit")
    network = placed(open_weights(SHIPPED_WEIGHTS).network, reader.hardware)
    prepared = [reader.prepared(open_mammogram(file)) for file in files]

    def opened(file: Path) -> None:
        open_mammogram(file)

    def ready(file: Path) -> None:
        reader.prepared(open_mammogram(file))

    def seen(image: Prepared) -> None:
        maps_of(network, image.image).center.cpu()  # a GPU answers later than it is asked

    pieces: dict[str, Callable[[], object]] = {
        "study": lambda: reader.read_study(files, read_at=datetime.now(UTC)),
        "network": lambda: list(side_by_side(seen, prepared, reader.hardware)),
        "opened": lambda: list(side_by_side(opened, files, reader.hardware)),
        "prepared": lambda: list(side_by_side(ready, files, reader.hardware)),
    }
    for syntax in SYNTAXES:
        pieces |= _decoders(_files(folder, syntax), syntax, folder / "decoded.dcm")
    return pieces


def _decoders(files: list[Path], syntax: str, decoded: Path) -> dict[str, Callable[[], object]]:
    """Return our decoder and its peers for the files of one syntax; none where there are no files."""
    if not files:
        return {}
    pieces: dict[str, Callable[[], object]] = {
        f"decode {syntax} ours": lambda: [open_mammogram(file) for file in files],
        f"decode {syntax} pydicom": lambda: [pixel_array(pydicom.dcmread(file), raw=True) for file in files],
    }
    program = {"jpeg": "dcmdjpeg", "jpegls": "dcmdjpls"}.get(syntax, "")
    if shutil.which(program):
        pieces[f"decode {syntax} dcmtk"] = lambda: [
            subprocess.run([program, str(file), str(decoded)], check=True) for file in files
        ]
    return pieces


def measure_reading(folder: Path, reader: Reader, *, rounds: int) -> ReadingSpeed:
    """Return how fast the study in a folder is read."""
    files = _files(folder, "explicit")
    assessment = reader.read_study(files, read_at=datetime.now(UTC))
    memory_gb = peak_memory_gb(lambda: reader.read_study(files, read_at=datetime.now(UTC)))
    costs = taking_turns(_pieces_of_work(folder, reader), rounds=rounds)
    opened, prepared, network, study = (
        costs[name].cpu_seconds for name in ("opened", "prepared", "network", "study")
    )
    decoding: dict[str, dict[str, Cost]] = {}
    for name, cost in costs.items():
        if name.startswith("decode "):
            _, syntax, decoder = name.split()
            decoding.setdefault(syntax, {})[decoder] = cost
    return ReadingSpeed(
        images=len(files),
        findings=sum(len(image.findings) for image in assessment.images),
        rounds=rounds,
        study=costs["study"],
        network=costs["network"],
        parts={
            "decoding": opened,
            "preparing": prepared - opened,
            "network": network,
            "points, clusters and quality": study - prepared - network,
        },
        decoding=decoding,
        memory_gb=memory_gb,
    )


def _files(folder: Path, syntax: str) -> list[Path]:
    """Return the study's files in one syntax, in order."""
    return sorted((folder / syntax).glob("*.dcm"))
