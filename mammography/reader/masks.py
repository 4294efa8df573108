"""Masks shrunk and grown by many steps at once.

Eroding `steps` times by a cross keeps what is farther than `steps` city blocks from all that is not in the mask, so
one distance transform does what would be that many passes (Rosenfeld and Pfaltz 1968).
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask: TypeAlias = NDArray[np.bool_]


def shrunk(mask: Mask, steps: int, *, beyond: bool) -> Mask:
    """Return a mask [rows, columns] eroded `steps` times by a cross; `beyond`: what lies past its edges."""
    if mask.all() and beyond:
        return mask.copy()
    padded = np.pad(mask, 1, constant_values=beyond)
    distance = ndimage.distance_transform_cdt(padded, metric="taxicab")
    return np.asarray(distance[1:-1, 1:-1] > steps, dtype=np.bool_)


def grown(mask: Mask, steps: int) -> Mask:
    """Return a mask [rows, columns] dilated `steps` times by a cross; nothing comes in over its edges."""
    return ~shrunk(~mask, steps, beyond=True)
