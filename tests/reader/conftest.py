"""Mammograms as files, and the shipped reader."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from lab.phantom.lesions import plan_lesion
from lab.phantom.scene import make_scene
from lab.phantom.truth import Scene
from mammography.finding import Morphology
from mammography.mammogram import FOR_PRESENTATION
from mammography.reader.reader import Reader
from mammography.view import Laterality, View, ViewPosition

ROWS, COLUMNS = 640, 512


def mammogram_file(path: Path, pixels: np.ndarray | None = None, **attributes: object) -> Path:
    """Write a valid little mammogram; attributes replace or, as None, remove those of its header."""
    if pixels is None:
        pixels = np.random.default_rng(3).integers(0, 4096, (ROWS, COLUMNS)).astype(np.uint16)
    dataset = Dataset()
    dataset.SOPClassUID = FOR_PRESENTATION
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.Modality = "MG"
    dataset.ImageLaterality = "L"
    dataset.ViewPosition = "CC"
    dataset.ImagerPixelSpacing = [0.07, 0.07]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def mammogram(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a little mammogram into the test's folder."""
    return lambda pixels=None, **attributes: mammogram_file(tmp_path / "mammogram.dcm", pixels, **attributes)


@pytest.fixture(scope="session")
def reader() -> Reader:
    """The reader with the weights that come with the package."""
    return Reader.load()


@pytest.fixture(scope="session")
def easy_scene() -> Scene:
    """A small left breast with one group of fine pleomorphic calcifications that anyone would see."""
    lesion = plan_lesion(Morphology.FINE_PLEOMORPHIC, 5, np.random.default_rng(5), easy=True)
    view = View(laterality=Laterality.LEFT, position=ViewPosition.CC)
    scenes = (
        make_scene(
            seed, view=view, rows=1664, columns=1280, spacing_mm=0.1, lesions=[lesion], density=1, singles=0.0
        )
        for seed in range(11, 31)
    )
    return next(scene for scene in scenes if [group.easy for group in scene.groups] == [True])
