"""Modalities that send with dcmtk's storescu, again and again, until every image was acknowledged."""

import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.site import Site
from tests.faults.supply import Supply

AGAIN_SECONDS = 1.0


@dataclass
class Modality:
    """Sends the studies of a supply in the order of their numbers, each to whichever node takes it."""

    site: Site
    supply: Supply
    folder: Path
    seed: int
    acknowledged: set[str] = field(default_factory=set)
    """SOP Instance UIDs that were answered with success, once or more often."""
    sent: list[str] = field(default_factory=list)
    """Studies of which every image was."""
    repeated: int = 0
    """How often something had to be sent again."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, number: int, *, images: slice = slice(None)) -> str:
        """Send a study, or a part of it, and return its UID when all of it was acknowledged."""
        chance = random.Random(f"{self.seed}/{number}/{images}")
        out = self.folder / f"{number}-{images.start}"
        out.mkdir(parents=True)
        study = self.supply.study(number)
        files = {}
        for image in study[images]:
            path = out / f"{image.SOPInstanceUID}.dcm"
            image.save_as(path, enforce_file_format=True)
            files[image.SOPInstanceUID] = path
        while not self._send_once(chance, files):
            with self._lock:
                self.repeated += 1
            time.sleep(AGAIN_SECONDS)
        shutil.rmtree(out)
        return str(study[0].StudyInstanceUID)

    def _send_once(self, chance: random.Random, files: dict[str, Path]) -> bool:
        """Send over one association to one of the nodes; return whether everything was acknowledged."""
        node = chance.choice(self.site.nodes)
        command = ["storescu", "-v", "-aet", "MODALITY1", "-aec", node.ae_title, "-to", "10", "-td", "30"]
        command += ["127.0.0.1", str(node.port), *map(str, files.values())]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        uid = ""
        for line in (told.stdout + told.stderr).splitlines():
            if "Sending file: " in line:
                uid = Path(line.partition("Sending file: ")[2].strip()).stem
            elif "Received Store Response (Success)" in line:
                with self._lock:
                    self.acknowledged.add(uid)
        return set(files) <= self.acknowledged

    def work(self, numbers: range, *, may_go_on: Callable[[int], bool], late_every: int = 15) -> None:
        """Send studies when they may go; of each fifteenth the last image comes a while after the others."""
        for number in numbers:
            while not may_go_on(number):
                time.sleep(0.1)
            if number % late_every == late_every - 1:
                self.send(number, images=slice(0, 3))
                time.sleep(12.0)
                uid = self.send(number, images=slice(3, 4))
            else:
                uid = self.send(number)
            with self._lock:
                self.sent.append(uid)
