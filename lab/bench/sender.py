"""A modality that costs almost nothing: instances encoded once, sent as whole messages with new UIDs.

python -m lab.bench.sender PORT CALLED_AE ASSOCIATIONS INSTANCES BYTES ROUND prints the seconds that sending took.
"""

import socket
import struct
import sys
import threading
import time
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

PDU_BYTES = 128 << 10
"""Of the sender's PDUs, which every receiver here accepts."""
_CLASS = "1.2.840.10008.5.1.4.1.1.1.2"
_ROOT = "1.2.826.0.1.3680043.10.1337"
RELEASE_RQ = struct.pack(">BxI", 5, 4) + bytes(4)


def _uid(role: int, *numbers: int) -> str:
    """Return a UID of always the same length, so that one may be written over another."""
    return f"{_ROOT}.{role}" + "".join(f".1{number:06d}" for number in (*numbers, 0, 0, 0)[:3])


def _instance(size: int) -> tuple[bytes, int]:
    """Return the encoded data set of a mammogram of about `size` bytes of pixels, and its length."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = _CLASS, _uid(3)
    image.StudyDate, image.Modality = "20261122", "MG"
    image.PatientID, image.PatientName = "BENCH", "Bench^Mark"
    image.StudyInstanceUID, image.SeriesInstanceUID = _uid(1), _uid(2)
    image.ImageLaterality, image.ViewPosition = "L", "CC"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = max(1, size // 2 // 512), 512
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PixelData = bytes(image.Rows * image.Columns * 2)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, image)
    encoded = bytes(buffer.getvalue())
    return encoded, len(encoded)


class Message:
    """One C-STORE as the bytes that go over the wire; its UIDs are written over for each instance."""

    def __init__(self, size: int) -> None:
        encoded, self.bytes = _instance(size)
        request = C_STORE()
        request.MessageID, request.Priority = 1, 0
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = _CLASS, _uid(3)
        request.DataSet = BytesIO(encoded)
        message = C_STORE_RQ()
        message.primitive_to_message(request)
        pdus = []
        for primitive in message.encode_msg(1, PDU_BYTES):
            pdu = P_DATA_TF()
            pdu.from_primitive(primitive)
            pdus.append(pdu.encode())
        self.stream = bytearray(b"".join(pdus))
        self._places = {role: self._found(_uid(role).encode()) for role in (1, 2, 3)}

    def name(self, round_number: int, association: int, number: int) -> None:
        """Make it another instance, of a study of its association."""
        for role, places in self._places.items():
            last = number if role == 3 else 0
            uid = _uid(role, round_number, association, last).encode()
            for place in places:
                self.stream[place : place + len(uid)] = uid

    def _found(self, uid: bytes) -> list[int]:
        places, start = [], 0
        while (start := self.stream.find(uid, start, 1 << 20)) >= 0:
            places.append(start)
            start += 1
        return places


def associate(port: int, called: str, *, calling: str = "BENCH", sop_class: str = _CLASS) -> socket.socket:
    """Return an association with one presentation context, of ID 1."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=300)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = calling, called
    context = build_context(sop_class, ExplicitVRLittleEndian)
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = PDU_BYTES
    implementation.implementation_class_uid = _ROOT
    request.user_information = [length, implementation]
    connection.sendall(A_ASSOCIATE_RQ(request).encode())
    kind, _ = next_pdu(connection)
    if kind != 2:
        raise ConnectionError(f"{called} on port {port} accepts no association (PDU type {kind})")
    return connection


def next_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Return the type and the body of what comes next."""
    head = _exactly(connection, 6)
    kind, length = struct.unpack(">BxI", head)
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    got = b""
    while len(got) < length:
        piece = connection.recv(length - len(got))
        if not piece:
            raise ConnectionError("the receiver closed the connection")
        got += piece
    return got


def send(
    connection: socket.socket, message: Message, *, round_number: int, association: int, count: int
) -> None:
    """Send instances one after the other, each after the success of the one before."""
    status = struct.pack("<HHIH", 0, 0x0900, 2, 0)
    for number in range(count):
        message.name(round_number, association, number)
        connection.sendall(message.stream)
        _, answer = next_pdu(connection)
        if status not in answer:
            raise ConnectionError("the receiver refused an instance")
    connection.sendall(RELEASE_RQ)
    next_pdu(connection)
    connection.close()


def pump(
    connection: socket.socket, message: Message, *, round_number: int, association: int, count: int
) -> None:
    """Send the same bytes as `send` without any DICOM about them, each after the one before is on the disk."""
    for number in range(count):
        message.name(round_number, association, number)
        connection.sendall(struct.pack(">Q", len(message.stream)))
        connection.sendall(message.stream)
        _exactly(connection, 1)
    connection.close()


def main() -> None:
    """Send, from as many threads as associations; to PUMP as to the plain pump."""
    port, called = int(sys.argv[1]), sys.argv[2]
    associations, instances, size, round_number = map(int, sys.argv[3:7])
    messages = [Message(size) for _ in range(associations)]
    if called == "PUMP":
        connections = [socket.create_connection(("127.0.0.1", port), timeout=300) for _ in messages]
    else:
        connections = [associate(port, called) for _ in messages]
    deliver = pump if called == "PUMP" else send
    each = max(1, instances // associations)
    failures: list[BaseException] = []

    def run(place: int) -> None:
        try:
            deliver(
                connections[place], messages[place], round_number=round_number, association=place, count=each
            )
        except OSError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(associations)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        sys.exit(f"{failures[0]}")
    print(seconds, each * associations, each * associations * messages[0].bytes)


if __name__ == "__main__":
    main()
