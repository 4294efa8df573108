"""VinDr-Mammo: 5,000 four-view studies with boxes around findings (Nguyen et al., Sci Data 2023;10:277).

```
1.0.0/
    images/<study_id>/<image_id>.dicom
    breast-level_annotations.csv   a line per image: side, view, BI-RADS, density, split
    finding_annotations.csv        a line per finding: categories, BI-RADS, box
```

Only findings of BI-RADS 3 and more are boxed, so an unboxed calcification can lie in any breast but one of BI-RADS 1,
which is free of findings by definition.
"""

import ast
from collections import defaultdict
from pathlib import Path

from lab.datasets.case import (
    Case,
    Catalogue,
    DatasetKind,
    Region,
    UnusableDataset,
    patient_hash,
    split_of_official,
)
from lab.datasets.tables import Row, read_table
from mammography.coordinates import ImagePoint
from mammography.view import Laterality, View, ViewPosition

CALCIFICATION = "Suspicious Calcification"
IMAGE_COLUMNS = (
    "study_id",
    "image_id",
    "laterality",
    "view_position",
    "height",
    "width",
    "breast_birads",
    "breast_density",
    "split",
)
FINDING_COLUMNS = ("image_id", "finding_categories", "xmin", "ymin", "xmax", "ymax")
_BREASTS, _FINDINGS = "breast-level_annotations.csv", "finding_annotations.csv"


def catalogue(folder: Path) -> Catalogue:
    """Return the cases of VinDr-Mammo in a folder, or in one below it.

    Raises:
        UnusableDataset: if the folder holds not both tables.
    """
    found = sorted(folder.rglob(_BREASTS), key=lambda path: (len(path.parts), path))
    if not found or not found[0].with_name(_FINDINGS).exists():
        raise UnusableDataset(
            f"The folder {folder} holds no {_BREASTS} beside a {_FINDINGS}: name the folder with both and images/."
        )
    root = found[0].parent
    skipped: list[str] = []
    boxes = _boxes(root / _FINDINGS, skipped)
    cases = []
    for row in read_table(root / _BREASTS, IMAGE_COLUMNS):
        image = root / "images" / row["study_id"] / f"{row['image_id']}.dicom"
        if image.exists():
            cases.append(_case(row, image, boxes[row["image_id"]]))
        else:
            skipped.append(f"The image {image} of {_BREASTS} is missing.")
    return Catalogue(kind=DatasetKind.VINDR, folder=folder, cases=tuple(cases), skipped=tuple(skipped))


def _boxes(path: Path, skipped: list[str]) -> dict[str, list[tuple[float, ...]]]:
    """Return (left, top, right, bottom) of every calcification finding, by image."""
    boxes: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for row in read_table(path, FINDING_COLUMNS):
        if CALCIFICATION not in _categories(row["finding_categories"]):
            continue
        try:
            left, top, right, bottom = (float(row[edge]) for edge in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            skipped.append(f"A finding of image {row['image_id']} in {_FINDINGS} has no box.")
            continue
        boxes[row["image_id"]].append(
            (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        )
    return boxes


def _categories(text: str) -> list[str]:
    """Return the names in "['Mass', 'Skin Retraction']"."""
    try:
        names = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return [text]
    return [str(name) for name in names] if isinstance(names, list) else [text]


def _case(row: Row, image: Path, boxes: list[tuple[float, ...]]) -> Case:
    """Return one image; boxes are cut off at its edges, over which some of them reach."""
    patient = patient_hash(DatasetKind.VINDR, row["study_id"])
    birads = row["breast_birads"].upper().removeprefix("BI-RADS").strip().lower()
    density = row["breast_density"].upper().removeprefix("DENSITY").strip()
    width, height = float(row["width"] or "inf"), float(row["height"] or "inf")
    return Case(
        dataset=DatasetKind.VINDR,
        patient=patient,
        split=split_of_official(patient, test=row["split"].lower() == "test"),
        image=image,
        view=_view(row),
        regions=tuple(_region(box, width, height) for box in boxes),
        elsewhere_clear=birads == "1" and not boxes,
        calcified=True if boxes else False if birads == "1" else None,
        birads=birads or None,
        density="ABCD".index(density) + 1 if density in tuple("ABCD") else None,
    )


def _view(row: Row) -> View | None:
    """Return the view that the table states."""
    try:
        return View(laterality=Laterality(row["laterality"]), position=ViewPosition(row["view_position"]))
    except ValueError:
        return None


def _region(box: tuple[float, ...], width: float, height: float) -> Region:
    """Return a box as a polygon, clockwise from its top left corner."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[2], width), min(box[3], height)
    return Region(
        outline=(
            ImagePoint(left, top),
            ImagePoint(right, top),
            ImagePoint(right, bottom),
            ImagePoint(left, bottom),
        )
    )
