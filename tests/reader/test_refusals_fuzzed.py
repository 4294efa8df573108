"""Whatever the node would store gets a reading or a sentence from the reader, and never an error."""

import struct
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

from lab.training.scenes import first_plan
from mammography.finding import ReadStatus
from mammography.mammogram import FOR_PROCESSING, UnreadableMammogram, display_values, open_mammogram
from mammography.reader.preprocessing import density_values, prepare
from mammography.reader.quality import fault_of, measure_quality, remarks_of
from tests.reader.conftest import mammogram_file

PLAN = first_plan()
KEYWORDS = [
    *("BitsAllocated", "BitsStored", "BreastImplantPresent", "Columns"),
    *("EstimatedRadiographicMagnificationFactor", "HighBit", "ImageLaterality", "ImagerPixelSpacing"),
    *("ImageType", "LossyImageCompression", "Modality", "NominalScannedPixelSpacing", "NumberOfFrames"),
    *("PatientOrientation", "PhotometricInterpretation", "PixelIntensityRelationship"),
    *("PixelIntensityRelationshipSign", "PixelPaddingRangeLimit", "PixelPaddingValue"),
    *("PixelRepresentation", "PixelSpacing", "PixelSpacingCalibrationType", "RescaleIntercept"),
    *("RescaleSlope", "Rows", "SamplesPerPixel", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"),
    *("ViewCodeSequence", "ViewPosition", "VOILUTFunction", "VOILUTSequence", "WindowCenter"),
    "WindowWidth",
]
NASTY = [
    *(b"", b"\0", b"\0" * 4, b"\xff\xff", b"\xff" * 7, b"nan ", b"inf ", b"-1", b"0 ", b"1e400 ", b"1" * 300),
    *(b"abc ", b"1\\2\\3 ", b"0.07\\0.07 ", b"MONOCHROME1 ", b"GEOMETRY", b"YES ", b"P\\L "),
    *(FOR_PROCESSING.encode(), b"\xfe\xff\x00\xe0\xff\xff\xff\xff"),
]
BYTES = st.one_of(st.sampled_from(NASTY), st.binary(max_size=12))


def with_bytes(path: Path, changed: dict[str, bytes]) -> None:
    """Replace values in a file, whatever they are; what is written as UN is read as what it should be (PS3.5 6.2.2)."""
    content, dataset = path.read_bytes(), pydicom.dcmread(path)
    body = DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = True, False
    replaced = {tag_for_keyword(keyword): value for keyword, value in changed.items()}
    for tag in sorted({*dataset.keys(), *replaced}):
        if tag in replaced:
            body.write(
                struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"UN", 0, len(replaced[tag])) + replaced[tag]
            )
        else:
            write_data_element(body, dataset[tag])
    meta = (
        144 + dataset.file_meta.FileMetaInformationGroupLength
    )  # preamble, prefix, group length: PS3.10 7.1
    path.write_bytes(content[:meta] + body.getvalue())


def half_disc(inside: np.ndarray) -> np.ndarray:
    """Return values inside a half disc on the left, 0 outside."""
    rows, columns = np.indices(inside.shape)
    return np.where(np.hypot(rows - inside.shape[0] / 2, columns) < 280, inside, 0)


@pytest.fixture(scope="module")
def breast() -> np.ndarray:
    """A small breast of smooth noise."""
    rng = np.random.default_rng(4)
    coarse = np.kron(rng.normal(0, 200, (80, 64)), np.ones((8, 8)))
    return half_disc(np.clip(1500 + coarse + rng.normal(0, 30, (640, 512)), 100, 4095)).astype(np.uint16)


def look(path):
    """Do with a file what the reader does before its network; return its channels."""
    mammogram = open_mammogram(path)
    assert display_values(mammogram).shape == mammogram.pixels.shape
    prepared = prepare(density_values(mammogram), spacing_mm=mammogram.spacing_mm, plan=PLAN)
    fault_of(measure_quality(prepared), PLAN.quality)
    assert all(isinstance(remark, str) for remark in remarks_of(mammogram, prepared))
    return prepared.image


def assert_answered(path: Path) -> None:
    """Assert that a file leads to finite channels, or is refused with a sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = look(path)
        except UnreadableMammogram as answer:
            refusal: str | None = str(answer)
        else:
            refusal = None
    assert image.isfinite().all() if refusal is None else refusal.endswith(".")


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changed=st.dictionaries(st.sampled_from(KEYWORDS), BYTES, min_size=1, max_size=3))
def test_any_header_leads_to_channels_or_to_a_sentence(tmp_path, breast, changed):
    path = mammogram_file(tmp_path / "fuzzed.dcm", breast)
    with_bytes(path, changed)
    assert_answered(path)


PICTURES = st.builds(
    lambda kind, seed, bits, signed: (kind, seed, bits, signed),
    st.sampled_from(["noise", "constant", "ramp", "binary", "disc", "dots", "stripes", "rim", "two levels"]),
    st.integers(0, 1000),
    st.sampled_from([8, 12, 14, 16]),
    st.booleans(),
)


def picture_of(kind: str, seed: int, top: int) -> np.ndarray:
    """Return a picture of a kind, 0 to `top`, [640, 512]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((640, 512))
    noise = rng.integers(0, top + 1, (640, 512))
    pictures = {
        "noise": noise,
        "constant": np.full((640, 512), rng.integers(0, top + 1)),
        "ramp": rows * top // 640,
        "binary": (noise > top * rng.random()) * top,
        "disc": half_disc(noise),
        "dots": (rng.random((640, 512)) > 0.999) * top,
        "stripes": (columns // rng.integers(1, 90) % 2) * noise,
        "rim": half_disc(np.full((640, 512), top)) - half_disc(noise) * (columns < 200),
        "two levels": half_disc(np.full((640, 512), top // 2)) + rng.integers(0, 2, (640, 512)),
    }
    return pictures[kind]


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(picture=PICTURES, inverted=st.booleans(), processing=st.booleans(), padding=st.integers(-1, 300))
def test_any_picture_leads_to_channels_or_to_a_sentence(tmp_path, picture, inverted, processing, padding):
    kind, seed, bits, signed = picture
    top = (1 << bits) - 1
    pixels = picture_of(kind, seed, top) - ((top + 1) // 2 if signed else 0)
    values = {"PixelPaddingValue": padding, "PixelPaddingRangeLimit": padding + seed} if padding >= 0 else {}
    path = mammogram_file(
        tmp_path / "fuzzed.dcm",
        pixels,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(signed),
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
        **({"SOPClassUID": FOR_PROCESSING} if processing else {}),
        **values,
    )
    assert_answered(path)


@pytest.mark.parametrize("position", range(132, 1400, 61))
def test_a_study_with_a_damaged_file_is_assessed_whole(reader, tmp_path, breast, position):
    sound = mammogram_file(tmp_path / "sound.dcm", breast)
    damaged = bytearray(sound.read_bytes())
    damaged[position] ^= 0x5A
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assessment = reader.read_study([broken, sound], read_at=datetime(2026, 11, 22, tzinfo=UTC))
    assert 1 <= len(assessment.images) <= 2
    for image in assessment.images:
        assert (image.reason is None) == (image.status is ReadStatus.READ)
