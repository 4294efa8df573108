"""Callers that say almost what the standard lets them say, for as long as one likes."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dimse_status import InstanceRefused
from node.instance_header import read_instance_header
from node.negotiation import MODALITY_PERFORMED_PROCEDURE_STEP, STORAGE_COMMITMENT_PUSH_MODEL, negotiate
from node.wire.command_set import encode_command, parse_command
from node.wire.pdu import ProtocolViolation
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram
from tests.reception.raw_callers import (
    C_ECHO,
    RELEASE_RQ,
    VERIFICATION,
    RawCaller,
    association_request,
    c_store,
    fragments,
    pdus,
)

SOP_CLASSES = (
    FOR_PRESENTATION,
    VERIFICATION,
    STORAGE_COMMITMENT_PUSH_MODEL,
    MODALITY_PERFORMED_PROCEDURE_STEP,
)
SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
CALLERS = 4
WELL_KNOWN = "1.2.840.10008.1.20.1.1"
"""The one instance of Storage Commitment; here it names a step, too."""


def _operation(field_number: int, context_id: int, sop_class_uid: str, information: Dataset) -> bytes:
    """A request of DIMSE-N: N-EVENT-REPORT, N-ACTION, N-CREATE or N-SET."""
    asked = encode_command(
        {
            0x0002: sop_class_uid.encode(),
            0x0100: struct.pack("<H", field_number),
            0x0110: struct.pack("<H", 7),
            0x0800: struct.pack("<H", 1),
            0x1000: WELL_KNOWN.encode(),
            0x1002: struct.pack("<H", 1),
            0x1008: struct.pack("<H", 1),
        }
    )
    values = fragments(context_id, asked, is_command=True, size=200)
    values += fragments(context_id, encoded(information), is_command=False, size=200)
    return b"".join(pdus(values))


def _information() -> Dataset:
    item, information = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = FOR_PRESENTATION, "1.2.3"
    item.StudyInstanceUID = "1.2"
    information.TransactionUID = "1.2.3"
    information.ReferencedSOPSequence = [item]
    information.ScheduledStepAttributesSequence = [item]
    information.PerformedProcedureStepStatus = "IN PROGRESS"
    return information


WHOLE = encoded(mammogram("fuzz", side=40))
MESSAGES = (
    C_ECHO,
    c_store(mammogram("fuzz").SOPInstanceUID, WHOLE, size=300, values_in_a_pdu=2),
    c_store("1.2.3", WHOLE, size=100_000),
    *(_operation(asked, 5, STORAGE_COMMITMENT_PUSH_MODEL, _information()) for asked in (0x0100, 0x0130)),
    *(_operation(asked, 7, MODALITY_PERFORMED_PROCEDURE_STEP, _information()) for asked in (0x0120, 0x0140)),
    RELEASE_RQ,
)
REQUEST = association_request(sop_classes=SOP_CLASSES)
COMMAND = encode_command({0x0002: b"1.2.840.10008.1.1", 0x0100: b"0\0", 0x0110: b"\1\0", 0x0800: b"\1\1"})


def damaged(chance: random.Random, whole: bytes) -> bytes:
    """Bytes with some of them changed, left out, doubled or cut off; now and then none at all."""
    damage = bytearray(whole)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        start = chance.randrange(len(damage) + 1)
        length = chance.choice((0, 1, 2, 4, 12, 300))
        what = chance.randrange(4)
        if what == 0:
            damage[start : start + length] = chance.randbytes(length)
        elif what == 1:
            del damage[start : start + length]
        elif what == 2:
            damage[start:start] = damage[start : start + length]
        else:
            damage[start : start + 4] = chance.choice(
                (b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\1", b"\1\0\0\0", b"\x7f\xff\xff\xff")
            )
    return bytes(damage[: chance.randrange(len(damage) + 1)] if chance.random() < 0.2 else damage)


@dataclass
class Fuzzing:
    """What was tried, and what went wrong."""

    port: int
    seconds: float
    seed: int
    calls: int = 0
    parsed: int = 0
    slowest_echo: float = 0.0
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, still_well: Callable[[], str]) -> None:
        """Call, parse and ask how it is, until the time is over or something went wrong."""
        end = time.monotonic() + self.seconds
        callers = [
            threading.Thread(target=self._call_until, args=(end, random.Random(f"{self.seed}/{number}")))
            for number in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        chance = random.Random(f"{self.seed}/parsers")
        while time.monotonic() < end and not self.faults:
            for _ in range(50):
                self._parse(chance)
            self._echo()
            if fault := still_well():
                self.faults.append(fault)
        for caller in callers:
            caller.join()

    def _call_until(self, end: float, chance: random.Random) -> None:
        while time.monotonic() < end and not self.faults:
            state = chance.getstate()
            try:
                self._call(chance)
            except (OSError, AssertionError) as fault:
                self.faults.append(f"{fault!r} in a call of {hash(state)}")
            with self._lock:
                self.calls += 1

    def _call(self, chance: random.Random) -> None:
        caller = RawCaller(self.port)
        caller.socket.settimeout(30)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                if chance.random() < 0.1:
                    caller.socket.sendall(damaged(chance, REQUEST))
                else:
                    caller.socket.sendall(REQUEST)
                    if caller.pdu()[0] != 2:
                        self.faults.append("a lawful request was not accepted")
                for _ in range(chance.randrange(4)):
                    caller.socket.sendall(damaged(chance, chance.choice(MESSAGES)))
                if chance.random() < 0.9:
                    caller.socket.shutdown(socket.SHUT_WR)
                    while caller.pdu()[0]:
                        pass
        finally:
            caller.socket.close()

    def _echo(self) -> None:
        """A lawful caller is answered all the while."""
        began = time.monotonic()
        caller = RawCaller(self.port)
        try:
            if caller.associate(sop_classes=SOP_CLASSES) != 2:
                self.faults.append("a lawful caller was not accepted")
                return
            caller.socket.sendall(C_ECHO)
            if caller.status() != 0:
                self.faults.append("an echo was not answered with success")
            caller.socket.sendall(RELEASE_RQ)
        except (OSError, AssertionError) as fault:
            self.faults.append(f"a lawful caller got {fault!r}")
        finally:
            caller.socket.close()
            self.slowest_echo = max(self.slowest_echo, time.monotonic() - began)

    def _parse(self, chance: random.Random) -> None:
        """Bytes are understood, or called unlawful."""
        data_set, syntax = damaged(chance, WHOLE), chance.choice(SYNTAXES)
        with suppress(InstanceRefused):
            read_instance_header(
                BytesIO(data_set), transfer_syntax_uid=syntax, sop_class_uid=FOR_PRESENTATION
            )
        with suppress(ProtocolViolation):
            negotiate(damaged(chance, REQUEST))
        with suppress(ProtocolViolation):
            parse_command(1, damaged(chance, COMMAND))
        self.parsed += 3
