"""CBIS-DDSM: digitised film with masks around calcifications (Lee et al., Sci Data 2017;4:170177; TCIA).

```
calc_case_description_train_set.csv, calc_case_description_test_set.csv
CBIS-DDSM/
    Calc-Training_P_00005_RIGHT_CC/<study>/<series>/1-1.dcm      the film
    Calc-Training_P_00005_RIGHT_CC_1/<study>/<series>/*.dcm      mask and crop of abnormality 1, in one series or two
```

The tables' paths to mask and crop are often exchanged, and so are the descriptions of their series: the mask is the file
of the film's size. A mask surrounds a cluster; single calcifications are not marked. Headers state no pitch.
"""

from collections import defaultdict
from pathlib import Path

from lab.datasets.case import (
    Case,
    Catalogue,
    DatasetKind,
    Pathology,
    Region,
    Spacing,
    SpacingSource,
    Split,
    UnusableDataset,
    patient_hash,
    split_of_official,
)
from lab.datasets.pictures import UnusableImage, dicom_files, open_dataset, same_film
from lab.datasets.tables import Row, find_table, read_table
from mammography.finding import Distribution, Morphology
from mammography.view import Laterality, View, ViewPosition

TABLES = {"Training": "calc_case_description_train_set", "Test": "calc_case_description_test_set"}
COLUMNS = (
    "patient_id",
    "breast density",
    "left or right breast",
    "image view",
    "abnormality id",
    "calc type",
    "calc distribution",
    "assessment",
    "pathology",
)
DIGITISERS_MM = {"LUMISYS": 0.05, "HOWTEK": 0.0435, "DBA": 0.042}
"""Pitch of the three digitisers of DDSM, the coarsest first."""
FILM_LENGTHS_MM = (240.0, 300.0)
FILM_SLACK_MM = 2.0

MORPHOLOGIES = {
    "AMORPHOUS": Morphology.AMORPHOUS,
    "COARSE": Morphology.COARSE,
    "DYSTROPHIC": Morphology.DYSTROPHIC,
    "EGGSHELL": Morphology.RIM,
    "FINE_LINEAR_BRANCHING": Morphology.FINE_LINEAR,
    "LARGE_RODLIKE": Morphology.ROD_LIKE,
    "LUCENT_CENTER": Morphology.RIM,
    "LUCENT_CENTERED": Morphology.RIM,
    "MILK_OF_CALCIUM": Morphology.MILK_OF_CALCIUM,
    "PLEOMORPHIC": Morphology.FINE_PLEOMORPHIC,
    "PUNCTATE": Morphology.PUNCTATE,
    "ROUND_AND_REGULAR": Morphology.ROUND,
    "SKIN": Morphology.SKIN,
    "VASCULAR": Morphology.VASCULAR,
}
"""BI-RADS of the third edition, as DDSM has it, in words of the fifth: eggshell and lucent-centred became rim."""
DISTRIBUTIONS = {
    "CLUSTERED": Distribution.GROUPED,
    "DIFFUSELY_SCATTERED": Distribution.DIFFUSE,
    "LINEAR": Distribution.LINEAR,
    "REGIONAL": Distribution.REGIONAL,
    "SEGMENTAL": Distribution.SEGMENTAL,
}
_PATHOLOGIES = {
    "BENIGN": Pathology.BENIGN,
    "BENIGN_WITHOUT_CALLBACK": Pathology.BENIGN,
    "MALIGNANT": Pathology.MALIGNANT,
}


def catalogue(folder: Path) -> Catalogue:
    """Return the calcification cases of CBIS-DDSM in a folder, or in one below it.

    A patient in both of the official sets goes to the test altogether.

    Raises:
        UnusableDataset: if a table is missing, or no image that they name is there.
    """
    images: dict[str, list[Row]] = defaultdict(list)
    tested = set()
    for part, stem in TABLES.items():
        for row in read_table(find_table(folder, stem), COLUMNS):
            patient, side, view = (
                row["patient_id"],
                row["left or right breast"].upper(),
                row["image view"].upper(),
            )
            images[f"Calc-{part}_{patient}_{side}_{view}"].append(row)
            if part == "Test":
                tested.add(patient)
    folders = {path.name: path for path in sorted(folder.rglob("Calc-T*_P_*")) if path.is_dir()}
    if not folders.keys() & images.keys():
        raise UnusableDataset(
            f"The folder {folder} holds no DICOM series of a film, such as {min(images)}: "
            "docs/datasets.md says how NBIA lays them out."
        )
    cases: list[Case] = []
    skipped: list[str] = []
    for name, rows in sorted(images.items()):
        try:
            cases.append(_case(name, rows, folders, skipped, test=rows[0]["patient_id"] in tested))
        except UnusableImage as broken:
            skipped.append(str(broken))
    return Catalogue(kind=DatasetKind.CBIS_DDSM, folder=folder, cases=tuple(cases), skipped=tuple(skipped))


def estimated_spacing(rows: int) -> Spacing:
    """Return the pitch of a film of so many rows: the coarsest digitiser at which it is no longer than a film.

    Films were 24 or 30 cm long. A wrong guess among the three digitisers costs at most 19 % in scale.
    """
    for length in FILM_LENGTHS_MM:
        for pitch in DIGITISERS_MM.values():
            if rows * pitch <= length + FILM_SLACK_MM:
                return Spacing(mm=pitch, source=SpacingSource.ESTIMATE)
    return Spacing(mm=min(DIGITISERS_MM.values()), source=SpacingSource.ESTIMATE)


def _case(name: str, rows: list[Row], folders: dict[str, Path], skipped: list[str], *, test: bool) -> Case:
    """Return one film with the masks that are there; a sentence for each that is not."""
    if name not in folders:
        raise UnusableImage(f"The film {name} has no folder.")
    image, shape = _film(folders[name])
    regions = []
    for row in rows:
        abnormality = f"{name}_{row['abnormality id']}"
        mask = _mask(folders[abnormality], shape) if abnormality in folders else None
        if mask is None:
            skipped.append(f"The mask of {abnormality} is missing.")
        else:
            regions.append(_region(row, mask))
    patient = patient_hash(DatasetKind.CBIS_DDSM, rows[0]["patient_id"])
    found = {_PATHOLOGIES.get(row["pathology"].upper()) for row in rows}
    density = rows[0]["breast density"].removesuffix(".0")
    return Case(
        dataset=DatasetKind.CBIS_DDSM,
        patient=patient,
        split=Split.TEST if test else split_of_official(patient, test=False),
        image=image,
        view=_view(rows[0]),
        regions=tuple(regions),
        elsewhere_clear=len(regions) == len(rows),
        calcified=True,
        pathology=Pathology.MALIGNANT
        if Pathology.MALIGNANT in found
        else Pathology.BENIGN
        if found - {None}
        else None,
        birads=max(row["assessment"] for row in rows) or None,
        density=int(density) if density in {"1", "2", "3", "4"} else None,
        spacing=estimated_spacing(shape[0]),
    )


def _film(folder: Path) -> tuple[Path, tuple[int, int]]:
    """Return the film's file and its (rows, columns)."""
    files = dicom_files(folder, below=True)
    if not files:
        raise UnusableImage(f"The folder {folder} holds no DICOM file.")
    return files[0], _size(files[0])


def _mask(folder: Path, film: tuple[int, int]) -> Path | None:
    """Return the largest file that can be the film's mask; a crop is neither as large nor of its proportions."""
    sizes = {path: _size(path) for path in dicom_files(folder, below=True)}
    fitting = [path for path, size in sizes.items() if 2 * size[0] > film[0] and same_film(size, film)]
    return max(fitting, key=lambda path: (sizes[path] == film, sizes[path]), default=None)


def _size(path: Path) -> tuple[int, int]:
    """Return the (rows, columns) that a header states."""
    header = open_dataset(path, header_only=True)
    try:
        return int(header.Rows), int(header.Columns)
    except (AttributeError, TypeError, ValueError) as cause:
        raise UnusableImage(f"The header of {path} states no size.") from cause


def _region(row: Row, mask: Path) -> Region:
    """Return what the table says of one abnormality; words that are joined by a hyphen all hold."""
    kinds, spreads = (row[column].upper().split("-") for column in ("calc type", "calc distribution"))
    return Region(
        mask=mask,
        morphologies=tuple(dict.fromkeys(MORPHOLOGIES[word] for word in kinds if word in MORPHOLOGIES)),
        distributions=tuple(dict.fromkeys(DISTRIBUTIONS[word] for word in spreads if word in DISTRIBUTIONS)),
        pathology=_PATHOLOGIES.get(row["pathology"].upper()),
    )


def _view(row: Row) -> View | None:
    """Return the view that the table states."""
    try:
        return View(
            laterality=Laterality(row["left or right breast"][:1].upper()),
            position=ViewPosition(row["image view"].upper()),
        )
    except ValueError:
        return None
