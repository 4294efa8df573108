"""Masks are shrunk and grown as scipy's iterated erosion and dilation would, at one pass for any number of steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from mammography.reader.masks import grown, shrunk

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24))


@given(mask=masks, steps=st.integers(1, 6), beyond=st.booleans())
def test_a_shrunk_mask_is_the_one_that_many_erosions_leave(mask, steps, beyond):
    eroded = ndimage.binary_erosion(mask, iterations=steps, border_value=int(beyond))
    assert np.array_equal(shrunk(mask, steps, beyond=beyond), eroded)


@given(mask=masks, steps=st.integers(1, 6))
def test_a_grown_mask_is_the_one_that_many_dilations_give(mask, steps):
    assert np.array_equal(grown(mask, steps), ndimage.binary_dilation(mask, iterations=steps))
