"""dcmtk shows an image through its presentation state as it shows it without: the state turns no mammogram grey."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tests.judges import run
from tests.results.mammograms import COLUMNS, R_CC, ROWS, answered, cluster, image, written

pytestmark = pytest.mark.validators


def lut(bits: int) -> Dataset:
    """Return a bent VOI LUT of 4096 entries."""
    entries = ((np.arange(4096) / 4095) ** 2 * (2**bits - 1)).astype("<u2")
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    item.LUTExplanation = "Bent"
    return item


INVERSE = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
WINDOW = {"WindowCenter": "1500", "WindowWidth": "1000"}
TWO_WINDOWS = {
    "WindowCenter": ["1500", "2500"],
    "WindowWidth": ["1000", "400.5"],
    "WindowCenterWidthExplanation": ["NORMAL", "HARD"],
}
CASES: dict[str, dict[str, object]] = {
    "one window": WINDOW,
    "two windows": TWO_WINDOWS,
    "sigmoid": WINDOW | {"VOILUTFunction": "SIGMOID"},
    "LUT of 16 bits": {"VOILUTSequence": [lut(16)]},
    "LUT of 12 bits": {"VOILUTSequence": [lut(12)]},
    "monochrome1": WINDOW | INVERSE,
    "monochrome1 with a LUT": INVERSE | {"VOILUTSequence": [lut(16)]},
    "rescaled": {"WindowCenter": "2000", "WindowWidth": "3000", "RescaleSlope": 2, "RescaleIntercept": -500},
}


def ramp(**attributes: object) -> Dataset:
    """Return an image of every grey from the left to the right, and some more of them downwards."""
    source = image(R_CC, **attributes)
    greys = np.linspace(0, 4095, ROWS * COLUMNS).reshape(COLUMNS, ROWS).T.astype("<u2")
    source.PixelData = greys.tobytes()
    return source


@pytest.fixture
def shown(tmp_path) -> Callable[[Dataset, Dataset | None], NDArray[np.uint8]]:
    """Return what dcmtk shows of an image, through a presentation state or as the image itself says."""

    def show(source: Dataset, state: Dataset | None) -> NDArray[np.uint8]:
        paths = [tmp_path / name for name in ("image.dcm", "state.dcm", "picture.pgm")]
        paths[0].write_bytes(written(source))
        through: list[str | Path] = []
        if state is not None:
            state.save_as(paths[1], enforce_file_format=True)
            through = ["-p", paths[1]]
        code, said = run("dcmp2pgm", *through, paths[0], paths[2])
        assert code == 0, said
        return np.frombuffer(paths[2].read_bytes()[-ROWS * COLUMNS :], np.uint8)

    return show


def state_of(source: Dataset) -> Dataset:
    _, state = answered([source], [(cluster(60, 80),)])
    return pydicom.dcmread(BytesIO(state.encode()))


@pytest.mark.parametrize("case", CASES)
def test_an_image_looks_the_same_with_and_without_its_state(case, shown):
    source = ramp(**CASES[case])
    without, through = shown(source, None), shown(source, state_of(source))
    assert len(np.unique(without)) > 50
    difference = np.abs(without.astype(int) - through)
    assert difference.max() <= (1 if case == "LUT of 12 bits" else 0)


@pytest.mark.parametrize("case", CASES)
def test_dcmtk_would_see_a_window_or_a_polarity_that_is_not_the_image_s(case, shown):
    source = ramp(**CASES[case])
    state = state_of(source)
    without = shown(source, None).astype(int)
    turned = {"INVERSE": "IDENTITY", "IDENTITY": "INVERSE"}[state.PresentationLUTShape]
    state.PresentationLUTShape = turned
    assert np.abs(without - shown(source, state)).max() > 100
    state = state_of(source)
    (voi,) = state.SoftcopyVOILUTSequence
    if "VOILUTSequence" in voi:
        del state.SoftcopyVOILUTSequence
    else:
        voi.WindowCenter = "3000"
    assert np.abs(without - shown(source, state)).max() > 20


def test_of_two_windows_the_first_is_the_one_that_the_image_opens_with(shown):
    first = ramp(**WINDOW)
    both = ramp(**TWO_WINDOWS)
    assert np.array_equal(shown(both, state_of(both)), shown(first, None))
