"""A modality that costs almost nothing: instances encoded once, sent as whole messages with new UIDs.

python -m lab.bench.sender PORT CALLED_AE ASSOCIATIONS INSTANCES BYTES ROUND prints what sending took.
"""

import selectors
import socket
import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
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
_PATIENCE_SECONDS = 300
_ANSWER_BYTES = 4096
_PDU_HEADER = struct.Struct(">BxI")
_STATUS = struct.pack("<HHI", 0, 0x0900, 2)
"""What a status stands behind."""
_SUCCESS = struct.pack("<8sH", _STATUS, 0)
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


def connect(port: int) -> socket.socket:
    """Return a connection that holds nothing back."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def associate(port: int, called: str, *, calling: str = "BENCH", sop_class: str = _CLASS) -> socket.socket:
    """Return an association with one presentation context, of ID 1."""
    connection = connect(port)
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


class Association:
    """One sender's part: instances one after the other, each after the success of the one before, then the release."""

    _release = RELEASE_RQ

    def __init__(
        self, connection: socket.socket, message: Message, *, names: tuple[int, int], count: int
    ) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._message, self._names = message, names
        self._count, self._sent = count, 0
        self._left = memoryview(b"")
        self._answer = b""

    @property
    def awaits(self) -> int:
        """What it waits for: room to send, or an answer."""
        return selectors.EVENT_WRITE if self._left else selectors.EVENT_READ

    def begin(self) -> None:
        """Send the next instance, or what the connection takes of it now; after the last one ask for the release."""
        if self._sent < self._count:
            self._message.name(*self._names, self._sent)
            self._left = self._prefixed(memoryview(self._message.stream))
        else:
            self._left = memoryview(self._release)
        self._sent += 1
        self.send_on()

    def send_on(self) -> None:
        """Send what the connection takes now."""
        with suppress(BlockingIOError):
            while self._left:
                self._left = self._left[self.connection.send(self._left) :]

    def hear(self) -> bool:
        """Take what is answered, and go on. Returns whether everything is over.

        Raises:
            ConnectionError: if the receiver refuses an instance or hangs up.
        """
        piece = self.connection.recv(_ANSWER_BYTES)
        if not piece:
            raise ConnectionError("the receiver closed the connection")
        self._answer += piece
        if not self._is_whole(self._answer):
            return False
        answer, self._answer = self._answer, b""
        if self._sent > self._count:
            return True
        self._check(answer)
        self.begin()
        return self._sent > self._count and not self._release

    def _prefixed(self, message: memoryview) -> memoryview:
        return message

    def _is_whole(self, answer: bytes) -> bool:
        size = _PDU_HEADER.size
        return len(answer) >= size and len(answer) >= size + _PDU_HEADER.unpack_from(answer)[1]

    def _check(self, answer: bytes) -> None:
        if _SUCCESS not in answer:
            status = answer.partition(_STATUS)[2][1::-1].hex().upper()
            raise ConnectionError(f"the receiver refused an instance with status {status or 'none'}")


class PumpConnection(Association):
    """The same bytes with their length before them and nothing of DICOM; each after the one before is on the disk."""

    _release = b""

    def _prefixed(self, message: memoryview) -> memoryview:
        self.connection.send(struct.pack(">Q", len(message)))  # nothing else is on its way
        return message

    def _is_whole(self, answer: bytes) -> bool:
        return bool(answer)

    def _check(self, answer: bytes) -> None:
        """There is one answer only."""


def send_all(associations: Sequence[Association]) -> None:
    """Send over all associations at once, from this thread; several would fight for the interpreter's lock.

    Raises:
        OSError: if the receiver refuses an instance or hangs up.
    """
    with selectors.EpollSelector() as selector:
        for association in associations:
            association.begin()
            selector.register(association.connection, association.awaits, association)
        while selector.get_map():
            for key, _ in selector.select(_PATIENCE_SECONDS):
                _go_on(selector, key)


def _go_on(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    association: Association = key.data
    if key.events == selectors.EVENT_WRITE:
        association.send_on()
    elif association.hear():
        selector.unregister(association.connection)
        association.connection.close()
        return
    if association.awaits != key.events:
        selector.modify(association.connection, association.awaits, association)


def main() -> None:
    """Send; to PUMP as to the plain pump. Prints seconds, instances, bytes, and the processor seconds of sending."""
    port, called = int(sys.argv[1]), sys.argv[2]
    number, instances, size, round_number = map(int, sys.argv[3:7])
    each = max(1, instances // number)
    messages = [Message(size) for _ in range(number)]
    is_pump = called == "PUMP"
    associations = [
        (PumpConnection if is_pump else Association)(
            connect(port) if is_pump else associate(port, called),
            message,
            names=(round_number, place),
            count=each,
        )
        for place, message in enumerate(messages)
    ]
    began, worked = time.perf_counter(), time.process_time()
    try:
        send_all(associations)
    except OSError as failure:
        sys.exit(f"{failure}")
    seconds, busy = time.perf_counter() - began, time.process_time() - worked
    print(seconds, each * number, each * number * messages[0].bytes, busy)


if __name__ == "__main__":
    main()
