"""Instances that are kept without a network."""

from datetime import UTC, datetime

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from node.arrival import Arrival
from node.dimse_status import InstanceRefused, StorageExhausted
from node.part10 import Announcement
from node.reception import Reception
from tests.reception.mammograms import encoded


def announced(image: Dataset, **changes: str) -> Announcement:
    said = {
        "sop_class_uid": image.SOPClassUID,
        "sop_instance_uid": image.SOPInstanceUID,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
        "calling_ae_title": "MODALITY1",
    }
    return Announcement(**said | changes)


def arrived(reception: Reception, image: Dataset, **changes: str) -> Arrival:
    """An image whose data set came whole."""
    arrival = reception.begin(announced(image, **changes))
    arrival.write(encoded(image))
    return arrival


def keep(reception: Reception, image: Dataset, *, now: datetime | None = None, **changes: str) -> str:
    """Have an image kept as a C-STORE would; return its Study Instance UID, or raise why it is not kept."""
    arrival, now = arrived(reception, image, **changes), now or datetime.now(UTC)
    try:
        (outcome,) = reception.accept([arrival], now=now)
        if isinstance(outcome, InstanceRefused | StorageExhausted):
            reception.refuse(arrival, outcome, now=now)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    finally:
        arrival.discard()
