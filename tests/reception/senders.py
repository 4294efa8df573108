"""Senders that say exactly what a test wants: any command, any bytes, any presentation context."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext

from node.requestor import association
from tests.reception.mammograms import FOR_PRESENTATION, encoded


@contextmanager
def calling(
    port: int,
    *,
    ae_title: str = "MODALITY1",
    contexts: Sequence[PresentationContext] = (),
    sop_classes: Sequence[str] = (FOR_PRESENTATION,),
) -> Iterator[Association]:
    """An association with the node, in Explicit VR Little Endian unless contexts are given."""
    with association(
        list(contexts) or [build_context(one, ExplicitVRLittleEndian) for one in sop_classes],
        calling_ae_title=ae_title,
        called_ae_title="MAMMOCALC",
        host="127.0.0.1",
        port=port,
        timeout=timedelta(seconds=60),
    ) as conversation:
        yield conversation


def send_bytes(
    conversation: Association,
    data_set: bytes,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    context_id: int | None = None,
) -> C_STORE:
    """Send a C-STORE with these bytes as its data set, whatever they are, and return the response."""
    request = C_STORE()
    request.MessageID = 7
    request.Priority = 0
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.DataSet = BytesIO(data_set) if data_set else None
    context = context_id or next(
        one.context_id for one in conversation.accepted_contexts if one.abstract_syntax == sop_class_uid
    )
    conversation._reactor_checkpoint.clear()
    conversation.dimse.send_msg(request, context)
    _, response = conversation.dimse.get_msg(block=True)
    conversation._reactor_checkpoint.set()
    if response is None:
        raise ConnectionError("the node did not answer")
    return response


def send(conversation: Association, image: Dataset, **announced: str) -> C_STORE:
    """Send an object in Explicit VR Little Endian; `announced` lies about its UIDs."""
    names = {"sop_class_uid": image.SOPClassUID, "sop_instance_uid": image.SOPInstanceUID} | announced
    return send_bytes(conversation, encoded(image), **names)
