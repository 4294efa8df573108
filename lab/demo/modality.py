"""A modality's side of the demonstration: one association, one C-STORE an image."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pydicom
from pynetdicom import AE, evt

from mammography.progress import tracked


class NotSent(Exception):
    """The node did not take the study; str() says what it answered."""


def send(files: Sequence[Path], *, ae_title: str, port: int) -> str:
    """Send the images of one study to a node on this machine, and return the Study Instance UID.

    Raises:
        NotSent: if the association or a C-STORE was refused.
    """
    data_sets = [pydicom.dcmread(file) for file in files]
    entity = AE("DEMO_MODALITY")
    for sop_class, syntax in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in data_sets}:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate(
        "127.0.0.1", port, ae_title=ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay)]
    )
    if not association.is_established:
        raise NotSent(
            f"{ae_title} on port {port} refused the association; is it the node of this settings file?"
        )
    for data_set in tracked(data_sets, label="C-STORE", total=len(data_sets)):
        status = association.send_c_store(data_set)
        if status.get("Status") != 0x0000:
            association.abort()
            raise NotSent(
                f"{ae_title} answered {status.get('Status', 'nothing')!r} to {data_set.SOPInstanceUID}."
            )
    association.release()
    return str(data_sets[0].StudyInstanceUID)


def _without_delay(event: evt.Event) -> None:
    """Turn Nagle's algorithm off."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
