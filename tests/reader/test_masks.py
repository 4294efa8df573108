"""Masks shrunk and grown in one go: the same as step after step."""

import numpy as np
import pytest
from scipy import ndimage

from mammography.reader.masks import grown, shrunk


@pytest.mark.parametrize("seed", range(60))
def test_one_distance_transform_does_what_repeated_steps_do(seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=rng.integers(3, 40, 2)), rng.uniform(0, 2))
    mask, steps = field > 0.1 * rng.normal(), int(rng.integers(1, 6))
    for beyond in (False, True):
        eroded = ndimage.binary_erosion(mask, iterations=steps, border_value=beyond)
        assert np.array_equal(shrunk(mask, steps, beyond=beyond), eroded)
    assert np.array_equal(grown(mask, steps), ndimage.binary_dilation(mask, iterations=steps))


@pytest.mark.parametrize("value", [False, True])
def test_a_mask_of_one_value_changes_only_where_its_edges_let_something_in(value):
    mask = np.full((9, 9), value)
    assert np.array_equal(shrunk(mask, 3, beyond=True), mask)
    assert np.array_equal(grown(mask, 3), mask)
    assert shrunk(mask, 3, beyond=False).sum() == (9 if value else 0)
