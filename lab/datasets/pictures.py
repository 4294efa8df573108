"""The pixels of a data set's files: images, masks, and pictures with marks in red."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pydicom.pixels
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError

from lab.datasets.case import Case, Spacing, SpacingSource
from mammography.mammogram import FOR_PRESENTATION, Mammogram, UnreadableMammogram, spacing_of

SAME_SHAPE = 0.002
"""Relative difference of aspect ratios up to which one picture is the other, resampled.

Pairs of CBIS-DDSM whose sizes differ because the film was resampled agree to 0.0004; pairs that are no copies of
each other differ by 0.003 and more.
"""
_BROKEN = (
    AttributeError,
    EOFError,
    IndexError,
    InvalidDicomError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom, its decoders and Pillow raise over damaged bytes."""


class UnusableImage(Exception):
    """A file of a data set cannot be used; str() is the sentence why."""


def dicom_files(folder: Path, *, below: bool = False) -> list[Path]:
    """Return the files of a folder, or also those of the folders below, that end in .dcm or .DCM, by name.

    The ._ files that archives from a Mac bring along are none.
    """
    found = folder.rglob("*") if below else folder.glob("*")
    return sorted(path for path in found if path.suffix.lower() == ".dcm" and not path.name.startswith("."))


def open_case(case: Case) -> tuple[Mammogram, SpacingSource]:
    """Return a case's image as the reader takes it, and where its pitch is known from.

    Headers of research data are often stripped to the picture, so that nothing but the pixels and the case is
    relied upon. Values are taken to be For Presentation: bright is dense.

    Raises:
        UnusableImage: if the file is missing or damaged, or its pitch known from nowhere.
    """
    data_set = open_dataset(case.image)
    pixels = pixels_of(data_set, case.image)
    spacing = _spacing(data_set, case)
    data_set.pop("PixelData", None)
    mammogram = Mammogram(
        path=case.image,
        sop_instance_uid=str(data_set.get("SOPInstanceUID") or ""),
        sop_class_uid=FOR_PRESENTATION,
        study_instance_uid=str(data_set.get("StudyInstanceUID") or ""),
        view=case.view,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        spacing_mm=spacing.mm,
        inverted=data_set.get("PhotometricInterpretation") == "MONOCHROME1",
        pixels=pixels,
        header=data_set,
    )
    return mammogram, spacing.source


def open_dataset(path: Path, *, header_only: bool = False) -> FileDataset:
    """Return a DICOM file's data set.

    Raises:
        UnusableImage: if it is missing or no DICOM file.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=header_only)
    except _BROKEN as cause:
        raise UnusableImage(f"The file {path} cannot be read as DICOM: {_reason(cause)}.") from cause


def pixels_of(data_set: Dataset, path: Path) -> NDArray[np.integer[Any]]:
    """Return the one grey frame of a data set, [rows, columns].

    Raises:
        UnusableImage: if it cannot be decoded, or is no grey frame.
    """
    try:
        pixels = np.asarray(pydicom.pixels.pixel_array(data_set, raw=True))
    except _BROKEN as cause:
        raise UnusableImage(f"The pixels of {path} cannot be decoded: {_reason(cause)}.") from cause
    if pixels.ndim != 2:
        raise UnusableImage(f"The file {path} holds pixels of shape {pixels.shape}, not one grey frame.")
    return pixels


def read_mask(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return where a mask file is not zero, at the shape of the image that it belongs to.

    Raises:
        UnusableImage: if it cannot be read, shows nothing, or is no picture of the same film.
    """
    mask = pixels_of(open_dataset(path), path) > 0
    if not mask.any():
        raise UnusableImage(f"The mask {path} is empty.")
    return _resampled(mask, shape, path)


def read_red_marks(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return where a picture is red, at the shape of the image that it is a copy of.

    Red is well above green and blue, so that neither grey values nor the chroma noise of JPEG around them count.

    Raises:
        UnusableImage: if the picture cannot be read, or is no picture of the same image.
    """
    try:
        with Image.open(path) as picture:
            colours = np.asarray(picture.convert("RGB")).astype(np.int16)
    except _BROKEN as cause:
        raise UnusableImage(f"The picture {path} cannot be read: {_reason(cause)}.") from cause
    red = (colours[..., 0] > 100) & (colours[..., 0] - colours[..., 1:].max(-1) > 60)
    return _resampled(red, shape, path)


def same_film(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Return whether two (rows, columns) can be the same picture, resampled."""
    return abs(first[0] * second[1] - first[1] * second[0]) <= SAME_SHAPE * first[0] * second[1]


def _resampled(mask: NDArray[np.bool_], shape: tuple[int, int], path: Path) -> NDArray[np.bool_]:
    """Return a mask at another shape; a pixel that was set stays seen where the mask is shrunk."""
    if mask.shape == shape:
        return mask
    if not same_film((mask.shape[0], mask.shape[1]), shape):
        raise UnusableImage(
            f"The picture {path} has {mask.shape[1]} by {mask.shape[0]} pixels and is no copy of an image of "
            f"{shape[1]} by {shape[0]}."
        )
    picture = Image.fromarray(mask.astype(np.uint8) * 255).resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(picture) >= 64


def _spacing(data_set: Dataset, case: Case) -> Spacing:
    """Return the pitch that the header states, or else the one that the case brings."""
    try:
        return Spacing(mm=spacing_of(data_set), source=SpacingSource.HEADER)
    except (UnreadableMammogram, TypeError, ValueError) as silent:
        if case.spacing is None:
            raise UnusableImage(f"The pixel spacing of {case.image} is not known: {silent}") from silent
        return case.spacing


def _reason(cause: BaseException) -> str:
    """Return why, in a few words."""
    return (str(cause) or type(cause).__name__).rstrip(".").splitlines()[0]
