"""What the network sees does not depend on how an image was stored."""

import numpy as np
import pytest
import torch

from lab.training.scenes import first_plan
from mammography.coordinates import ImagePoint
from mammography.mammogram import FOR_PROCESSING, UnreadableMammogram, open_mammogram
from mammography.reader.breast import breast_mask
from mammography.reader.network import STRIDE
from mammography.reader.preprocessing import density_values, prepare

PLAN = first_plan()


@pytest.fixture(scope="module")
def breast() -> np.ndarray:
    """A half disc of noise on the left of air, 12 bit."""
    rows, columns = np.mgrid[:1024, :768]
    noise = np.random.default_rng(0).normal(1500, 40, (1024, 768))
    return np.where(np.hypot(rows - 512, columns) < 420, noise, 20).astype(np.uint16)


def test_the_breast_is_told_from_the_air_and_from_a_burned_in_letter(breast):
    lettered = breast.copy()
    lettered[40:110, 600:680] = 4000
    mask = breast_mask(lettered.astype(np.float32), 0.07)
    truth = breast[4::8, 4::8] > 500
    assert (mask != truth).mean() < 0.02
    assert not mask[:16, 70:].any()


def test_monochrome1_equals_its_inverse(mammogram, breast):
    plain = density_values(open_mammogram(mammogram(breast)))
    inverse = density_values(
        open_mammogram(mammogram(4095 - breast, PhotometricInterpretation="MONOCHROME1"))
    )
    assert torch.equal(_seen(plain).image, _seen(inverse).image)


def test_a_linear_change_of_the_grey_scale_changes_nothing(breast):
    values = breast.astype(np.float32)
    torch.testing.assert_close(_seen(values).image, _seen(values * 4 + 300).image, atol=2e-3, rtol=0)


def test_a_raw_signal_is_taken_as_its_logarithm_and_turned(mammogram, breast):
    signal = np.clip(4000 * np.exp(-breast.astype(np.float64) / 1500), 1, 4095).astype(np.uint16)
    path = mammogram(
        signal,
        SOPClassUID=FOR_PROCESSING,
        PixelIntensityRelationship="LIN",
        PixelIntensityRelationshipSign=1,
    )
    values = density_values(open_mammogram(path))
    assert values[512, 100] > values[10, 700]
    assert np.corrcoef(values.ravel(), breast.ravel())[0, 1] > 0.99


def test_a_right_breast_looks_like_its_mirror_image(breast):
    left, right = _seen(breast.astype(np.float32)), _seen(breast[:, ::-1].astype(np.float32))
    assert torch.equal(left.image, right.image)
    assert (left.grid.mirrored, right.grid.mirrored) == (False, True)
    assert left.grid.to_image(100.0, 50.0).column == 768 - right.grid.to_image(100.0, 50.0).column


@pytest.mark.parametrize(
    ("spacing_mm", "seen_mm"), [(0.05, 0.07), (0.07, 0.07), (0.085, 0.085), (0.1, 0.1), (0.15, 0.07)]
)
def test_only_a_pitch_far_from_the_plans_is_resampled(breast, spacing_mm, seen_mm):
    prepared = prepare(breast.astype(np.float32), spacing_mm=spacing_mm, plan=PLAN)
    assert prepared.spacing_mm == pytest.approx(seen_mm)
    assert all(side % STRIDE == 0 for side in prepared.image.shape[-2:])


@pytest.mark.parametrize(
    ("spacing_mm", "mirrored"), [(0.05, False), (0.05, True), (0.07, True), (0.15, True)]
)
def test_a_bright_speck_is_seen_where_the_grid_says(breast, spacing_mm, mirrored):
    values = breast.astype(np.float32)
    values[500:504, 200:204] += 2000
    center = ImagePoint(202.0, 502.0)
    if mirrored:
        values, center = values[:, ::-1], ImagePoint(768 - 202.0, 502.0)
    prepared = prepare(values, spacing_mm=spacing_mm, plan=PLAN)
    seen = prepared.image[0, 1].numpy()
    brightest = np.argwhere(seen == seen.max()).mean(axis=0) + 0.5
    found = prepared.grid.to_image(float(brightest[1]), float(brightest[0]))
    assert abs(found.column - center.column) < 1.5
    assert abs(found.row - center.row) < 1.5


def test_an_image_without_a_breast_is_refused():
    with pytest.raises(UnreadableMammogram, match="No breast was found"):
        _seen(np.zeros((1024, 768), np.float32))


def _seen(values):
    """Return what the network sees of values at 0.07 mm."""
    return prepare(values, spacing_mm=0.07, plan=PLAN)
