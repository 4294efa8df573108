"""A real Orthanc as our PACS, started in a folder of its own (standard library alone: the tests and orthanc-test use it too)."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lab.demo.free_ports import free_port

TEMPLATE = Path(__file__).resolve().parents[2] / "orthanc-test" / "orthanc.json"
"""The configuration that every Orthanc of ours starts from."""

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class OrthancFailed(Exception):
    """Orthanc did not start or did not answer; str() says why, with the end of its log."""


def orthanc_program() -> str | None:
    """Return where Orthanc is installed (Debian's package `orthanc` has it in /usr/sbin), or None."""
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@dataclass(kw_only=True)
class Orthanc:
    """One Orthanc: `with Orthanc(folder=...) as pacs:`, or start() and stop().

    `modalities` are the application entities that it knows: AE title -> port, on 127.0.0.1. It refuses all
    others. A stopped Orthanc may be started again and finds what it held.
    """

    folder: Path
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    modalities: Mapping[str, int] = field(default_factory=lambda: {"MAMMOCALC": 11112})
    ae_title: str = "ORTHANC"
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def configure(self) -> Path:
        """Write the configuration into the folder and return its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = json.loads(TEMPLATE.read_text())
        known = settings["DicomModalities"]["mammocalc"]
        storage = str(self.folder.resolve() / "storage")
        settings |= {
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "DicomModalities": {
                ae_title.lower(): known | {"AET": ae_title, "Port": port}
                for ae_title, port in self.modalities.items()
            },
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings, indent=2))
        return path

    def start(self) -> Self:
        """Start it and return when its REST interface answers.

        Raises:
            OrthancFailed: if it is not installed, ends at once, or does not answer in time.
        """
        program = orthanc_program()
        if program is None:
            raise OrthancFailed("Orthanc is not installed: apt-get install orthanc")
        configuration = self.configure()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [program, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TCP_NODELAY": "1"},  # without it DCMTK waits 40 ms for each object
                start_new_session=True,
            )
        (self.folder / "pid").write_text(str(self._process.pid))
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise OrthancFailed(f"Orthanc did not start:\n{self.log_path.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stop it; what it holds stays in the folder."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        self._process = None
        (self.folder / "pid").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def log_path(self) -> Path:
        """Where it writes its log."""
        return self.folder / "orthanc.log"

    @property
    def url(self) -> str:
        """Its web page and REST interface."""
        return f"http://127.0.0.1:{self.http_port}"

    def answers(self) -> bool:
        """Return whether the REST interface answers."""
        try:
            self.get("/system")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def get(self, path: str) -> Any:
        """Return what a GET answers, JSON decoded."""
        return json.loads(self._call("GET", path))

    def get_bytes(self, path: str) -> bytes:
        """Return what a GET answers, as it is."""
        return self._call("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return what a POST of a JSON object answers, JSON decoded."""
        return json.loads(self._call("POST", path, json.dumps(body).encode()))

    def find(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what /tools/find answers."""
        found: list[dict[str, Any]] = self.post("/tools/find", query)
        return found

    def delete(self, path: str) -> None:
        """Delete a resource."""
        self._call("DELETE", path)

    def instances(self) -> dict[str, str]:
        """Return what it holds: SOP Instance UID -> Orthanc's own identifier of the instance."""
        return {
            instance["MainDicomTags"]["SOPInstanceUID"]: instance["ID"]
            for instance in self.get("/instances?expand")
        }

    def file_of(self, sop_instance_uid: str) -> bytes:
        """Return an instance that it holds, as a Part 10 file."""
        return self.get_bytes(f"/instances/{self.instances()[sop_instance_uid]}/file")

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
