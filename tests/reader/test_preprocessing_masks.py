"""The breast is found among what else mammograms show, and what hides calcifications is left out."""

import numpy as np
import pytest
from scipy import ndimage

from lab.training.scenes import first_plan
from mammography.coordinates import ImagePoint
from mammography.mammogram import UnreadableMammogram, display_values, open_mammogram
from mammography.reader.breast import MASK_STEP, breast_mask
from mammography.reader.preprocessing import IMPLANT_REMARK, Prepared, density_values, prepare

PLAN = first_plan()
ROWS, COLUMNS = 1600, 1280
SPACING_MM = 0.1
DOWN, ACROSS = np.mgrid[:ROWS, :COLUMNS]


def cloud(beta: float, seed: int) -> np.ndarray:
    """Return noise of a power law, mean 0, deviation 1, as large as the image."""
    waves = np.hypot(np.fft.fftfreq(ROWS)[:, None], np.fft.rfftfreq(COLUMNS)) + 1 / ROWS
    white = np.random.default_rng(seed).standard_normal((ROWS, COLUMNS))
    field = np.fft.irfft2(np.fft.rfft2(white) * waves ** (-beta / 2), s=(ROWS, COLUMNS))
    return field / field.std()


@pytest.fixture(scope="module")
def breast() -> np.ndarray:
    """A craniocaudal left breast of 12 bit: a half ellipse that is dense in the middle and thins out to the skin."""
    inside = breast_truth()
    depth = ndimage.distance_transform_edt(np.pad(inside, ((0, 0), (200, 0)), mode="edge"))[:, 200:]
    dense = np.exp(-(((ACROSS - 350) / 300) ** 2) - ((DOWN - 800) / 350) ** 2)
    noise = np.random.default_rng(1).normal(0, 25, (ROWS, COLUMNS))
    values = 700 + 900 * dense + 150 * cloud(2.8, 2) + noise
    values *= np.minimum(depth / 60, 1) ** 0.5
    return np.where(inside, np.clip(values, 60, 4000), 10).astype(np.float32)


def breast_truth() -> np.ndarray:
    """Return where that breast is."""
    return np.hypot((DOWN - 800) / 650, ACROSS / 760) < 1


def prepared_of(values: np.ndarray) -> Prepared:
    return prepare(values, spacing_mm=SPACING_MM, plan=PLAN)


def overlap(values: np.ndarray) -> float:
    """Return how much of mask and truth together they share, 0 to 1."""
    mask, truth = breast_mask(values, SPACING_MM), breast_truth()[4::MASK_STEP, 4::MASK_STEP]
    return float((mask & truth).sum() / (mask | truth).sum())


def searched_at(prepared: Prepared, row: int, column: int) -> bool:
    """Return whether a stored pixel is among what is searched."""
    grid = prepared.grid
    across, down = (int(place) for place in grid.from_image(ImagePoint(column + 0.5, row + 0.5)))
    return bool(prepared.breast[down, across])


def white_border(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[:40], values[-60:], values[:, -50:], values[:, :16] = 4095, 4095, 4095, 4095
    return values


def rough_border(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    rough = np.random.default_rng(5).normal(3700, 40, values.shape)
    values[:, -64:], values[:56] = rough[:, -64:], rough[:56]
    return values


def label_at_the_skin(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[300:380, 540:760] = 3800
    return values


def lead_letters(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    for column in range(560, 900, 40):
        values[200:280, column : column + 12] = 3000
        values[200:208, column : column + 40] = 3000
    return values


def paddle(values: np.ndarray) -> np.ndarray:
    behind = (values < 60) & (DOWN > 60) & (DOWN < 1540) & (ACROSS < 1000)
    return np.where(behind, 150 + np.random.default_rng(6).normal(0, 8, values.shape), values)


def scattered_light(values: np.ndarray) -> np.ndarray:
    light = 300 * np.exp(-np.hypot(DOWN - 800, ACROSS) / 700)
    return np.maximum(values, light + np.random.default_rng(7).normal(10, 5, values.shape))


def another_breast(values: np.ndarray) -> np.ndarray:
    there = np.hypot(DOWN - 1750, ACROSS) < 250
    return np.where(there & (values < 60), 1200 + 150 * cloud(2.8, 8), values)


def grain_of_film(values: np.ndarray) -> np.ndarray:
    """Return a breast whose muscle is white and smooth, beside air that is as grainy as the breast."""
    grain = np.random.default_rng(9).normal(0, 1, values.shape)
    muscle = 2600 / (1 + np.exp((ACROSS + 0.6 * DOWN - 700) / 12))
    return np.maximum(values, muscle * (values > 60)) + 400 + grain * np.where(values > 60, 60, 220)


def dark_fat(values: np.ndarray) -> np.ndarray:
    """Return a breast whose fat is dark and smooth between gland and a thin bright line of skin."""
    inside = breast_truth()
    depth = ndimage.distance_transform_edt(np.pad(inside, ((0, 0), (200, 0)), mode="edge"))[:, 200:]
    dense = np.exp(-(((ACROSS - 250) / 120) ** 2) - ((DOWN - 800) / 180) ** 2)
    fat = 250 + 3 * cloud(2.8, 2) + dense * (1500 + 300 * cloud(2.8, 3)) + 800 * (depth < 20)
    return np.where(inside, fat, 10).astype(np.float32)


@pytest.mark.parametrize(
    "addition",
    [
        white_border,
        rough_border,
        label_at_the_skin,
        lead_letters,
        paddle,
        scattered_light,
        another_breast,
        grain_of_film,
        dark_fat,
    ],
    ids=lambda function: function.__name__.replace("_", " "),
)
def test_the_breast_is_found_beside(breast, addition):
    assert overlap(addition(breast)) > 0.93


def test_the_breast_is_found_on_every_grey_scale(breast):
    for tone in (np.sqrt, np.square, lambda values: 4095 / (1 + np.exp(-(values - 900) / 250))):
        assert overlap(tone(breast).astype(np.float32)) > 0.9


def test_padding_is_no_image(mammogram, breast):
    padded = breast.astype(np.uint16)
    padded[:, 900:] = 4000
    ranged = np.where(padded == 4000, 3990 + DOWN % 20, padded).astype(np.uint16)
    plain = prepared_of(np.where(padded == 4000, 10, padded).astype(np.float32))
    one = open_mammogram(mammogram(padded, PixelPaddingValue=4000, ImagerPixelSpacing=[0.1, 0.1]))
    many = open_mammogram(
        mammogram(ranged, PixelPaddingValue=3990, PixelPaddingRangeLimit=4009, ImagerPixelSpacing=[0.1, 0.1])
    )
    for opened in (one, many):
        prepared = prepared_of(density_values(opened))
        assert prepared.image.equal(plain.image)
        assert display_values(opened)[:, 900:].max() == 0


def test_an_image_of_padding_alone_is_refused(mammogram, breast):
    opened = open_mammogram(mammogram(np.full((640, 512), 7, np.uint16), PixelPaddingValue=7))
    with pytest.raises(UnreadableMammogram, match="nothing but padding"):
        density_values(opened)


def test_a_bright_fold_at_the_skin_is_not_searched(breast):
    line = np.abs(DOWN - 1150 - 0.5 * (ACROSS - 400)) < 30
    folded = np.where(line & breast_truth() & (ACROSS > 480), 3300, breast).astype(np.float32)
    row, column = next((r, c) for r, c in np.argwhere(line & breast_truth())[::-1] if c > 560 and r % 8 == 4)
    assert searched_at(prepared_of(breast), row, column - 30)
    assert not searched_at(prepared_of(folded), row, column - 30)


def test_a_saturated_area_is_not_searched_and_its_share_is_told(breast):
    burnt = breast.copy()
    burnt[700:900, 200:400] = 4095
    prepared = prepared_of(burnt)
    assert not searched_at(prepared, 800, 300)
    assert searched_at(prepared, 800, 500)
    assert prepared.unread == pytest.approx(40_000 / breast_truth().sum(), rel=0.4)


def implant(values: np.ndarray) -> np.ndarray:
    edge = np.hypot((DOWN - 800) / 380, (ACROSS - 60) / 330)
    share = 1 / (1 + np.exp((edge - 1) * 60))
    return values * (1 - share) + share * (3500 + np.random.default_rng(9).normal(0, 12, values.shape))


def test_an_implant_is_left_out_and_told(breast):
    prepared = prepared_of(implant(breast).astype(np.float32))
    assert prepared.remarks == (IMPLANT_REMARK,)
    assert not searched_at(prepared, 800, 200)
    assert searched_at(prepared, 800, 560)


def test_a_breast_without_an_implant_is_not_told_to_have_one(breast):
    muscle = 2600 / (1 + np.exp((ACROSS + 0.6 * DOWN - 600) / 12))
    for values in (breast, np.maximum(breast, muscle * (breast > 60))):
        assert prepared_of(values.astype(np.float32)).remarks == ()


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        (lambda values: values * 0, "No breast was found"),
        (lambda values: values * 0 + 4095, "No breast was found"),
        (lambda values: 4095 - values, "may be inverted"),
        (lambda values: values[500:1100, 100:600], "no air beside a breast"),
        (lambda _: 2000 + 300 * cloud(2.0, 11), "no air beside a breast"),
        (lambda values: np.where(values > 60, 4095, 10), "No breast was found"),
        (lambda values: np.where(np.hypot(DOWN - 300, ACROSS) < 80, values, 10), "No breast was found"),
    ],
    ids=["black", "white", "inverted", "only breast", "cloud", "silhouette", "a corner"],
)
def test_what_shows_no_whole_breast_is_refused(breast, picture, sentence):
    with pytest.raises(UnreadableMammogram, match=sentence):
        prepared_of(picture(breast).astype(np.float32))


def test_masks_of_mirror_images_are_mirror_images(breast):
    assert np.array_equal(breast_mask(breast[:, ::-1], SPACING_MM), breast_mask(breast, SPACING_MM)[:, ::-1])
