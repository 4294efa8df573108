"""Public data sets in their native layouts: what is in a folder, and lessons for the reader from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lab.datasets.case import Catalogue, DatasetKind, Split, UnusableDataset

if TYPE_CHECKING:
    from lab.training.lesson import Lesson
    from mammography.reader.plan import ReaderPlan

__all__ = ["Catalogue", "DatasetKind", "Split", "UnusableDataset", "catalogue_of", "lessons_of"]


def catalogue_of(kind: DatasetKind, folder: Path) -> Catalogue:
    """Return every case of a data set that a folder holds, and what had to be left out.

    Raises:
        UnusableDataset: if the folder is not laid out as that data set is.
    """
    from lab.datasets import bmcd, cbis_ddsm, cmmd, inbreast, vindr

    layouts = {
        DatasetKind.CBIS_DDSM: cbis_ddsm.catalogue,
        DatasetKind.INBREAST: inbreast.catalogue,
        DatasetKind.VINDR: vindr.catalogue,
        DatasetKind.CMMD: cmmd.catalogue,
        DatasetKind.BMCD: bmcd.catalogue,
    }
    if not folder.is_dir():
        raise UnusableDataset(f"There is no folder {folder}.")
    return layouts[kind](folder)


def lessons_of(
    kind: DatasetKind | str,
    folder: Path,
    plan: "ReaderPlan",
    *,
    split: Split = Split.TRAINING,
    manifest: Path | None = None,
) -> Iterator["Lesson"]:
    """Yield the lessons of a data set's split, one after the other as their images are read.

    `lab.datasets.lessons` says what they hold and in which order they come. A line of JSON for each image
    that was used is added to `manifest`.

    Raises:
        UnusableDataset: at the first lesson, if the folder is not laid out as that data set is.
    """
    from lab.datasets.lessons import lessons_of_catalogue

    yield from lessons_of_catalogue(
        catalogue_of(DatasetKind(kind), folder), plan, split=split, manifest=manifest
    )
