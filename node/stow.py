"""Our objects to a DICOMweb service: STOW-RS, the Store transaction of PS3.18 section 10.5.

Each request carries one instance, over a connection that is kept: the status of the answer is then the instance's own,
and an object that breaks its destination holds up no other, as with C-STORE. ADR 0019 says why the client is so small.
"""

import base64
import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from node.parcels import (
    SOP_CLASS_NOT_SUPPORTED,
    Damaged,
    Destination,
    DicomWeb,
    Outcome,
    Parcel,
    status_in_words,
)
from node.requestor import CONNECT_TIMEOUT

PIECE = 1 << 18
"""Bytes that are sent at once; a slow line may take the timeout for each."""

LONGEST_ANSWER = 1 << 20
"""Bytes of an answer that are read; one about one instance has some hundred."""

HELD_ALREADY = frozenset({0x0111, 0xB00E})
"""Failure Reasons of a service that holds this SOP Instance UID: Duplicate SOP Instance (PS3.7 annex C), and Azure's own.

The same object of ours always has the same UID and the same bytes, so nothing is missing there.
"""

ADVICE: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "give it the user and password_file, or the token_file, that it knows us by",
    HTTPStatus.FORBIDDEN: "allow us to store there",
    HTTPStatus.NOT_FOUND: "check the url of this destination",
    HTTPStatus.METHOD_NOT_ALLOWED: "check the url of this destination",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "name the service itself in the url of this destination",
    HTTPStatus.REQUEST_TIMEOUT: "it is tried again",
    HTTPStatus.TOO_MANY_REQUESTS: "it is tried again",
    HTTPStatus.BAD_GATEWAY: "it is tried again",
    HTTPStatus.SERVICE_UNAVAILABLE: "it is tried again",
    HTTPStatus.GATEWAY_TIMEOUT: "it is tried again",
}
"""Statuses that are about the service and not about an instance, with what to do."""

FAILED_SOP_SEQUENCE, OTHER_FAILURES_SEQUENCE, REFERENCED_SOP_SEQUENCE = "00081198", "0008119A", "00081199"
FAILURE_REASON, WARNING_REASON = "00081197", "00081196"

_TAG = re.compile(r"[0-9A-Fa-f]{8}")


class NotReached(Exception):
    """The service takes nothing at the moment; str() is the sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a service answered to one instance."""

    status: int
    media_type: str = ""
    """Without parameters."""
    body: bytes = b""


class Stow:
    """A connection to a DICOMweb service."""

    def __init__(self, destination: Destination, web: DicomWeb) -> None:
        self._destination = destination
        self._web = web
        self._address = urlsplit(web.url)
        self._connection = self._connect()
        self._lost = False
        self._answered = False
        self._away = ""

    @property
    def is_open(self) -> bool:
        """Whether the service answered so far."""
        return not self._lost

    def send(self, parcel: Parcel) -> Outcome:
        """Send one parcel and return what the destination says to it.

        A service that stops taking anything is asked no more: the other parcels have the same outcome.

        Raises:
            NotReached: if the service took nothing from the first parcel on.
        """
        try:
            outcome = self._send(parcel)
        except NotReached as reason:
            if not self._answered:
                raise
            self._away = str(reason)
            outcome = Outcome(False, f"{reason}.", unreached=True)
        self._answered = True
        return outcome

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(self, parcel: Parcel) -> Outcome:
        if self._away:
            raise NotReached(self._away)
        try:
            content = parcel.content()
        except Damaged as reason:
            return Outcome(False, str(reason))
        if self._connection.sock is None:  # the service closes it after each answer
            self._connection = self._connect()
        try:
            answer = self._post(content)
        except (OSError, HTTPException):
            self._lost = True
            seconds = self._destination.timeout.total_seconds()
            name = self._destination.name
            return Outcome(
                False,
                f"{name} closed the connection or did not answer the STOW-RS request in {seconds:g} s.",
                lost=True,
            )
        return judge(self._destination, answer)

    def _connect(self) -> HTTPConnection:
        """Open a connection; certificates are read each time, so that new ones need no restart."""
        host, port = self._address.hostname or "", self._address.port
        seconds = CONNECT_TIMEOUT.total_seconds()
        if self._address.scheme == "https":
            context = _trusting(self._web.ca)
            connection: HTTPConnection = HTTPSConnection(host, port, timeout=seconds, context=context)
        else:
            connection = HTTPConnection(host, port, timeout=seconds)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as fault:
            raise NotReached(
                f"the certificate of {self._web.url} is not trusted: {fault.verify_message}; "
                "name its authority with ca"
            ) from fault
        except socket.gaierror as fault:
            raise NotReached(f"the host {host} is not known: {fault.strerror or fault}") from fault
        except ssl.SSLError as fault:
            raise NotReached(f"{self._web.url} speaks no TLS with us: {fault.reason or fault}") from fault
        except OSError as fault:
            raise NotReached(f"{self._web.url} cannot be reached: nobody answers there") from fault
        return connection

    def _post(self, content: bytes) -> Answer:
        """Send one Part 10 file as the only part of a request, and return the answer.

        Raises:
            OSError: if the connection ends, or is silent for too long.
            HTTPException: if what comes back is no HTTP.
        """
        connection, seconds = self._connection, self._destination.timeout.total_seconds()
        connection.sock.settimeout(seconds)
        boundary = hashlib.sha256(content).hexdigest()  # nothing holds its own hash
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(head) + len(content) + len(tail)),
            "Accept": "application/dicom+json",
            **_authorization(self._web),
        }
        # a service that refuses by the headers alone may close before it has read the rest
        with suppress(BrokenPipeError, ConnectionResetError):
            body: list[bytes | memoryview] = [head, *_pieces(content), tail]
            connection.request("POST", f"{self._address.path}/studies", body, headers)
        with _within(connection.sock, self._destination.timeout):
            response = connection.getresponse()
            answer = _read(response)
        if not response.isclosed():
            connection.close()
        return answer


@contextmanager
def stow(destination: Destination, web: DicomWeb) -> Iterator[Stow]:
    """Connect with a DICOMweb service, hand the connection out, and close it.

    Raises:
        NotReached: if there is nobody, or one that we do not trust.
    """
    way = Stow(destination, web)
    try:
        yield way
    finally:
        way.close()


def judge(destination: Destination, answer: Answer) -> Outcome:
    """Return what the answer to one instance means (PS3.18 section 10.5.3 and annex I).

    Raises:
        NotReached: if it is about the service and not about the instance.
    """
    said = f"{destination.name} answered {_in_words(answer.status)}"
    if answer.status in ADVICE:
        raise NotReached(f"{said}: {ADVICE[answer.status]}")
    if 300 <= answer.status < 400:
        raise NotReached(f"{said}: put the address that it names into the url of this destination")
    if answer.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return Outcome(False, f"{said}.", refused=True)
    details = _details(answer)
    failures = [
        *_reasons(details, FAILED_SOP_SEQUENCE, FAILURE_REASON),
        *_reasons(details, OTHER_FAILURES_SEQUENCE, FAILURE_REASON),
    ]
    if failures or answer.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
        return _failed(said, failures[0] if failures else None)
    if details is None:
        return Outcome(
            False,
            f"{said} with {answer.media_type or 'something'}, and no STOW-RS service does: "
            "check the url of this destination.",
        )
    warnings = [code for code in _reasons(details, REFERENCED_SOP_SEQUENCE, WARNING_REASON) if code]
    if warnings:
        return Outcome(True, f"{said}: {status_in_words(warnings[0])}.")
    return Outcome(True, f"{said}." if answer.status == HTTPStatus.ACCEPTED else "")


def _failed(said: str, failure_reason: int | None) -> Outcome:
    """Return the outcome of an instance that a service did not store."""
    if failure_reason is None:
        return Outcome(False, f"{said} and gives no Failure Reason.")
    if failure_reason in HELD_ALREADY:
        return Outcome(True, f"{said}: it holds this instance already ({failure_reason:04X}H).")
    refused = failure_reason == SOP_CLASS_NOT_SUPPORTED
    return Outcome(False, f"{said}: {status_in_words(failure_reason)}.", refused=refused)


def _in_words(status: int) -> str:
    """Return an HTTP status with its name."""
    known = status in HTTPStatus.__members__.values()
    return f"{status} ({HTTPStatus(status).phrase})" if known else str(status)


def _details(answer: Answer) -> dict[str, Any] | None:
    """Return the Store Instances Response Module (PS3.18 annex I) as DICOM JSON; None for what is none.

    An answer without a body, or in XML although we asked for JSON, says no more than its status.
    """
    if not answer.body or answer.media_type in ("application/dicom+xml", "application/xml", "text/xml"):
        return {}
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict) or not all(_TAG.fullmatch(key) for key in found):
        return None
    return found


def _reasons(details: dict[str, Any] | None, sequence: str, reason: str) -> list[int | None]:
    """Return the code of each item of a sequence in DICOM JSON (PS3.18 annex F); None for an item without one."""
    return [_code(item, reason) for item in _values(details, sequence)]


def _code(item: object, tag: str) -> int | None:
    """Return the value of a US attribute; None where it has none."""
    values = _values(item, tag)
    code = values[0] if values else None
    return code if isinstance(code, int) and 0 <= code <= 0xFFFF else None


def _values(dataset: object, tag: str) -> list[Any]:
    """Return the values of an attribute in DICOM JSON, whatever else there may be in its place."""
    attribute = dataset.get(tag) if isinstance(dataset, dict) else None
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values if isinstance(values, list) else []


def _trusting(ca: Path | None) -> ssl.SSLContext:
    """Return a TLS client that trusts these authorities, or those of the system."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as fault:
        raise NotReached(f"the authorities in {ca} cannot be used: {fault.strerror or fault}") from fault


def _authorization(web: DicomWeb) -> dict[str, str]:
    """Return the header that says who we are; the secret is read each time, so that a new one needs no restart."""
    if web.token_file is not None:
        token = _secret(web.token_file)
        if not token.isascii():
            raise NotReached(f"{web.token_file} holds no token: it has letters that no header may have")
        return {"Authorization": f"Bearer {token}"}
    if web.user is not None and web.password_file is not None:
        pair = f"{web.user}:{_secret(web.password_file)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
    return {}


def _secret(file: Path) -> str:
    """Return the one line of a file."""
    try:
        secret = file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise NotReached(f"the secret in {file} cannot be read: {type(fault).__name__}") from fault
    if not secret.isprintable() or not secret:
        raise NotReached(f"{file} must hold the secret in one line")
    return secret


def _pieces(content: bytes) -> list[memoryview]:
    """Return what is sent at once, piece by piece."""
    whole = memoryview(content)
    return [whole[start : start + PIECE] for start in range(0, len(whole), PIECE)]


def _read(response: HTTPResponse) -> Answer:
    """Return an answer with as much of its body as is of use.

    Raises:
        IncompleteRead: if the connection ends before the body does.
    """
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    announced = min(response.length or 0, LONGEST_ANSWER)  # 0 also where it comes in chunks
    body = response.read(LONGEST_ANSWER)
    if len(body) < announced:
        raise IncompleteRead(body)
    return Answer(status=response.status, media_type=media_type, body=body)


@contextmanager
def _within(connection: socket.socket, limit: timedelta) -> Iterator[None]:
    """End a connection that is not done within a limit, even if a byte comes now and then.

    Raises:
        TimeoutError: if it was ended.
    """
    over = threading.Event()

    def end() -> None:
        over.set()
        with suppress(OSError):  # it ended by itself
            # under TLS the object's own method would take the session away from the thread that reads
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(limit.total_seconds(), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if over.is_set():
        raise TimeoutError
