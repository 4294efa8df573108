"""The same thing always has the same UID, so that every retry is harmless (PS3.5 chapter 9, annex B.2)."""

import hashlib
import re
from enum import StrEnum

_LAWFUL = re.compile(r"[0-9]+(?:\.[0-9]+)*")


class UidRole(StrEnum):
    """What a UID of ours names; two roles never share a UID."""

    CAD_SR = "cad-sr"
    CAD_SR_SERIES = "cad-sr-series"
    GSPS = "gsps"
    GSPS_SERIES = "gsps-series"
    TID1500 = "tid1500"
    TID1500_SERIES = "tid1500-series"
    PICTURE = "picture"
    PICTURE_SERIES = "picture-series"
    VARIANT = "variant"
    TRACKING = "tracking"
    COMMITMENT_TRANSACTION = "commitment-transaction"
    PHANTOM = "phantom"
    DEVICE = "device"


def mint(role: UidRole, *identity: str) -> str:
    """Return the UID of the thing that `role` and `identity` name: "2.25." and a 128 bit number (PS3.5 B.2).

    The number is the first half of a SHA-256, marked as a version 8 UUID (RFC 9562), so that it is a
    lawful UUID-derived UID. Identity parts are separated, so ("ab", "c") and ("a", "bc") differ.
    """
    digest = hashlib.sha256()
    for part in (role.value, *identity):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    number = bytearray(digest.digest()[:16])
    number[6] = number[6] & 0x0F | 0x80
    number[8] = number[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(number, 'big')}"


def lawful(uid: str) -> bool:
    """Return whether a UID follows PS3.5 9.1: digits and dots, no empty component, at most 64 characters."""
    return len(uid) <= 64 and _LAWFUL.fullmatch(uid) is not None
