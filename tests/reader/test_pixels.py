"""The same image gives the same pixels, however it was compressed."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from mammography.mammogram import open_mammogram

PIXELS = np.random.default_rng(8).integers(0, 4096, (640, 512)).astype(np.uint16)


@pytest.mark.parametrize(
    "syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless], ids=lambda syntax: syntax.name
)
def test_a_losslessly_compressed_mammogram_has_the_pixels_that_were_stored(mammogram, syntax):
    path = mammogram(PIXELS)
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax)
    dataset.save_as(path)
    assert np.array_equal(open_mammogram(path).pixels, PIXELS)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_every_native_encoding_has_the_pixels_that_were_stored(mammogram, syntax):
    path = mammogram(PIXELS)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert np.array_equal(open_mammogram(path).pixels, PIXELS)


def test_big_endian_pixels_are_not_turned_around(mammogram):
    path = mammogram(PIXELS)
    dataset = Dataset(dict(pydicom.dcmread(path).items()))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PixelData = PIXELS.astype(">u2").tobytes()
    dataset.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(open_mammogram(path).pixels, PIXELS)


def test_overlays_in_unused_high_bits_are_not_grey_values(mammogram):
    assert np.array_equal(open_mammogram(mammogram(PIXELS | 0x8000)).pixels, PIXELS)


def test_a_mammogram_carries_its_view_and_the_pitch_of_its_detector(mammogram):
    opened = open_mammogram(mammogram(PIXELS, PhotometricInterpretation="MONOCHROME1"))
    assert (str(opened.view), opened.spacing_mm, opened.inverted) == ("L CC", 0.07, True)
    assert "PixelData" not in opened.header


@pytest.mark.parametrize(
    ("calibration", "spacing_mm"), [("GEOMETRY", 0.066), ("FIDUCIAL", 0.066), (None, 0.06), ("", 0.06)]
)
def test_pixel_spacing_is_magnified_back_to_the_detector_where_it_is_calibrated(
    mammogram, calibration, spacing_mm
):
    path = mammogram(
        ImagerPixelSpacing=None,
        PixelSpacing=[0.06, 0.06],
        EstimatedRadiographicMagnificationFactor="1.1",
        **({} if calibration is None else {"PixelSpacingCalibrationType": calibration}),
    )
    assert open_mammogram(path).spacing_mm == pytest.approx(spacing_mm)


def test_the_detectors_own_pitch_comes_before_every_other(mammogram):
    path = mammogram(
        PixelSpacing=[0.06, 0.06],
        PixelSpacingCalibrationType="GEOMETRY",
        NominalScannedPixelSpacing=[0.05, 0.05],
    )
    assert open_mammogram(path).spacing_mm == 0.07


def test_a_digitised_film_has_the_pitch_of_its_scanner(mammogram):
    path = mammogram(ImagerPixelSpacing=None, NominalScannedPixelSpacing=[0.08, 0.08])
    assert open_mammogram(path).spacing_mm == 0.08


def test_an_image_without_a_view_can_still_be_opened(mammogram):
    assert open_mammogram(mammogram(ViewPosition="", ImageLaterality=None)).view is None
