"""What is asked of us besides storing: the operations of DIMSE-N, and what they are answered (PS3.7 section 10)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode

from node.dimse_status import INVALID_ARGUMENT_VALUE, RESOURCE_LIMITATION, SUCCESS, ServiceStatus
from node.instance_header import MALFORMED
from node.porter import Call
from node.wire.command_set import CommandField

MOST_ITEMS = 20_000
"""Items of sequences that come with one operation; a study of tomosynthesis and its reports has some hundreds of images."""
_ITEM, _ITEM_BIG_ENDIAN = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"
"""The tag of an item (PS3.5 7.5)."""

Meaning = TypeVar("Meaning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request of DIMSE-N, as it came."""

    sop_class_uid: str
    sop_instance_uid: str
    type_id: int
    """Action Type ID or Event Type ID; 0 where the operation has none."""
    information: Dataset
    """What came with it; empty where nothing did."""
    call: Call


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingEvent:
    """An N-EVENT-REPORT of ours, on the association on which it was asked for."""

    type_id: int
    information: Dataset
    on_answer: Callable[[int], None]
    """Called with the status that it is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request is answered, and what we report after it."""

    status: ServiceStatus = SUCCESS
    event: OutgoingEvent | None = None


class OperationRefused(Exception):
    """The request cannot be done; str() is the sentence why, for the Error Comment."""

    def __init__(self, status: ServiceStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


Handler = Callable[[Operation], Answer]
"""Does what is asked; raises OperationRefused, or what the ledger raises when it is away."""

Operations = Mapping[tuple[CommandField, str], Handler]
"""Who does what, by Command Field and SOP class."""


def understand(read: Callable[[], Meaning]) -> Meaning:
    """Return what `read` makes of information that came with a request.

    Raises:
        OperationRefused: if it cannot be understood.
    """
    try:
        return read()
    except MALFORMED as failure:
        raise OperationRefused(
            INVALID_ARGUMENT_VALUE, "The information of the request cannot be understood."
        ) from failure


def decoded(information: bytes, transfer_syntax: UID) -> Dataset:
    """Return the data set that came with an operation.

    Raises:
        OperationRefused: if it has more items than are taken at once; everybody else waits while they are read.
        Exception: any of MALFORMED, if it is none.
    """
    item = _ITEM if transfer_syntax.is_little_endian else _ITEM_BIG_ENDIAN
    if information.count(item) > MOST_ITEMS:
        raise OperationRefused(RESOURCE_LIMITATION, f"More than {MOST_ITEMS} items; ask in several requests.")
    return decode(
        BytesIO(information),
        transfer_syntax.is_implicit_VR,
        transfer_syntax.is_little_endian,
        transfer_syntax.is_deflated,
    )
