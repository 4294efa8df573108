"""The files of instances as this node writes them: a header of ours, then the data set as it came (PS3.10 7.1)."""

import os
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from mammography.results.composed import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_LONGEST_META_TEXT = 64
"""Characters of a UID (PS3.5 9.1); a command may say anything."""
_META_ELEMENT = Struct("<HH2sH")
_LONG_META_ELEMENT = Struct("<HH2sHI")
_BEGIN = Struct("<128s12sI")
"""Preamble; "DICM", with tag, VR and length of File Meta Information Group Length (0002,0000); its value."""
_PREAMBLE, _OF_OURS = bytes(128), b"DICM" + _META_ELEMENT.pack(2, 0x0000, b"UL", 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What the command and the association say of an instance before its data set comes."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str


def part10_header(announced: Announcement) -> bytes:
    """Return preamble and File Meta Information, written by us (PS3.10 7.1)."""
    elements = b"".join(
        [
            _LONG_META_ELEMENT.pack(2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _meta(0x0002, b"UI", announced.sop_class_uid),
            _meta(0x0003, b"UI", announced.sop_instance_uid),
            _meta(0x0010, b"UI", announced.transfer_syntax_uid),
            _meta(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _meta(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _meta(0x0016, b"AE", announced.calling_ae_title),
        ]
    )
    return _BEGIN.pack(_PREAMBLE, _OF_OURS, len(elements)) + elements


def _meta(element: int, representation: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")[:_LONGEST_META_TEXT]
    if len(value) % 2:
        value += b"\0" if representation == b"UI" else b" "
    return _META_ELEMENT.pack(2, element, representation, len(value)) + value


def data_set_begin(file: BinaryIO) -> int | None:
    """Return where the data set begins in a file that is read from its start; None where it has no header of ours.

    Raises:
        OSError: if it cannot be read.
    """
    begin = file.read(_BEGIN.size)
    if len(begin) < _BEGIN.size:
        return None
    _, of_ours, meta_bytes = _BEGIN.unpack(begin)
    return _BEGIN.size + int(meta_bytes) if of_ours == _OF_OURS else None


def holds(path: Path, data_set_bytes: int) -> bool:
    """Return whether a file of ours is there, and as long as its header and so long a data set are."""
    try:
        with path.open("rb", buffering=0) as file:
            begin = data_set_begin(file)
            return begin is not None and begin + data_set_bytes == os.fstat(file.fileno()).st_size
    except OSError:
        return False
