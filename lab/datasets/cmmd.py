"""CMMD: 1,775 patients referred for biopsy, with what was found and what it proved to be (Cui et al., TCIA 2021).

```
CMMD/<ID1>/<study>/<series>/1-1.dcm, 1-2.dcm, ...
CMMD_clinicaldata_revision.csv     saved from the .xlsx: ID1, LeftRight, abnormality, classification, ...
```

A line of the table speaks of one breast; nothing says where in it. Side and view stand in the headers (Image Laterality,
View Code Sequence). Breasts without a line are left out.
"""

from pathlib import Path

from lab.datasets.case import (
    Case,
    Catalogue,
    DatasetKind,
    Pathology,
    UnusableDataset,
    patient_hash,
    split_by_patient,
)
from lab.datasets.pictures import UnusableImage, dicom_files, open_dataset
from lab.datasets.tables import Row, find_table, read_table
from mammography.view import view_of

TABLE = "CMMD_clinicaldata_revision"
COLUMNS = ("ID1", "LeftRight", "abnormality", "classification")
CALCIFIED = {"calcification": True, "both": True, "mass": None}
"""Of a breast with a mass nothing is said about calcifications that are not why it was referred."""


def catalogue(folder: Path) -> Catalogue:
    """Return the cases of CMMD in a folder, or in one below it; every header is read.

    Raises:
        UnusableDataset: if the folder holds no table, or no folder of a patient in it.
    """
    rows = {
        (row["ID1"], row["LeftRight"].upper()): row for row in read_table(find_table(folder, TABLE), COLUMNS)
    }
    folders = {path.name: path for path in sorted(folder.rglob("D[12]-*")) if path.is_dir()}
    patients = sorted({patient for patient, _ in rows})
    if not folders.keys() & set(patients):
        raise UnusableDataset(f"The folder {folder} holds no folder of a patient, such as {patients[0]}.")
    cases, skipped = [], []
    for patient in patients:
        if patient not in folders:
            skipped.append(f"The patient {patient} of {TABLE}.csv has no folder.")
            continue
        for image in dicom_files(folders[patient], below=True):
            try:
                case = _case(patient, image, rows)
            except UnusableImage as broken:
                skipped.append(str(broken))
                continue
            if case is not None:
                cases.append(case)
    return Catalogue(kind=DatasetKind.CMMD, folder=folder, cases=tuple(cases), skipped=tuple(skipped))


def _case(patient: str, image: Path, rows: dict[tuple[str, str], Row]) -> Case | None:
    """Return one image of a breast that the table speaks of, None for another."""
    header = open_dataset(image, header_only=True)
    view = view_of(header)
    row = rows.get((patient, str(header.get("ImageLaterality") or header.get("Laterality") or "")))
    if row is None:
        return None
    hashed = patient_hash(DatasetKind.CMMD, patient)
    words = {pathology.value: pathology for pathology in Pathology}
    return Case(
        dataset=DatasetKind.CMMD,
        patient=hashed,
        split=split_by_patient(hashed),
        image=image,
        view=view,
        calcified=CALCIFIED.get(row["abnormality"].lower()),
        pathology=words.get(row["classification"].lower()),
    )
