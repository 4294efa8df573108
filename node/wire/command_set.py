"""Command sets: what a DIMSE message asks and what it is answered (PS3.7 section 6.3 and annex E)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from node.wire.pdu import ProtocolViolation

LONGEST_COMMAND = 64 << 10
"""Bytes; the longest that the standard knows, a C-MOVE with every optional element, has a few hundred."""


class CommandField(IntEnum):
    """What a message is (PS3.7 table E.1-1); a response has bit 15 set."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    N_SET = 0x0120
    N_ACTION = 0x0130
    N_CREATE = 0x0140
    C_CANCEL = 0x0FFF


RESPONSE = 0x8000
"""The bit of the Command Field that makes a response of a request."""

GROUP_LENGTH = 0x0000
AFFECTED_SOP_CLASS_UID = 0x0002
REQUESTED_SOP_CLASS_UID = 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
COMMAND_DATA_SET_TYPE = 0x0800
STATUS = 0x0900
ERROR_COMMENT = 0x0902
AFFECTED_SOP_INSTANCE_UID = 0x1000
REQUESTED_SOP_INSTANCE_UID = 0x1001
EVENT_TYPE_ID = 0x1002
ACTION_TYPE_ID = 0x1008

_DATA_SET = 0x0001
_NO_DATA_SET = 0x0101
_ELEMENT = Struct("<HHI")
_US = Struct("<H")
_UL = Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command set as it came."""

    context_id: int
    elements: Mapping[int, bytes]
    """Values by element number of group 0000, as encoded."""

    @property
    def field(self) -> int:
        """The Command Field."""
        return self.number(COMMAND_FIELD)

    @property
    def message_id(self) -> int:
        """The Message ID; of a message without one, 0."""
        return self.number(MESSAGE_ID) if MESSAGE_ID in self.elements else 0

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self.number(COMMAND_DATA_SET_TYPE) != _NO_DATA_SET

    def stores_as(self, sop_class_uid: str) -> bool:
        """Return whether it is a C-STORE that a data set follows, of this SOP class."""
        is_store = self.field == CommandField.C_STORE and self.has_data_set
        return is_store and self.sop_class_uid in ("", sop_class_uid)

    @property
    def sop_class_uid(self) -> str:
        """The Affected SOP Class UID, or the Requested one; empty where there is neither."""
        return self._uid(AFFECTED_SOP_CLASS_UID) or self._uid(REQUESTED_SOP_CLASS_UID)

    @property
    def sop_instance_uid(self) -> str:
        """The Affected SOP Instance UID, or the Requested one; empty where there is neither."""
        return self._uid(AFFECTED_SOP_INSTANCE_UID) or self._uid(REQUESTED_SOP_INSTANCE_UID)

    def number(self, element: int) -> int:
        """Return a value of VR US.

        Raises:
            ProtocolViolation: if it is missing or has another length.
        """
        try:
            return int(_US.unpack(self.elements[element])[0])
        except (KeyError, struct.error) as failure:
            raise ProtocolViolation(f"The command set has no lawful (0000,{element:04X}).") from failure

    def _uid(self, element: int) -> str:
        return self.elements.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def parse_command(context_id: int, encoded: bytes) -> Command:
    """Return a command set from its encoding in Implicit VR Little Endian (PS3.7 6.3.1).

    Raises:
        ProtocolViolation: if it is none, or states no Command Field or Command Data Set Type.
    """
    elements: dict[int, bytes] = {}
    start = 0
    while start < len(encoded):
        if len(encoded) - start < _ELEMENT.size:
            raise ProtocolViolation("A command set ends within an element.")
        group, element, length = _ELEMENT.unpack_from(encoded, start)
        start += _ELEMENT.size
        if group != 0 or length > len(encoded) - start:
            raise ProtocolViolation("What came as a command set is none.")
        elements[element] = encoded[start : start + length]
        start += length
    command = Command(context_id=context_id, elements=elements)
    command.number(COMMAND_FIELD)
    command.number(COMMAND_DATA_SET_TYPE)
    return command


def response_to(
    command: Command, status: int, *, comment: str = "", extra: Mapping[int, bytes] | None = None
) -> bytes:
    """Return the encoded response to a command: its status and, where it has one, an Error Comment in ASCII.

    `extra` are more elements, encoded. Affected SOP class and instance are those that the request affects, or asks for.
    """
    elements = {
        COMMAND_FIELD: _US.pack(command.field | RESPONSE),
        MESSAGE_ID_BEING_RESPONDED_TO: _US.pack(command.message_id),
        COMMAND_DATA_SET_TYPE: _US.pack(_NO_DATA_SET),
        STATUS: _US.pack(status),
        **(extra or {}),
    }
    for affected, requested in (
        (AFFECTED_SOP_CLASS_UID, REQUESTED_SOP_CLASS_UID),
        (AFFECTED_SOP_INSTANCE_UID, REQUESTED_SOP_INSTANCE_UID),
    ):
        if said := command.elements.get(affected, command.elements.get(requested)):
            elements[affected] = said
    if comment:
        elements[ERROR_COMMENT] = comment.encode("ascii")
    return encode_command(elements)


def event_report(message_id: int, event_type_id: int, *, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return the encoded command of an N-EVENT-REPORT-RQ that a data set follows (PS3.7 10.3.1)."""
    return encode_command(
        {
            AFFECTED_SOP_CLASS_UID: sop_class_uid.encode("ascii"),
            COMMAND_FIELD: _US.pack(CommandField.N_EVENT_REPORT),
            MESSAGE_ID: _US.pack(message_id),
            COMMAND_DATA_SET_TYPE: _US.pack(_DATA_SET),
            AFFECTED_SOP_INSTANCE_UID: sop_instance_uid.encode("ascii"),
            EVENT_TYPE_ID: _US.pack(event_type_id),
        }
    )


def encode_command(elements: Mapping[int, bytes]) -> bytes:
    """Return a command set with its group length; values of odd length are padded (PS3.5 section 6.2)."""
    body = b"".join(_encoded(element, elements[element]) for element in sorted(elements))
    return _encoded(GROUP_LENGTH, _UL.pack(len(body))) + body


def _encoded(element: int, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if element == ERROR_COMMENT else b"\0"
    return _ELEMENT.pack(0, element, len(value)) + value
