"""Values of a DICOM header, asked for without trust: pydicom parses a value when it is first asked for."""

import struct
import zlib
from decimal import Decimal
from math import isfinite

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

DAMAGE = (
    AttributeError,
    BytesLengthException,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise over damaged bytes, in memory too; RecursionError is a RuntimeError."""


def stated(header: Dataset, keyword: str) -> object | None:
    """Return the value of an attribute, the first of several; None where it is missing, empty or damaged."""
    try:
        value: object = header.get(keyword)
    except DAMAGE:
        return None
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value == "" else value


def number_of(header: Dataset, keyword: str) -> float | None:
    """Return the finite number that an attribute states, the first of several, or None."""
    value = stated(header, keyword)
    if not isinstance(value, int | float | Decimal):
        return None
    number = float(value)
    return number if isfinite(number) else None
