"""A file that is no mammogram that we may read is refused with a sentence that names what and why."""

import warnings

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    CTImageStorage,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
)

from mammography.mammogram import UnreadableMammogram, display_values, open_header, open_mammogram

REFUSALS = [
    ({"SOPClassUID": CTImageStorage, "Modality": "CT"}, "is a CT image, not a mammogram"),
    ({"PixelData": None}, "has no pixel data"),
    ({"ImagerPixelSpacing": None}, "states no pixel spacing"),
    ({"ImagerPixelSpacing": [0.5, 0.5]}, "pixel spacing of 0.5 by 0.5 mm"),
    ({"ImagerPixelSpacing": [0.07, 0.1]}, "pixel spacing of 0.07 by 0.1 mm"),
    ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "magnified 1.8 times"),
    ({"ViewPosition": "SPECIMEN"}, "shows a specimen"),
    ({"NumberOfFrames": 3}, "has 3 frames"),
    ({"Rows": 60000, "Columns": 60000}, "declares 60000 by 60000 pixels"),
    ({"Rows": 2, "Columns": 2}, "too small for a mammogram"),
    ({"Rows": 4000}, "pixel data holds 655,360 of 4,096,000 bytes"),
    ({"BitsAllocated": 32}, "32 bits per pixel"),
    ({"PhotometricInterpretation": "RGB"}, "photometric interpretation RGB"),
    ({"StudyInstanceUID": None}, "has no StudyInstanceUID"),
    ({"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"}, "is a OT image, not a mammogram"),
    ({"SOPClassUID": BreastTomosynthesisImageStorage}, "not a mammogram .Breast Tomosynthesis Image Storage"),
    ({"Modality": "DX"}, "calls itself DX, not mammography"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "photometric interpretation PALETTE COLOR"),
    ({"SamplesPerPixel": 3}, "not grey values"),
    ({"ImagerPixelSpacing": [0.04, 0.04]}, "shows 20 by 26 mm, which is no whole view"),
    ({"ImagerPixelSpacing": None, "PixelAspectRatio": [1, 1]}, "states no pixel spacing"),
    ({"BitsStored": 8, "HighBit": 7, "LossyImageCompression": "01"}, "8 bits after lossy compression"),
]


@pytest.mark.parametrize(("attributes", "sentence"), REFUSALS, ids=[sentence for _, sentence in REFUSALS])
def test_a_file_that_may_not_be_read_is_refused_with_the_sentence_why(mammogram, attributes, sentence):
    with pytest.raises(UnreadableMammogram, match=sentence):
        open_mammogram(mammogram(**attributes))


@pytest.mark.parametrize(
    ("code_value", "name"),
    [("399163009", "magnification"), ("R-102D6", "magnification"), ("399055006", "spot compression")],
)
def test_a_view_of_a_part_is_refused_by_its_modifier(mammogram, code_value, name):
    modifier, code = Dataset(), Dataset()
    modifier.CodeValue, modifier.CodingSchemeDesignator = code_value, "SCT"
    code.CodeValue, code.CodingSchemeDesignator = "399162004", "SCT"
    code.ViewModifierCodeSequence = [modifier]
    with pytest.raises(UnreadableMammogram, match=f"is a {name} view"):
        open_mammogram(mammogram(ViewCodeSequence=[code]))


def test_a_file_that_is_no_dicom_is_refused(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear colleague, " * 40)
    for opened in (open_header, open_mammogram):
        with pytest.raises(UnreadableMammogram, match="is not a DICOM file"):
            opened(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UnreadableMammogram, match="cannot be read: No such file"):
        open_mammogram(tmp_path / "nowhere.dcm")


@pytest.mark.parametrize("kept", [300, 700, 5000, 200_000])
def test_a_truncated_file_is_refused_wherever_it_ends(mammogram, kept):
    path = mammogram()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnreadableMammogram):
        open_mammogram(path)


def test_truncated_compressed_pixel_data_is_not_called_missing(mammogram):
    path = mammogram()
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.JPEG2000Lossless)
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[:90_000])
    with pytest.raises(UnreadableMammogram, match="pixel data ends before it is whole"):
        open_mammogram(path)


def test_a_frame_that_is_larger_inside_than_its_header_says_is_refused_before_decoding(mammogram):
    path = mammogram()
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.JPEGLSLossless)
    dataset.Rows = 500
    dataset.save_as(path)
    with pytest.raises(UnreadableMammogram, match="512 by 640 pixels, the header declares 512 by 500"):
        open_mammogram(path)


def test_twelve_bit_extended_jpeg_is_refused_because_nothing_decodes_it(mammogram):
    with pytest.raises(UnreadableMammogram, match="JPEG Extended with 12 bits, which no decoder here reads"):
        open_mammogram(_with_frame(mammogram(), JPEGExtended12Bit))


def test_a_compressed_frame_of_garbage_is_refused(mammogram):
    with pytest.raises(UnreadableMammogram, match="cannot be decoded"):
        open_mammogram(_with_frame(mammogram(), JPEGLosslessSV1))


@pytest.mark.parametrize("position", range(140, 900, 23))
def test_a_damaged_byte_leads_to_a_mammogram_or_a_sentence_and_never_to_another_error(mammogram, position):
    path = mammogram()
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 0xFF
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shape = open_mammogram(path).pixels.shape
        except UnreadableMammogram:
            return
    assert shape == (640, 512)


def test_display_values_follow_the_window_and_turn_monochrome1(mammogram):
    ramp = np.tile(np.linspace(0, 4095, 512), (640, 1)).astype(np.uint16)
    window = {"WindowCenter": "2000", "WindowWidth": "1000", "VOILUTFunction": "LINEAR_EXACT"}
    shown = display_values(open_mammogram(mammogram(ramp, **window)))
    turned = display_values(
        open_mammogram(mammogram(ramp, PhotometricInterpretation="MONOCHROME1", **window))
    )
    assert shown[0, 0] == 0
    assert shown[0, -1] == 255
    middle = int(np.argmin(np.abs(ramp[0].astype(int) - 2000)))
    assert abs(int(shown[0, middle]) - 128) <= 2
    assert np.abs(shown.astype(int) + turned.astype(int) - 255).max() <= 1


RAMP = np.tile(np.linspace(0, 4095, 512), (640, 1)).astype(np.uint16)


def shown_at(path, level: int) -> int:
    """Return what the ramp's pixel nearest to a stored level is shown as."""
    return int(display_values(open_mammogram(path))[0, int(np.argmin(np.abs(RAMP[0].astype(int) - level)))])


def test_of_several_windows_the_first_is_shown(mammogram):
    path = mammogram(RAMP, WindowCenter=["1000", "3000"], WindowWidth=["400", "100"])
    assert (shown_at(path, 700), shown_at(path, 1300)) == (0, 255)


def test_a_sigmoid_window_is_steepest_at_its_centre_and_never_clips_early(mammogram):
    path = mammogram(RAMP, WindowCenter="2000", WindowWidth="1000", VOILUTFunction="SIGMOID")
    at = {level: shown_at(path, level) for level in (1000, 1500, 2000, 2500, 3000)}
    assert at[2000] == pytest.approx(128, abs=2)
    assert at[1500] == pytest.approx(255 / (1 + np.exp(2)), abs=2)
    assert 0 < at[1000] < at[1500] < at[2500] < at[3000] < 255


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_table_comes_before_any_window(mammogram, bits):
    table = Dataset()
    table.LUTDescriptor = [2000, 1000, bits]
    entries = np.linspace((1 << bits) - 1, 0, 2000).astype("<u2")
    table.add_new("LUTData", "OW", entries.tobytes())
    path = mammogram(RAMP, VOILUTSequence=[table], WindowCenter="1", WindowWidth="2")
    assert (shown_at(path, 500), shown_at(path, 3500)) == (255, 0)
    assert shown_at(path, 2000) == pytest.approx(128, abs=2)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"WindowCenter": "2000"},
        {"WindowCenter": "2000", "WindowWidth": "-5"},
        {"VOILUTSequence": [Dataset()]},
    ],
    ids=["nothing", "no width", "negative width", "empty table"],
)
def test_without_a_usable_window_the_whole_scale_is_shown(mammogram, header):
    path = mammogram(RAMP, **header)
    assert shown_at(path, 60) < 10
    assert shown_at(path, 2048) == pytest.approx(128, abs=6)
    assert shown_at(path, 4050) > 245


def _with_frame(path, syntax):
    """Replace a file's pixels by a compressed frame that is none."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"\xff\xd8 this is no picture"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path
