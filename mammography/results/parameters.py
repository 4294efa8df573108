"""Algorithm Parameters (PS3.16 TID 4019): the lines in which the report keeps what no other row of TID 4000 holds.

Each line is a name and a value. They are for people, and for `read_back`, which finds the assessment in them again.
"""

from collections.abc import Iterable
from enum import StrEnum

from mammography.finding import ReaderIdentity


class Parameter(StrEnum):
    """What a line says; the names are the first words of the line."""

    WEIGHTS = "weights sha256"
    OPERATING_POINT = "operating point"
    TRAINED_ON = "trained on"
    READ_AT = "read at"
    """An ISO 8601 moment with its offset from UTC."""
    BREAST = "highest suspicion"
    """A side (R, L, B), and a number from 0 to 1."""
    SUSPICION = "suspicion"
    """A number from 0 to 1, on a scale by the literature; it is no probability of cancer."""
    STRUCTURE = "structure"
    """What a finding consists of, where it is no cluster of specks."""
    SPECK_CERTAINTY = "certainty of the calcification"
    """Percent: of the one calcification that a finding consists of."""
    SPECK_DIAMETER = "diameter of the calcification"
    """Millimetres at the detector plane: of the one calcification that a finding consists of; 0 if not measured."""
    DISTRIBUTION = "distribution"
    """A word of BI-RADS: of a finding that is one calcification, for which TID 4009 has no row."""
    REASON = "not read:"
    REMARK = "remark:"


def line(name: Parameter, value: str) -> str:
    """Return one parameter as it is written."""
    return f"{name} {value}"


def values(lines: Iterable[str], name: Parameter) -> list[str]:
    """Return the values of a parameter among written ones, in their order."""
    return [said.removeprefix(f"{name} ") for said in lines if said.startswith(f"{name} ")]


def identity_lines(reader: ReaderIdentity) -> tuple[str, ...]:
    """Return what traces a statement to its weights and operating point."""
    return (
        line(Parameter.WEIGHTS, reader.weights_sha256),
        line(Parameter.OPERATING_POINT, reader.operating_point),
        line(Parameter.TRAINED_ON, reader.trained_on),
    )
