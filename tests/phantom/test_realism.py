"""The measures of realism know what they measure, and windows of the phantom lie where mammograms lie."""

from statistics import median

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lab.phantom.fields import blur, generator, power_law
from lab.phantom.presentation import VENDORS
from lab.phantom.realism import (
    REAL_BETA,
    REAL_FALL,
    REAL_POWER,
    NoRoomForSpectrum,
    Texture,
    measure_grey,
    measure_texture,
    noise_by_brightness,
)
from lab.phantom.scene import make_scene
from lab.phantom.survey import measure, register, survey
from mammography.view import SCREENING_SET

PITCH_MM = 0.07
SIDE = 1024
WHOLE = np.ones((SIDE // 4, SIDE // 4), bool)
WINDOWS = 40
VIEWS = sorted(SCREENING_SET, key=str)


def stored(field):
    return np.clip(np.rint(field), 0, 4095).astype(np.uint16)


@pytest.mark.parametrize("beta", [2.0, 2.8, 3.4])
def test_the_exponent_of_a_power_law_is_found(beta):
    field = power_law((SIDE, SIDE), beta, generator(4, "power"), PITCH_MM)
    texture = measure_texture(stored(2000 + 300 * field), WHOLE, PITCH_MM)
    assert texture.beta == pytest.approx(beta, abs=0.15)


def test_the_texture_does_not_depend_on_the_grey_scale():
    field = power_law((SIDE, SIDE), 2.8, generator(5, "power"), PITCH_MM)
    steep, flat = (measure_texture(stored(2000 + gain * field), WHOLE, PITCH_MM) for gain in (400, 200))
    assert steep.power == pytest.approx(flat.power, rel=0.02)
    assert steep.beta == pytest.approx(flat.beta, abs=0.02)


def test_white_noise_lowers_the_fall_and_blur_raises_it():
    rng = generator(6, "power")
    field = 2000 + 300 * power_law((SIDE, SIDE), 2.8, rng, PITCH_MM)
    noisy = field + rng.normal(0, 40, field.shape)
    falls = [
        measure_texture(stored(picture), WHOLE, PITCH_MM).fall for picture in (noisy, field, blur(field, 1.0))
    ]
    assert falls[0] < 0.5 * falls[1] < 0.25 * falls[2]


def test_a_spectrum_wants_a_square_within_the_breast():
    with pytest.raises(NoRoomForSpectrum):
        measure_texture(np.full((256, 256), 9, np.uint16), np.ones((64, 64), bool), PITCH_MM)


def test_noise_is_measured_in_each_third_of_brightness():
    rng = generator(7, "noise")
    ramp = np.repeat(np.linspace(500, 3500, SIDE)[None], SIDE, axis=0)
    sigma = np.where(ramp < 1500, 20, np.where(ramp < 2500, 40, 80))
    dark, middle, bright = noise_by_brightness(stored(ramp + rng.normal(0, 1, ramp.shape) * sigma), WHOLE)
    assert (dark, middle, bright) == pytest.approx((20, 40, 80), rel=0.05)


def test_grey_scale_separates_fine_from_coarse():
    rng = generator(8, "grey")
    coarse = 2000 + 10 * np.arange(SIDE)[None] / SIDE + np.zeros((SIDE, 1))
    grey = measure_grey(stored(coarse + rng.normal(0, 30, (SIDE, SIDE))), WHOLE, PITCH_MM)
    assert grey.fine == pytest.approx(30, rel=0.05)
    assert grey.local == pytest.approx(30, rel=0.05)
    assert grey.fill == 1
    assert grey.quantiles[2] == pytest.approx(2005, abs=3)


def test_a_texture_outside_any_band_is_not_like_a_mammogram():
    good = Texture(beta=2.8, power=5e-4, fall=30)
    assert good.like_a_mammogram
    for bad in ({"beta": 2.0}, {"beta": 3.6}, {"power": 5e-5}, {"power": 2e-3}, {"fall": 8}, {"fall": 120}):
        assert not Texture(**({"beta": 2.8, "power": 5e-4, "fall": 30} | bad)).like_a_mammogram


def window(number):
    """Return what is measured of 72 x 58 mm of a breast, at the vendor's own pitch."""
    vendor = VENDORS[number % len(VENDORS)]
    rows, columns = (round(side / vendor.spacing_mm) for side in (72, 58))
    scene = make_scene(
        900 + number,
        view=VIEWS[number % 4],
        rows=rows,
        columns=columns,
        spacing_mm=vendor.spacing_mm,
        lesions=(),
        vendor=vendor,
        density=number // 4 % 4,
        window=True,
    )
    return measure(scene)


@pytest.fixture(scope="module")
def windows():
    return [window(number) for number in range(WINDOWS)]


def test_most_windows_of_the_phantom_lie_in_every_band(windows):
    textures = [each.texture for each in windows if each.texture is not None]
    assert len(textures) >= 0.8 * WINDOWS
    assert sum(texture.like_a_mammogram for texture in textures) >= 0.7 * len(textures)


def test_the_median_window_lies_within_a_tenth_of_real_mammograms(windows):
    textures = [each.texture for each in windows if each.texture is not None]
    for name, (low, high) in {"beta": REAL_BETA, "power": REAL_POWER, "fall": REAL_FALL}.items():
        assert 0.9 * low <= median(getattr(texture, name) for texture in textures) <= 1.1 * high


def test_noise_rises_with_brightness(windows):
    rise = [each.grey.noise[2] / each.grey.noise[0] for each in windows if each.vendor != "epsilon"]
    assert 1.3 < median(rise) < 3.5


def test_the_survey_shows_whole_detectors_without_lesions():
    scenes = list(survey(1, seed=3))
    assert scenes[0].pixels.shape[0] * scenes[0].spacing_mm == pytest.approx(233, abs=0.1)
    assert not scenes[0].groups


def test_the_command_prints_the_table_and_writes_the_sheet(tmp_path):
    own = typer.Typer()
    register(own)
    answer = CliRunner().invoke(own, ["--scenes", "1", "--seed", "3", "--sheet", str(tmp_path / "sheet.png")])
    assert answer.exit_code == 0
    assert "| real | 8 | 2.59-3.16 | 3-8.6 | 18-42 |" in answer.output
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
