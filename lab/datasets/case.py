"""One annotated mammogram of a public data set, in the words that all of them share."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mammography.coordinates import ImagePoint
from mammography.finding import Distribution, Morphology
from mammography.view import View


class DatasetKind(StrEnum):
    """A data set whose own layout is understood."""

    CBIS_DDSM = "cbis-ddsm"
    INBREAST = "inbreast"
    VINDR = "vindr"
    CMMD = "cmmd"
    BMCD = "bmcd"


class UnusableDataset(Exception):
    """The folder is not the data set that it is said to be; str() is the sentence why and what to do."""


class Split(StrEnum):
    """What the images of a patient are for; every image of a patient is for the same."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


class Pathology(StrEnum):
    """What a biopsy or years of follow-up said."""

    BENIGN = "benign"
    MALIGNANT = "malignant"


class SpacingSource(StrEnum):
    """Where the pitch of an image's pixels is known from."""

    HEADER = "header"
    DOCUMENTATION = "documentation"
    """The data set's paper or a table beside the images; its headers are silent."""
    ESTIMATE = "estimate"
    """The size of the film; for `lab.datasets.cbis_ddsm` alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """Pixel pitch in mm for an image whose header states none, and where it is known from."""

    mm: float
    source: SpacingSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One calcification that somebody marked: its centre on the stored image.

    `diameter_px` is that of the disc of equal area, in stored pixels; None where only a point was set.
    """

    center: ImagePoint
    diameter_px: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region of the stored image with calcifications in it, not marked one by one.

    Either `outline`, a polygon, or `mask`, a DICOM file that is not zero inside, says where. The rest is what
    the data set says of the region; empty or None where it says nothing.
    """

    outline: tuple[ImagePoint, ...] = ()
    mask: Path | None = None
    morphologies: tuple[Morphology, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    pathology: Pathology | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image with what its data set says of it.

    `patient` is a hash, the same for all images of a patient and no other. `elsewhere_clear`: whoever
    annotated the image would have marked calcifications outside the marks and regions too, so that none are
    there. `marks_picture` shows the marks in red, one by one, on a copy of the image. `calcified`: whether the
    breast has calcifications anywhere; None where nothing is said. `birads` is "0" to "6", "4a" to "4c";
    `density` is 1 to 4 for a to d. `spacing` is for an image without one in its header.
    """

    dataset: DatasetKind
    patient: str
    split: Split
    image: Path
    view: View | None
    marks: tuple[Mark, ...] = ()
    regions: tuple[Region, ...] = ()
    marks_picture: Path | None = None
    elsewhere_clear: bool = False
    calcified: bool | None = None
    pathology: Pathology | None = None
    birads: str | None = None
    density: int | None = None
    spacing: Spacing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The cases of one data set in a folder, and a sentence for everything that was left out."""

    kind: DatasetKind
    folder: Path
    cases: tuple[Case, ...]
    skipped: tuple[str, ...]


TRAINING_SHARE, VALIDATION_SHARE = 0.7, 0.15
"""Of the patients of a data set without a split of its own; the rest are for the test."""
OFFICIAL_VALIDATION_SHARE = 0.1
"""Of the patients that a data set's own split gives to training."""


def patient_hash(kind: DatasetKind, patient: str) -> str:
    """Return what stands for a patient everywhere behind this point: 16 hexadecimal digits."""
    return hashlib.sha256(f"{kind}\0{patient}".encode()).hexdigest()[:16]


def split_by_patient(patient: str) -> Split:
    """Return the split of a patient's hash, for a data set without a split of its own."""
    share = _share(patient)
    if share < TRAINING_SHARE:
        return Split.TRAINING
    return Split.VALIDATION if share < TRAINING_SHARE + VALIDATION_SHARE else Split.TEST


def split_of_official(patient: str, *, test: bool) -> Split:
    """Return the split of a patient whom the data set itself gives to the test or to training."""
    if test:
        return Split.TEST
    return Split.VALIDATION if _share(patient) < OFFICIAL_VALIDATION_SHARE else Split.TRAINING


def _share(patient: str) -> float:
    """Return where a hash lies among all hashes, 0 to 1; it changes with nothing but the patient."""
    return int(patient[:8], 16) / 2**32
