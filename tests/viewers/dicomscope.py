"""OFFIS DICOMscope: draws an image through a presentation state, graphics and texts on their layers."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

JAR = Path("/usr/share/java/DICOMscope.jar")
CONFIGURATION = Path("/etc/dcmtk/DICOMscope.cfg")
LIBRARIES = sorted(Path("/usr/lib").glob("*/jni/libjInterface.so"))
PROGRAM = Path(__file__).with_name("DrawStates.java")


class Asked(NamedTuple):
    """One picture: an image, through a presentation state or as it is, perhaps with one layer switched off."""

    image: Path
    state: Path | None = None
    layer_off: str | None = None


def drawn(asked: Sequence[Asked], folder: Path) -> list[np.ndarray]:
    """Return each picture (rows x columns x RGB, a pixel for each of the image), all drawn in one JVM."""
    folder.mkdir()
    files = [folder / f"{number}.png" for number in range(len(asked))]
    subprocess.run(["javac", "-cp", JAR, "-d", folder, PROGRAM], check=True, capture_output=True)
    pictures = [
        word
        for (image, state, layer), file in zip(asked, files, strict=True)
        for word in (state or "-", image, file, layer or "-")
    ]
    java = ["java", "-Xmx2g", "-XX:+UseSerialGC", "-Djava.awt.headless=true"]
    library = f"-Djava.library.path={LIBRARIES[0].parent}"
    done = subprocess.run(
        [*java, library, "-cp", f"{folder}:{JAR}", "DrawStates", _configured(folder), *pictures],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [np.asarray(Image.open(file).convert("RGB")).astype(int) for file in files]


def _configured(folder: Path) -> Path:
    """Return Debian's configuration with the folders that DICOMscope writes into as ours."""
    text = CONFIGURATION.read_text(encoding="latin-1")
    text = re.sub(r"^LogDirectory = .*$", f"LogDirectory = {folder}", text, flags=re.MULTILINE)
    text = re.sub(r"^Directory = /var/.*$", f"Directory = {folder}", text, flags=re.MULTILINE)
    file = folder / "DICOMscope.cfg"
    file.write_text(text, encoding="latin-1")
    return file
