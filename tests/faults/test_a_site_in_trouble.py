"""Kills and outages, one after the other, while studies come: nothing is lost, doubled or stuck, and nobody is needed.

The short form is part of every run of the tests. The long form, `make faults`, is the same with more of everything:
MAMMOCALC_FAULTS is how many kills and outages there are, MAMMOCALC_FAULT_STUDIES over how many studies.
"""

import os
import random
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.demo.orthanc import orthanc_program
from tests.faults.modality import Modality
from tests.faults.outages import Trouble
from tests.faults.site import Site
from tests.faults.supply import Supply
from tests.faults.verdict import judge, wait_until_settled
from tests.servers import POSTGRESQL

FAULTS = int(os.environ.get("MAMMOCALC_FAULTS", "12"))
STUDIES = int(os.environ.get("MAMMOCALC_FAULT_STUDIES", "8"))
SEED = int(os.environ.get("MAMMOCALC_FAULT_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
MODALITIES = 2
PATIENCE_SECONDS = 1200.0
"""For everything to come to its end once the trouble is over: a pause between two tries may be ten minutes by then."""


@pytest.mark.orthanc
@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_SECONDS + 20 * FAULTS + 300)
@pytest.mark.skipif(not POSTGRESQL or not shutil.which("storescu"), reason="needs PostgreSQL and dcmtk")
def test_after_any_trouble_every_image_is_there_and_every_study_answered_once(tmp_path: Path) -> None:
    if orthanc_program() is None:
        pytest.skip("Orthanc is not installed: `apt-get install orthanc` brings it.")
    supply = Supply(tmp_path / "supply")
    began = time.monotonic()
    with Site(tmp_path) as site:
        trouble = Trouble(site=site, seed=SEED, most=FAULTS)
        sender = Modality(site=site, supply=supply, folder=tmp_path / "modality", seed=SEED)

        def may_go_on(number: int) -> bool:
            """Studies come as long as there is trouble."""
            return trouble.total * STUDIES >= (number - 2 * MODALITIES) * FAULTS

        modalities = [
            threading.Thread(
                target=sender.work,
                args=(range(first, STUDIES, MODALITIES),),
                kwargs={"may_go_on": may_go_on},
                daemon=True,
            )
            for first in range(MODALITIES)
        ]
        trouble.start()
        for modality in modalities:
            modality.start()
        trouble.join()
        for modality in modalities:
            modality.join()
        over = time.monotonic()
        wait_until_settled(site, sender.sent, seconds=PATIENCE_SECONDS)
        settled = time.monotonic()
        sources = (image for number in range(STUDIES) for image in supply.study(number))
        verdict = judge(site, sender.sent, sender.acknowledged, sources)
        sys.stderr.write(_figures(trouble, sender, site, verdict, over - began, settled - over))
        assert not verdict.wrong, f"seed {SEED}: " + "; ".join(verdict.wrong[:20])
        assert len(sender.sent) == verdict.studies == STUDIES
        assert len(sender.acknowledged) == verdict.images == 4 * STUDIES
        assert trouble.total >= FAULTS


def _figures(trouble, sender, site, verdict, seconds: float, settling: float) -> str:
    """Return what happened, and what came of it."""
    lines = [f"{trouble.total} kills and outages in {seconds:.0f} s (seed {SEED}):"]
    lines += [f"  {count:4}  {what}" for what, count in sorted(trouble.happened.items())]
    lines += [
        f"{verdict.studies} studies with {verdict.images} images, all acknowledged; {sender.repeated} had to be sent again",
        f"everything was answered {settling:.0f} s after the last of it; {verdict.attempts} objects sent",
        f"studies by their number of revisions: {dict(sorted(verdict.revisions.items()))}",
        f"wrong: {len(verdict.wrong)}",
        *verdict.wrong[:30],
    ]
    return "\n".join(lines) + "\n"
