"""Which images of a data set were used: a line of JSON each, so that a card can say what was learned from."""

import hashlib
import json
from pathlib import Path

from lab.datasets.annotation import Annotation
from lab.datasets.case import Case, SpacingSource
from mammography.mammogram import Mammogram

CHUNK = 1 << 20


def note(
    path: Path, case: Case, folder: Path, mammogram: Mammogram, source: SpacingSource, annotation: Annotation
) -> None:
    """Add a line for one image: its name in the data set's folder, its SHA-256, its patient's hash, what is marked."""
    line = {
        "dataset": case.dataset.value,
        "image": case.image.relative_to(folder).as_posix(),
        "sha256": sha256_of(case.image),
        "patient": case.patient,
        "split": case.split.value,
        "view": str(case.view) if case.view else None,
        "spacing_mm": mammogram.spacing_mm,
        "spacing_source": source.value,
        "marks": len(annotation.marks),
        "regions": len(annotation.bags),
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()
