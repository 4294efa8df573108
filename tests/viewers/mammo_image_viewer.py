"""PixelMed's MammoImageViewer: hangs four mammograms side by side and draws the marks of a Mammography CAD SR."""

import os
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.judges import JARS

SCREEN = (4000, 1100)
HANGING = ("R MLO", "L MLO", "R CC", "L CC")
"""Its columns, from the left."""
DRAWN_WITHIN_SECONDS = 90.0
CLASSPATH = ":".join(map(str, JARS))


@contextmanager
def screen(folder: Path) -> Iterator[tuple[str, Path]]:
    """Run a screen that nobody sees; yield its name as DISPLAY has it, and the file that holds its pixels."""
    reading, writing = os.pipe()
    width, height = SCREEN
    arguments = ["-displayfd", str(writing), "-screen", "0", f"{width}x{height}x24", "-fbdir", str(folder)]
    with (folder / "xvfb.log").open("wb") as log:
        process = subprocess.Popen(
            ["Xvfb", *arguments, "-nolisten", "tcp"], pass_fds=[writing], stdout=log, stderr=log
        )
    os.close(writing)
    try:
        with os.fdopen(reading) as said:
            number = said.readline().strip()
        assert number, (folder / "xvfb.log").read_text()
        yield f":{number}", folder / "Xvfb_screen0"
    finally:
        process.terminate()
        process.wait(20)


def pixels_of(file: Path) -> np.ndarray:
    """Return a screen's pixels (rows x columns x RGB) from the X window dump that Xvfb maps into a file."""
    content = file.read_bytes()
    header = struct.unpack(">25I", content[:100])
    size, width, height, bytes_per_line, colours = header[0], header[4], header[5], header[12], header[19]
    lines = np.frombuffer(content, np.uint8, height * bytes_per_line, size + 12 * colours)
    return lines.reshape(height, -1, 4)[:, :width, 2::-1]


def shown_with(report: Path, images: Sequence[Path], folder: Path) -> Mapping[str, np.ndarray]:
    """Return the picture of each view as the viewer shows it, once it has stood still."""
    folder.mkdir()
    command = ["java", "-Xmx3g", "-XX:+UseSerialGC", "-cp", CLASSPATH]
    with screen(folder) as (display, file), (folder / "viewer.log").open("wb") as log:
        viewer = subprocess.Popen(
            [*command, "com.pixelmed.display.MammoImageViewer", *images, report],
            env=os.environ | {"DISPLAY": display},
            stdout=log,
            stderr=log,
        )
        try:
            picture = _still(viewer, file, folder / "viewer.log")
        finally:
            viewer.kill()
            viewer.wait(20)
    width = SCREEN[0] // len(HANGING)
    return {view: picture[:, place * width : (place + 1) * width] for place, view in enumerate(HANGING)}


def yellow(picture: np.ndarray) -> np.ndarray:
    """Return where the viewer has drawn marks: its colour for them is yellow."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (red > 180) & (green > 180) & (blue < 100)


def _still(viewer: "subprocess.Popen[bytes]", file: Path, log: Path) -> np.ndarray:
    """Return the screen as soon as every column shows an image and nothing has changed for a while."""
    end = time.monotonic() + DRAWN_WITHIN_SECONDS
    before, since = pixels_of(file), time.monotonic()
    while True:
        time.sleep(0.5)
        now = pixels_of(file)
        if not np.array_equal(now, before):
            before, since = now, time.monotonic()
        columns = np.array_split(now.max(axis=(0, 2)), len(HANGING))
        if all((column > 200).any() for column in columns) and time.monotonic() - since > 2:
            return now
        assert viewer.poll() is None, log.read_text()
        assert time.monotonic() < end, f"Nothing is drawn.\n{log.read_text()}"
