"""Debian's Chromium, driven over a pipe by the Chrome DevTools Protocol."""

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
"""Without a screen, without a graphics card, and without calling anyone."""
ANSWER_SECONDS = 120.0


class Page:
    """One page of a browser."""

    def __init__(self, answers: int, commands: int) -> None:
        self._answers, self._commands = answers, commands
        self._left, self._number, self._session = b"", 0, None
        self.complaints: list[str] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.command("Page.enable")
        self.command("Runtime.enable")

    def command(self, method: str, **parameters: Any) -> Mapping[str, Any]:
        """Give a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._commands, content) :]
        end = time.monotonic() + ANSWER_SECONDS
        while True:
            said = self._next(end)
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]
            self._note(said)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, expression: str, *, seconds: float = ANSWER_SECONDS) -> Any:
        """Return the value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (
            value := self.evaluate(f"(() => {{ try {{ return {expression} }} catch {{ return null }} }})()")
        ):
            assert time.monotonic() < end, (
                f"{expression} did not become true.\n{self.evaluate('document.body.innerText')}"
            )
            time.sleep(0.3)
        return value

    def click(self, selector: str) -> None:
        """Click on the middle of an element as soon as it is there."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.until(f"!!{find}")
        self.evaluate(f"{find}.scrollIntoView({{block: 'center'}})")
        box = self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({find}.getBoundingClientRect())"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.command(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1
            )

    def picture(self) -> np.ndarray:
        """Return what the page looks like now (rows x columns x RGB)."""
        content = base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(BytesIO(content)).convert("RGB"))

    def picture_that(
        self, shows: Callable[[np.ndarray], bool], *, seconds: float = ANSWER_SECONDS
    ) -> np.ndarray:
        """Return what the page looks like once it shows something and looks the same twice in a row."""
        end, before = time.monotonic() + seconds, self.picture()
        while True:
            time.sleep(0.7)
            now = self.picture()
            if np.array_equal(before, now) and shows(now):
                return now
            assert time.monotonic() < end, f"The page never shows it: {self.complaints}"
            before = now

    def _note(self, said: Mapping[str, Any]) -> None:
        """Keep what the page's scripts complain of."""
        parameters = said.get("params", {})
        if said.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif said.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.complaints += [
                str(each.get("description", each.get("value"))) for each in parameters["args"]
            ]

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"The browser did not answer within {ANSWER_SECONDS:.0f} s."
            part = os.read(self._answers, 1 << 20)
            assert part, "The browser has ended."
            self._left += part
        message, _, self._left = self._left.partition(b"\0")
        said: dict[str, Any] = json.loads(message)
        return said


@contextmanager
def page(chromium: str, folder: Path, *, size: tuple[int, int] = (1600, 1000)) -> Iterator[Page]:
    """Run a browser with a profile of its own and yield its one page of this width and height in pixels."""
    folder.mkdir()
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    joined = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    arguments = [*OPTIONS, "--remote-debugging-pipe", f"--window-size={size[0]},{size[1]}"]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", joined, "bash", chromium, *arguments, f"--user-data-dir={folder}/profile"],
            pass_fds=[read_commands, write_answers],
            stdout=log,
            stderr=log,
        )
    os.close(read_commands)
    os.close(write_answers)
    try:
        opened = Page(read_answers, write_commands)
        opened.command(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        yield opened
    finally:
        process.terminate()
        process.wait(30)
        os.close(read_answers)
        os.close(write_commands)
