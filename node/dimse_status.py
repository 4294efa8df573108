"""What a sender is answered, as one table of data (PS3.4 B.2.3, PS3.7 annex C)."""

from collections.abc import Mapping
from dataclasses import dataclass


class InstanceRefused(Exception):
    """The sender must change the instance before it sends it again; str() is the sentence why."""


class InstanceMismatch(InstanceRefused):
    """The data set is not the instance that the command announced."""


class StorageExhausted(Exception):
    """We cannot keep the instance now; the sender may send the same again later."""


Refusal = InstanceRefused | StorageExhausted
"""Why an instance is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One status of a response."""

    code: int
    meaning: str
    """As the standard words it."""
    section: str
    """Where the standard defines it."""


SUCCESS = ServiceStatus(code=0x0000, meaning="Success", section="PS3.4 B.2.3")
"""The instance is complete on the disk and its row is committed; it is never answered earlier."""

OUT_OF_RESOURCES = ServiceStatus(
    code=0xA700, meaning="Refused: Out of Resources", section="PS3.4 table B.2-1"
)
DATA_SET_MISMATCH = ServiceStatus(
    code=0xA900, meaning="Error: Data Set does not match SOP Class", section="PS3.4 table B.2-1"
)
CANNOT_UNDERSTAND = ServiceStatus(
    code=0xC000, meaning="Error: Cannot understand", section="PS3.4 table B.2-1"
)

SOP_CLASS_NOT_SUPPORTED = ServiceStatus(
    code=0x0122, meaning="Refused: SOP Class not supported", section="PS3.7 C.5"
)
"""The command names another SOP class than its presentation context."""
INVALID_ATTRIBUTE_VALUE = ServiceStatus(
    code=0x0106, meaning="Failure: Invalid attribute value", section="PS3.7 C.5"
)
PROCESSING_FAILURE = ServiceStatus(code=0x0110, meaning="Failure: Processing failure", section="PS3.7 C.5")
DUPLICATE_SOP_INSTANCE = ServiceStatus(
    code=0x0111, meaning="Failure: Duplicate SOP Instance", section="PS3.7 C.5"
)
NO_SUCH_SOP_INSTANCE = ServiceStatus(
    code=0x0112, meaning="Failure: No such SOP Instance", section="PS3.7 C.5"
)
INVALID_ARGUMENT_VALUE = ServiceStatus(
    code=0x0115, meaning="Failure: Invalid argument value", section="PS3.7 C.5"
)
INVALID_SOP_INSTANCE = ServiceStatus(
    code=0x0117, meaning="Failure: Invalid SOP Instance", section="PS3.7 C.5"
)
NO_SUCH_SOP_CLASS = ServiceStatus(code=0x0118, meaning="Failure: No such SOP Class", section="PS3.7 C.5")
MISSING_ATTRIBUTE = ServiceStatus(code=0x0120, meaning="Failure: Missing attribute", section="PS3.7 C.5")
NO_SUCH_ACTION = ServiceStatus(code=0x0123, meaning="Failure: No such action type", section="PS3.7 C.5")
UNRECOGNIZED_OPERATION = ServiceStatus(
    code=0x0211, meaning="Failure: Unrecognized operation", section="PS3.7 C.5"
)
RESOURCE_LIMITATION = ServiceStatus(code=0x0213, meaning="Failure: Resource limitation", section="PS3.7 C.5")

ANSWERS: Mapping[type[Exception], ServiceStatus] = {
    InstanceMismatch: DATA_SET_MISMATCH,
    InstanceRefused: CANNOT_UNDERSTAND,
    StorageExhausted: OUT_OF_RESOURCES,
}
"""Which refusal is answered with which status."""


def answer_to(refusal: Refusal) -> ServiceStatus:
    """Return the status that tells a sender of a refusal: its own row of ANSWERS, or its nearest parent's."""
    return next(ANSWERS[kind] for kind in type(refusal).__mro__ if kind in ANSWERS)


def error_comment(refusal: Exception) -> str:
    """Return the Error Comment (0000,0902) of a refusal: an LO, so ASCII without backslash, 64 characters."""
    plain = str(refusal).encode("ascii", "replace").decode("ascii").replace("\\", "/")
    printable = "".join(letter if letter.isprintable() else " " for letter in plain)
    return printable if len(printable) <= 64 else f"{printable[:61]}..."
