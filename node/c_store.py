"""Our objects to an application entity: one C-STORE each, over one association (PS3.4 annex B)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

from pydicom import dcmread
from pynetdicom.association import Association
from pynetdicom.status import code_to_category

from node.parcels import (
    SOP_CLASS_NOT_SUPPORTED,
    Damaged,
    Destination,
    Outcome,
    Parcel,
    not_accepted,
    status_in_words,
)
from node.requestor import association, propose


class CStore:
    """An association with a destination."""

    def __init__(self, conversation: Association, destination: Destination) -> None:
        self._conversation = conversation
        self._destination = destination

    @property
    def is_open(self) -> bool:
        """Whether the association lasts."""
        return bool(self._conversation.is_established)

    def send(self, parcel: Parcel) -> Outcome:
        """Send one parcel and return what the destination says to it."""
        accepted = self._conversation.accepted_contexts
        if all(context.abstract_syntax != parcel.sop_class_uid for context in accepted):
            return not_accepted(self._destination, parcel)
        try:
            dataset = dcmread(BytesIO(parcel.content()))
        except Damaged as reason:
            return Outcome(False, str(reason))
        try:
            status = self._conversation.send_c_store(dataset, msg_id=parcel.number % 65535 + 1)
        except RuntimeError:  # the association ended since we looked
            return self._unanswered()
        if "Status" not in status:
            return self._unanswered()
        return _judge(self._destination, int(status.Status), str(status.get("ErrorComment") or ""))

    def _unanswered(self) -> Outcome:
        """End the association, and return the outcome of an object whose C-STORE had no answer."""
        self._conversation.abort()  # pynetdicom may take a moment to notice, and would wait for another answer
        seconds = self._destination.timeout.total_seconds()
        return Outcome(
            False,
            f"{self._destination.name} ended the association or did not answer the C-STORE in {seconds:g} s.",
            lost=True,
        )


@contextmanager
def c_store(
    destination: Destination, sop_class_uids: Sequence[str], *, calling_ae_title: str
) -> Iterator[CStore]:
    """Open an association for these SOP classes, hand it out, and release it.

    Raises:
        NoAssociation: if there is nobody, or they reject or do not answer us.
        NothingAccepted: if they accept none of the SOP classes.
    """
    with association(
        propose(*sop_class_uids),
        calling_ae_title=calling_ae_title,
        called_ae_title=destination.ae_title,
        host=destination.host,
        port=destination.port,
        timeout=destination.timeout,
    ) as conversation:
        yield CStore(conversation, destination)


def _judge(destination: Destination, status: int, comment: str) -> Outcome:
    """Return what a C-STORE status means (PS3.4 B.2.3, PS3.7 annex C): a warning says that it was stored."""
    if status == 0x0000:
        return Outcome(True)
    reason = f"{destination.name} answered {status_in_words(status, comment)}."
    return Outcome(code_to_category(status) == "Warning", reason, refused=status == SOP_CLASS_NOT_SUPPORTED)
