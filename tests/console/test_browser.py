"""The console in a real browser."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

OUTLINE = (255, 90, 79)
"""The colour of the outline on the pictures of the fixture."""
BANNER = (253, 243, 216)


@pytest.fixture
def browse(chromium, tmp_path):
    """Open an address in Debian's Chromium; return its standard output, and what its console said of pages.

    The browser has pages of its own (chrome://) that complain of a slow machine; those are not ours.
    """

    def opened(address: str, *options: str) -> tuple[str, list[str]]:
        done = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--enable-logging=stderr",
                f"--user-data-dir={tmp_path / 'profile'}",
                *options,
                address,
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return done.stdout, [line for line in said if "source: chrome://" not in line]

    return opened


def like(picture: np.ndarray, colour: tuple[int, int, int], tolerance: int = 12) -> int:
    """How many pixels are of about this colour."""
    return int((np.abs(picture.astype(int) - colour).max(axis=2) <= tolerance).sum())


def test_a_study_is_shown_with_its_pictures_and_the_browser_complains_of_nothing(
    browse, console, uid_of, tmp_path: Path
):
    file = tmp_path / "study.png"
    address = f"{console.address}/studies/{uid_of('1007')}"
    _, complaints = browse(address, f"--screenshot={file}", "--window-size=1280,1100", "--hide-scrollbars")
    assert complaints == []
    with Image.open(file) as image:
        picture = np.asarray(image.convert("RGB"))
    assert picture.shape == (1100, 1280, 3)
    assert like(picture[:20], BANNER) > 15_000, "The style sheet is not applied."
    left, right = picture[:, :300], picture[:, 300:560]
    assert like(left, OUTLINE, 40) > 100, "The pictures of the right breast are not shown at the left side."
    assert like(right, OUTLINE, 40) > 50, "The picture of the left breast is not shown at the right side."


def test_an_open_list_asks_again_and_keeps_its_filter(browse, console):
    before = len(console.asked)
    dom, complaints = browse(
        f"{console.address}/?state=failed&state=queued", "--virtual-time-budget=12000", "--dump-dom"
    )
    assert complaints == []
    asked = [path for path in console.asked[before:] if path.startswith("/?")]
    assert asked[0] == "/?state=failed&state=queued"
    assert len(asked) >= 3, "The open page asked for nothing again."
    assert set(asked) == {"/?state=failed&state=queued"}
    assert re.findall(r'aria-current="true" data-state="([a-z]+)"', dom) == ["queued", "failed"]
    assert len(re.findall(r'<tr id="study-\d+">', dom)) == 2
    assert re.search(r'class="live on"[^>]*>live<', dom) is not None
