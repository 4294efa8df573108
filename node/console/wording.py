"""How the console words states, times, ages and sizes."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from pydicom.uid import UID

from mammography.ledger.tables import DeliveryState
from mammography.study import StudyState

MEANING: Mapping[StudyState, str] = {
    StudyState.RECEIVING: "Images are arriving; it is not known yet whether all are here.",
    StudyState.QUEUED: "All images are here; the study waits for a worker.",
    StudyState.READING: "A worker is reading the images.",
    StudyState.READ: "The reading is done; its DICOM objects are about to be written.",
    StudyState.REPORTED: "The answer is written and is on its way to the destinations.",
    StudyState.DELIVERED: "Every destination has acknowledged every object.",
    StudyState.COMMITTED: "Every destination that offers Storage Commitment has promised to keep every object.",
    StudyState.UNREADABLE: "Holds no mammogram that may be read; another image wakes it up.",
    StudyState.FAILED: "Waits for a person; the reason says what to do.",
}
"""What each state of a study means, for a tooltip and for the legend."""

DELIVERY_MEANING: Mapping[DeliveryState, str] = {
    DeliveryState.PENDING: "Not sent yet, or to be sent again.",
    DeliveryState.SENT: "Acknowledged by C-STORE.",
    DeliveryState.COMMITMENT_REQUESTED: "Acknowledged; Storage Commitment was asked for, no answer yet.",
    DeliveryState.COMMITTED: "The destination has promised to keep it.",
    DeliveryState.SUPERSEDED: "Not sent: another object went instead; the reason says why.",
    DeliveryState.REFUSED: "Not accepted there; the next best object is about to go instead.",
    DeliveryState.FAILED: "Given up; the reason says why.",
}
"""What each state of a delivery means."""


def age(span: timedelta) -> str:
    """Return a duration as people say it: "12 s", "3 min", "5 h", "2 days"; the future counts as "0 s"."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 90 * 60:
        return f"{seconds // 60} min"
    if seconds < 36 * 3600:
        return f"{seconds // 3600} h"
    days = seconds // 86400
    return f"{days} day" if days == 1 else f"{days} days"


def local(at: datetime, now: datetime) -> str:
    """Return a moment in this machine's zone: the time alone where it is today, else the date and the time."""
    here, today = at.astimezone(), now.astimezone().date()
    return here.strftime("%H:%M:%S" if here.date() == today else "%Y-%m-%d %H:%M:%S")


def universal(at: datetime) -> str:
    """Return a moment in UTC, such as "2026-11-22 19:04:13 UTC"."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def day(date: str) -> str:
    """Return a DICOM date (DA, PS3.5 6.2) as "2026-11-22", or as it is where it is none."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdecimal() else date


def size(count: int) -> str:
    """Return a number of bytes as people say it: "912 bytes", "18 KB", "17.0 MB", "1.1 GB"."""
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1000:.0f} KB"
    millions = count / 1_000_000
    for unit in ("MB", "GB"):
        if millions < 1000:
            return f"{millions:.1f} {unit}"
        millions /= 1000
    return f"{millions:.1f} TB"


def uid_name(uid: str) -> str:
    """Return the standard's name of a UID (PS3.6 annex A), or the UID where it has none."""
    return str(UID(uid).name) if uid else "not stated"


def plural(count: int, noun: str) -> str:
    """Return a counted noun: "1 image", "4 images"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
