"""What is sent to destinations, by whichever service, and what becomes of it."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from pydicom.uid import UID
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

from mammography.results.options import USUAL, ComposeOptions

SOP_CLASS_NOT_SUPPORTED = 0x0122
"""The status that says of a C-STORE what a refused presentation context says (PS3.7 C.5), and of STOW-RS too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomWeb:
    """Where a destination takes instances by STOW-RS (PS3.18 section 10.5), and how it knows us."""

    url: str
    """Of the DICOMweb service; "/studies" comes behind it. http or https, without a slash at the end."""
    user: str | None = None
    """Our name, for the HTTP Basic scheme (RFC 7617)."""
    password_file: Path | None = None
    token_file: Path | None = None
    """A bearer token (RFC 6750)."""
    ca: Path | None = None
    """Authorities in PEM that its certificate is trusted by; those of the system where it is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where our objects go: an application entity, or a DICOMweb service, which has no AE title, host and port."""

    name: str
    ae_title: str = ""
    host: str = ""
    port: int = 0
    web: DicomWeb | None = None
    options: ComposeOptions = USUAL
    """Which kinds of objects it gets, and how they are written."""
    fallback: bool = True
    """Whether it gets the next best object instead of one that it does not accept."""
    commitment: bool
    """Whether it is asked to commit to what it was sent (Storage Commitment, PS3.4 annex J)."""
    timeout: timedelta
    """How long each of its answers is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One delivery with what is needed to send it."""

    number: int
    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    kind: str
    path: Path
    sha256: str
    attempts: int
    due_since: datetime
    reason: str

    def content(self) -> bytes:
        """Return the Part 10 file as it was written.

        Raises:
            Damaged: if it cannot be read, or is another one by now.
        """
        try:
            content = self.path.read_bytes()
        except OSError as fault:
            raise Damaged(f"Its file {self.path} cannot be read: {fault.strerror}.") from fault
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise Damaged(f"Its file {self.path} is not what was written: the checksum differs.")
        return content


class Damaged(Exception):
    """The file of a parcel cannot be sent; str() is the sentence that says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt: sent or not, and the reason where there is something to say."""

    sent: bool
    reason: str = ""
    lost: bool = False
    """Whether the association or connection ended while it was on its way: nothing more can be sent on it."""
    unreached: bool = False
    """Whether it was not even tried, as nobody is there: it stays due."""
    refused: bool = False
    """Whether it will never be sent like this: the destination does not accept the SOP class."""


class Way(Protocol):
    """A destination that was reached, by whichever service: parcels are sent to it while it is open."""

    @property
    def is_open(self) -> bool:
        """Whether more can be sent; once it cannot, what is left stays due."""

    def send(self, parcel: Parcel) -> Outcome:
        """Send one parcel and return what the destination says to it."""


def not_accepted(destination: Destination, parcel: Parcel) -> Outcome:
    """Return the outcome of an object whose SOP class the destination does not take."""
    return Outcome(
        False,
        f"{destination.name} does not accept {UID(parcel.sop_class_uid).name}: allow it there, or take "
        f'"{parcel.kind}" out of the objects of this destination.',
        refused=True,
    )


def status_in_words(status: int, comment: str = "") -> str:
    """Return what a status of the Storage Service Class says (PS3.4 B.2.3, PS3.7 annex C)."""
    category = code_to_category(status)
    words = STORAGE_SERVICE_CLASS_STATUS.get(status, (category, ""))[1]
    said = ": ".join(part for part in (words, comment) if part)
    return f"{status:04X}H ({category}{f', {said}' if said else ''})"
