"""BMCD: two rounds of one breast of 100 women, every microcalcification marked (Loizidou et al., Zenodo 5036062).

```
Dataset/
    Normal_cases/<1 to 50>/CC_prior.dcm, CC_recent.dcm, MLO_prior.dcm, MLO_recent.dcm (some end in .DCM)
                           CC_prior_GT.jpg, CC_recent_GT.jpg, MLO_prior_GT.jpg, MLO_recent_GT.jpg
    Suspicious_cases/<1 to 50>/  the same
    Normal_cases.csv, Suspicious_cases.csv   optional: the two sheets of Description.xlsx
```

The _GT pictures are copies of the images with the marks in red. Both groups count from 1, so a patient is a group and a
number. The tables give density and BI-RADS of the recent round.
"""

from pathlib import Path

from lab.datasets.case import (
    Case,
    Catalogue,
    DatasetKind,
    UnusableDataset,
    patient_hash,
    split_by_patient,
)
from lab.datasets.pictures import UnusableImage, dicom_files, open_dataset
from lab.datasets.tables import Row, read_table
from mammography.view import Laterality, View, ViewPosition

GROUPS = ("Normal_cases", "Suspicious_cases")
ROUNDS = ("prior", "recent")
COLUMNS = ("Folder #", "BI-RADS categories for breast density", "BI-RADS categories for classification")
_DENSITY, _ASSESSMENT = COLUMNS[1], COLUMNS[2]


def catalogue(folder: Path) -> Catalogue:
    """Return the cases of BMCD in a folder, or in one below it.

    Raises:
        UnusableDataset: if the folder holds neither group of cases.
    """
    roots = [path.parent for group in GROUPS for path in sorted(folder.rglob(group)) if path.is_dir()]
    if not roots:
        raise UnusableDataset(
            f"The folder {folder} holds neither Normal_cases nor Suspicious_cases: name the unpacked Dataset."
        )
    cases: list[Case] = []
    skipped: list[str] = []
    for group in GROUPS:
        rows = _described(roots[0], group)
        for place in sorted((roots[0] / group).glob("*"), key=lambda path: (len(path.name), path.name)):
            for image in dicom_files(place):
                try:
                    cases.append(_case(group, place.name, image, rows.get(place.name)))
                except UnusableImage as broken:
                    skipped.append(str(broken))
    return Catalogue(kind=DatasetKind.BMCD, folder=folder, cases=tuple(cases), skipped=tuple(skipped))


def _described(root: Path, group: str) -> dict[str, Row]:
    """Return the lines of a group's table by folder, none where there is no table."""
    path = root / f"{group}.csv"
    if not path.exists():
        return {}
    return {row["Folder #"].removesuffix(".0"): row for row in read_table(path, COLUMNS)}


def _case(group: str, number: str, image: Path, row: Row | None) -> Case:
    """Return one image with the picture of its marks.

    Raises:
        UnusableImage: if the name says no view and round, the header is damaged, or the marks are missing.
    """
    position, _, examination = image.stem.partition("_")
    if position not in {ViewPosition.CC, ViewPosition.MLO} or examination not in ROUNDS:
        raise UnusableImage(f"The name of {image} says not which view of which round it is.")
    marks = image.with_name(f"{image.stem}_GT.jpg")
    if not marks.exists():
        raise UnusableImage(f"The marks {marks} are missing.")
    side = str(open_dataset(image, header_only=True).get("ImageLaterality") or "")
    patient = patient_hash(DatasetKind.BMCD, f"{group}/{number}")
    recent = row if examination == "recent" else None
    return Case(
        dataset=DatasetKind.BMCD,
        patient=patient,
        split=split_by_patient(patient),
        image=image,
        view=_view(side, ViewPosition(position)),
        marks_picture=marks,
        elsewhere_clear=True,
        birads=recent[_ASSESSMENT].lower().removesuffix(".0") or None if recent else None,
        density=_density(row[_DENSITY]) if row else None,
    )


def _view(side: str, position: ViewPosition) -> View | None:
    """Return the view, None where the header states no side."""
    return View(laterality=Laterality(side), position=position) if side in tuple(Laterality) else None


def _density(letter: str) -> int | None:
    """Return 1 to 4 for a to d."""
    place = "abcd".find(letter.strip().lower()) if len(letter.strip()) == 1 else -1
    return place + 1 if place >= 0 else None
