"""Small made-up copies of the public data sets, laid out as those are."""

import csv
import plistlib
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from mammography.view import VIEW_CODES, ViewPosition

TINY = np.arange(96 * 64, dtype=np.uint16).reshape(96, 64)


def dicom_file(path: Path, pixels: np.ndarray = TINY, **attributes: object) -> Path:
    """Write the least that a stripped research file holds: identity and pixels; no pitch, no view, no patient."""
    bits = 8 * pixels.dtype.itemsize
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = f"1.2.{zlib.crc32(str(path).encode())}"
    dataset.Modality = "MG"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def table(path: Path, columns: list[str], *lines: list[object], delimiter: str = ",") -> None:
    """Write a CSV table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([columns, *lines])


CBIS_COLUMNS = [
    *(
        "patient_id",
        "breast density",
        "left or right breast",
        "image view",
        "abnormality id",
        "abnormality type",
    ),
    *("calc type", "calc distribution", "assessment", "pathology", "subtlety"),
    *("image file path", "cropped image file path", "ROI mask file path"),
]


def cbis_line(
    patient: str, side: str, view: str, number: int, *said: object, part: str = "Training"
) -> list[object]:
    """Return a line of a CBIS-DDSM table; `said` is type, distribution, assessment, pathology."""
    name = f"Calc-{part}_{patient}_{side}_{view}"
    paths = [
        f"{name}/1.3.6/1.3.7/000000.dcm",
        *(f"{name}_{number}/1.3.8/1.3.9/00000{n}.dcm\n" for n in (0, 1)),
    ]
    return [patient, 3, side, view, number, "calcification", *said, 4, *paths]


def inbreast_image(
    root: Path, number: int, patient: str, side: str, view: str, pixels: np.ndarray = TINY
) -> Path:
    """Write one image of INbreast; the file name says ML where the table says MLO."""
    short = {"MLO": "ML"}.get(view, view)
    return dicom_file(root / "AllDICOMs" / f"{number}_{patient}_MG_{side}_{short}_ANON.dcm", pixels)


def inbreast_contours(root: Path, number: int, *contours: tuple[str, list[tuple[float, float]]]) -> None:
    """Write the property list of one image: (name, points as column and row)."""
    regions = [
        {
            "Name": name,
            "NumberOfPoints": len(points),
            "Point_px": [f"({column:.6f}, {row:.6f})" for column, row in points],
        }
        for name, points in contours
    ]
    document = {"Images": [{"ImageIndex": 0, "NumberOfROIs": len(regions), "ROIs": regions}]}
    path = root / "AllXML" / f"{number}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(plistlib.dumps(document))


INBREAST_COLUMNS = [
    "Patient ID",
    "Patient age",
    "Laterality",
    "View",
    "Acquisition date",
    "File Name",
    "ACR",
    "Bi-Rads",
]
VINDR_IMAGE_COLUMNS = [
    *("study_id", "series_id", "image_id", "laterality", "view_position", "height", "width"),
    *("breast_birads", "breast_density", "split"),
]
VINDR_FINDING_COLUMNS = [
    *VINDR_IMAGE_COLUMNS[:-1],
    "finding_categories",
    "finding_birads",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "split",
]
CMMD_COLUMNS = ["ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype"]
BMCD_COLUMNS = [
    *("Folder #", "Breast (Right/Left)", "BI-RADS categories for breast density"),
    "BI-RADS categories for classification ",
]


def viewed(side: str, position: ViewPosition) -> dict[str, object]:
    """Return the attributes of a header that states side and view by a code."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        VIEW_CODES[position][0],
        "SCT",
        VIEW_CODES[position][2],
    )
    return {"ImageLaterality": side, "ViewCodeSequence": [code]}


def red_marks(path: Path, shape: tuple[int, int], *discs: tuple[float, float, float], grey: int = 90) -> None:
    """Write a copy of an image with filled red discs (column, row, radius) on it, as a JPEG."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    picture = np.full((*shape, 3), grey, dtype=np.uint8)
    for column, row, radius in discs:
        picture[np.hypot(rows - row, columns - column) <= radius] = (255, 0, 0)
    Image.fromarray(picture).save(path, quality=90)
