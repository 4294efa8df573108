"""OHIF 3.13.2 as npm has it, served beside the DICOMweb of a PACS, as a hospital's web server does."""

import http.client
import json
import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

VERSION = "3.13.2"
BUILT = Path(__file__).resolve().parents[2] / "build" / f"ohif-{VERSION}"
"""Where tests/install-servers unpacks it."""
CONFIGURATION: dict[str, Any] = {
    "name": "tests",
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "measurementTrackingMode": "simplified",
    "disableConfirmationPrompts": True,
    "maxNumberOfWebWorkers": 2,
    "maxNumRequests": {"interaction": 20, "thumbnail": 4, "prefetch": 4},
    "strictZSpacingForVolumeViewport": True,
    "showLoadingIndicator": True,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "investigationalUseDialog": {"option": "never"},
    "customizationService": [{"ohif.tours": {"$set": []}}],
    "defaultDataSourceName": "dicomweb",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": {
                "friendlyName": "PACS",
                "name": "pacs",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "wadoUriRoot": "/wado",
                "qidoSupportsIncludeField": False,
                "supportsReject": False,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "omitQuotationForMultipartRequest": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}
"""As docs/viewers.md tells an administrator, but for the tours and questions that a test does not answer."""


class _Answer(BaseHTTPRequestHandler):
    """Answers with OHIF's own files, and passes what is for the PACS on."""

    protocol_version = "HTTP/1.1"
    pacs: str

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        path = urlparse(self.path).path
        if path.startswith(("/dicom-web", "/wado")):
            self._pass_on()
        elif path == "/app-config.js":
            self._say(f"window.config = {json.dumps(CONFIGURATION)}".encode(), "text/javascript")
        else:
            file = (BUILT / path.lstrip("/")).resolve()
            known = file.is_file() and file.is_relative_to(BUILT)
            if not known and file.suffix:
                self.send_error(404)
                return
            file = file if known else BUILT / "index.html"
            self._say(
                file.read_bytes(), TYPES.get(file.suffix) or mimetypes.guess_type(file)[0] or "text/plain"
            )

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def _pass_on(self) -> None:
        address = urlparse(self.pacs)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        names = ("Accept", "Content-Type", "Host")
        headers = {name: self.headers[name] for name in names if self.headers[name]}
        length = int(self.headers.get("Content-Length") or 0)
        connection.request(self.command, self.path, self.rfile.read(length) if length else None, headers)
        answer = connection.getresponse()
        self._say(answer.read(), answer.getheader("Content-Type") or "", answer.status)
        connection.close()

    def _say(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".css": "text/css"}


@contextmanager
def served(pacs: str) -> Iterator[str]:
    """Serve OHIF on a loopback port in front of a PACS at this address, and yield its own address."""
    handler = type("Answer", (_Answer,), {"pacs": pacs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
