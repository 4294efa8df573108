"""A destination's promise to keep what it was sent (Storage Commitment Push Model, PS3.4 annex J)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydicom.dataset import Dataset

FAILURE_REASONS: Mapping[int, str] = {
    0x0110: "the destination could not process the request (0110H)",
    0x0112: "the destination does not hold the object (0112H)",
    0x0119: "the destination holds the object as another SOP class (0119H)",
    0x0122: "the destination does not support the SOP class (0122H)",
    0x0131: "the destination knows the transaction already (0131H)",
    0x0213: "the destination has no room for the object (0213H)",
}
"""Failure Reason (0008,1197) in words (PS3.3 C.14.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """What a destination says of one transaction in its N-EVENT-REPORT (PS3.4 J.3.3)."""

    transaction_uid: str
    committed: tuple[str, ...]
    """SOP Instance UIDs that the destination keeps from now on."""
    failed: Mapping[str, str]
    """SOP Instance UIDs that it does not keep, each with the reason in words."""

    @classmethod
    def from_event(cls, event_information: Dataset) -> Self:
        """Return the report that an N-EVENT-REPORT's Event Information holds (PS3.4 table J.3-2).

        Items without a UID are passed over; a report without a Transaction UID has the empty one, which
        names no request of ours.
        """
        return cls(
            transaction_uid=str(event_information.get("TransactionUID") or ""),
            committed=tuple(
                str(item.ReferencedSOPInstanceUID)
                for item in event_information.get("ReferencedSOPSequence") or []
                if item.get("ReferencedSOPInstanceUID")
            ),
            failed={
                str(item.ReferencedSOPInstanceUID): failure_in_words(item.get("FailureReason"))
                for item in event_information.get("FailedSOPSequence") or []
                if item.get("ReferencedSOPInstanceUID")
            },
        )


def failure_in_words(failure_reason: int | None) -> str:
    """Return what a Failure Reason (0008,1197) says; a code that PS3.3 does not know is named by its number."""
    if failure_reason is None:
        return "the destination gives no reason"
    return FAILURE_REASONS.get(failure_reason, f"the destination gives the reason {failure_reason:04X}H")
