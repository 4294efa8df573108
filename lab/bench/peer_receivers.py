"""Receivers in Python that ours is measured beside: python -m lab.bench.peer_receivers stock|pump PORT FOLDER."""

import os
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, _config, evt

_CLASS = "1.2.840.10008.5.1.4.1.1.1.2"
_BUFFER = 1 << 20


def stock(port: int, folder: Path) -> None:
    """Run pynetdicom as its documentation shows it: the encoded data set to a file, 128 KB PDUs, room for 64."""
    _config.LOG_HANDLER_LEVEL = "none"

    def store(event: Any) -> int:
        name = folder / f"{event.request.AffectedSOPInstanceUID}.dcm"
        name.write_bytes(event.encoded_dataset())
        return 0

    def no_delay(event: Any) -> None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    entity = AE(ae_title="STOCK")
    entity.maximum_pdu_size, entity.maximum_associations = 128 << 10, 64
    entity.add_supported_context(_CLASS, ALL_TRANSFER_SYNTAXES)
    handlers: list[Any] = [(evt.EVT_C_STORE, store), (evt.EVT_CONN_OPEN, no_delay)]
    entity.start_server(("127.0.0.1", port), evt_handlers=handlers)


def pump(port: int, folder: Path) -> None:
    """Take length and bytes off a socket into a synced file, and answer one byte: what the disk lets anybody do."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_pump_one, args=(connection, folder), daemon=True).start()


def _pump_one(connection: socket.socket, folder: Path) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    view = memoryview(bytearray(_BUFFER))
    while head := connection.recv(8, socket.MSG_WAITALL):
        (left,) = struct.unpack(">Q", head)
        path = folder / uuid4().hex
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        while left:
            came = connection.recv_into(view[: min(left, _BUFFER)])
            left -= os.write(descriptor, view[:came])
        os.fdatasync(descriptor)
        os.close(descriptor)
        connection.sendall(b"\1")
    connection.close()


if __name__ == "__main__":
    {"stock": stock, "pump": pump}[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]))
