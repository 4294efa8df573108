"""A DICOMweb service that takes instances by STOW-RS and answers whatever a test wants."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import FileDataset

from mammography.results.options import ComposeOptions
from node.parcels import Destination, DicomWeb

JSON = "application/dicom+json"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One request, as the service understood it."""

    path: str
    headers: dict[str, str]
    parts: list[tuple[str, bytes]]
    """Content-Type and content of each."""
    port: int
    """Of the caller: the same port is the same connection."""

    @property
    def dataset(self) -> FileDataset:
        return dcmread(BytesIO(self.parts[0][1]))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is sent back, and how."""

    status: int = 200
    body: Any = None
    """Bytes as they are, anything else as JSON."""
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False


class Silence(Exception):
    """Raised instead of a reply: the service says nothing until the test is over."""


class Cut(Exception):
    """Raised instead of a reply: the service ends the connection; str() is what it says before."""


def failed(failure_reason: int | None, *, status: int = 409, sequence: str = "00081198") -> Reply:
    """The instance was not stored (PS3.18 annex I)."""
    item = {} if failure_reason is None else {"00081197": {"vr": "US", "Value": [failure_reason]}}
    return Reply(status=status, body={sequence: {"vr": "SQ", "Value": [item]}})


def stored(warning_reason: int | None = None, *, status: int = 200) -> Reply:
    """The instance was stored."""
    item = {} if warning_reason is None else {"00081196": {"vr": "US", "Value": [warning_reason]}}
    return Reply(status=status, body={"00081199": {"vr": "SQ", "Value": [item]}})


@dataclass(kw_only=True)
class WebService:
    """The service: its address, what it got, and what it answers."""

    url: str
    answer: Callable[[Stored], Reply] = lambda _: stored()
    got: list[Stored] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def destination(self, name: str = "web", **given: Any) -> Destination:
        return web_destination(self.url, name, **given)


def web_destination(
    url: str,
    name: str = "web",
    *,
    objects: tuple[str, ...] = ("cad-sr", "gsps"),
    timeout: timedelta = timedelta(seconds=5),
    fallback: bool = True,
    **web: Any,
) -> Destination:
    return Destination(
        name=name,
        web=DicomWeb(url=url, **web),
        options=ComposeOptions(kinds=frozenset(objects)),
        fallback=fallback,
        commitment=False,
        timeout=timeout,
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: WebService

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = BytesParser(policy=HTTP).parsebytes(
            f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode() + body
        )
        request = Stored(
            path=self.path,
            headers=dict(self.headers),
            parts=[(part["Content-Type"], part.get_payload(decode=True)) for part in message.iter_parts()],
            port=self.client_address[1],
        )
        self.service.got.append(request)
        try:
            self._say(self.service.answer(request))
        except Silence:
            self.service.over.wait(30)
            self.close_connection = True
        except Cut as words:
            self.wfile.write(str(words).encode())
            self.close_connection = True

    def _say(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.body is not None:
            self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(body) if reply.body is not None else 0))
        if reply.closes:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body if reply.body is not None else b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A caller that hung up is what the test is about."""


@contextmanager
def web_service(
    answer: Callable[[Stored], Reply] = lambda _: stored(), *, tls: ssl.SSLContext | None = None
) -> Iterator[WebService]:
    """Run a service on a port of its own."""
    server = _Server(("127.0.0.1", 0), _Handler)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    service = WebService(url=f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web", answer=answer)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"service": service})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        service.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
