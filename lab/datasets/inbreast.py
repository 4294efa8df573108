"""INbreast: 410 full-field digital mammograms with contours of calcifications (Moreira et al., Acad Radiol 2012;19:236).

```
INbreast Release 1.0/
    AllDICOMs/<image>_<patient>_MG_<R or L>_<CC or ML>_ANON.dcm
    AllXML/<image>.xml             OsiriX property list; none for an image without findings
    INbreast.csv                   Laterality;View;File Name;ACR;Bi-Rads, beside others
```

The patient stands in the file name alone. A region of interest called Calcification is one calcification, by a point or
a contour; one called Cluster surrounds several, which may be marked one by one too.
"""

import plistlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np

from lab.datasets.case import (
    Case,
    Catalogue,
    DatasetKind,
    Mark,
    Region,
    Spacing,
    SpacingSource,
    UnusableDataset,
    patient_hash,
    split_by_patient,
)
from lab.datasets.pictures import dicom_files
from lab.datasets.tables import Row, find_table, read_table
from mammography.coordinates import ImagePoint
from mammography.view import Laterality, View, ViewPosition

SPACING = Spacing(mm=0.07, source=SpacingSource.DOCUMENTATION)
"""Pitch of the one detector of this data set (Moreira et al. 2012), for headers without one."""
COLUMNS = ("Laterality", "View", "File Name", "ACR", "Bi-Rads")
_VIEWS = {"CC": ViewPosition.CC, "MLO": ViewPosition.MLO, "ML": ViewPosition.MLO, "FB": ViewPosition.FB}
"""The file names say ML where the table says MLO."""
_SIDES = {"L": Laterality.LEFT, "R": Laterality.RIGHT}


def catalogue(folder: Path) -> Catalogue:
    """Return the cases of INbreast in a folder, or in one below it.

    Raises:
        UnusableDataset: if the folder holds no AllDICOMs, AllXML or INbreast.csv.
    """
    root = _root(folder)
    images = {path.name.partition("_")[0]: path for path in dicom_files(root / "AllDICOMs")}
    cases, skipped = [], []
    for row in read_table(find_table(root, "INbreast"), COLUMNS):
        number = row["File Name"].partition(".")[0]
        if not number.isdigit():  # the sheet ends in lines of remarks
            continue
        image = images.get(number)
        if image is None:
            skipped.append(f"The image {number} of INbreast.csv is not in {root / 'AllDICOMs'}.")
            continue
        try:
            cases.append(_case(row, image, root / "AllXML" / f"{number}.xml"))
        except _BROKEN as cause:
            skipped.append(f"The annotations {number}.xml cannot be read: {type(cause).__name__}.")
    return Catalogue(kind=DatasetKind.INBREAST, folder=folder, cases=tuple(cases), skipped=tuple(skipped))


_BROKEN = (AttributeError, ExpatError, KeyError, OSError, TypeError, ValueError, IndexError)
"""What a damaged property list raises."""


def _root(folder: Path) -> Path:
    """Return the folder that holds AllDICOMs and AllXML."""
    for root in (folder, *sorted(path for path in folder.glob("*") if path.is_dir())):
        if (root / "AllDICOMs").is_dir() and (root / "AllXML").is_dir():
            return root
    raise UnusableDataset(
        f"The folder {folder} holds no AllDICOMs and AllXML: name the folder INbreast Release 1.0."
    )


def _case(row: Row, image: Path, annotations: Path) -> Case:
    """Return one image with its contours; none are there where there is no property list."""
    patient = patient_hash(DatasetKind.INBREAST, image.name.split("_")[1])
    contours = _contours(annotations) if annotations.exists() else []
    marks = tuple(_mark(points) for name, points in contours if name.startswith("calcification"))
    regions = tuple(
        Region(outline=points) for name, points in contours if name.startswith("cluster") and len(points) > 2
    )
    density = row["ACR"]
    return Case(
        dataset=DatasetKind.INBREAST,
        patient=patient,
        split=split_by_patient(patient),
        image=image,
        view=_view(row),
        marks=marks,
        regions=regions,
        elsewhere_clear=True,
        calcified=bool(marks or regions),
        birads=row["Bi-Rads"].lower() or None,
        density=int(density) if density in {"1", "2", "3", "4"} else None,
        spacing=SPACING,
    )


def _view(row: Row) -> View | None:
    """Return the view that the table states."""
    side, position = _SIDES.get(row["Laterality"].upper()), _VIEWS.get(row["View"].upper())
    return View(laterality=side, position=position) if side and position else None


def _contours(path: Path) -> list[tuple[str, tuple[ImagePoint, ...]]]:
    """Return (name in lower case, points) of every region of interest that has a point."""
    with path.open("rb") as file:
        document = plistlib.load(file)
    contours = []
    for roi in document["Images"][0]["ROIs"]:
        points = tuple(_point(text) for text in roi.get("Point_px") or [])
        if points:
            contours.append((_name(roi), points))
    return contours


def _name(roi: Mapping[str, Any]) -> str:
    """Return what a region of interest is called, in lower case."""
    return str(roi.get("Name") or "").strip().lower()


def _point(text: str) -> ImagePoint:
    """Return the point of "(column, row)"."""
    column, row = text.strip("() ").split(",")
    return ImagePoint(float(column), float(row))


def _mark(points: tuple[ImagePoint, ...]) -> Mark:
    """Return the calcification of a point or of a contour: its centre of area, and its size."""
    columns, rows = (np.array(values) for values in zip(*points, strict=True))
    cross = columns * np.roll(rows, -1) - np.roll(columns, -1) * rows
    area = cross.sum() / 2
    if len(points) < 3 or abs(area) < 1e-6:
        return Mark(center=ImagePoint(float(columns.mean()), float(rows.mean())))
    center = ImagePoint(
        float(((columns + np.roll(columns, -1)) * cross).sum() / (6 * area)),
        float(((rows + np.roll(rows, -1)) * cross).sum() / (6 * area)),
    )
    return Mark(center=center, diameter_px=float(2 * np.sqrt(abs(area) / np.pi)))
