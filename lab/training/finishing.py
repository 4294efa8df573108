"""From a taught network to a weights folder: fitted models, chosen thresholds, plan, card, checksums."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
from torch import Tensor

from lab.evaluation.matching import Verdict
from lab.evaluation.statistics import wilson
from lab.phantom.truth import Scene
from lab.training.fitting import (
    HeldOut,
    SceneCases,
    collect,
    fit,
    held_out_scores,
    morphology_score,
    operating_points,
    suspicious_score,
    unfitted,
)
from lab.training.scenes import validation_scene
from mammography.reader.plan import CARD_FILE, CLASSIFICATION_FILE, NETWORK_FILE, PLAN_FILE, ReaderPlan
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import UNUSED_WEIGHT, OpenedWeights, folded, network_of

TRAINED_ON = "Synthetic images (phantom) alone; never a real mammogram. Not for clinical use."
MEASURED_HEADING = "## Measured"
MEASURED_RULE = "\n\n---\n\n"
NOT_MEASURED = "Not yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How a network was taught, for the card."""

    steps: int
    minutes: float
    scenes: int
    seed: int
    command: str


def finish(
    average: dict[str, Tensor], plan: ReaderPlan, out: Path, *, windows: int, whole: int, history: History
) -> Iterator[str]:
    """Write a weights folder; yields what is being done, once for every scene looked at.

    The models are fitted on windows and whole images that the network never saw; thresholds come from the
    whole images, by models fitted without them.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = network_bytes(average)
    reader = Reader(OpenedWeights(plan, folded(network_of(weights, plan)), unfitted()))
    cases: dict[bool, list[SceneCases]] = {False: [], True: []}
    for is_whole, count in ((False, windows), (True, whole)):
        for found in collect(_scenes(count, history.seed, is_whole), reader, whole=is_whole):
            cases[is_whole].append(found)
            yield "whole images" if is_whole else "windows"
    everything = cases[False] + cases[True]
    scores = held_out_scores(cases[True], also=cases[False])
    all_scores = held_out_scores(everything)
    classification = fit(everything).model_dump_json(indent=1).encode()
    chosen = plan.model_copy(
        update={
            "trained_on": TRAINED_ON,
            "operating_points": operating_points(cases[True], scores),
            "suspicious_score": suspicious_score(everything, all_scores),
            "morphology_score": morphology_score(everything, all_scores),
            "files": {
                NETWORK_FILE: hashlib.sha256(weights).hexdigest(),
                CLASSIFICATION_FILE: hashlib.sha256(classification).hexdigest(),
            },
        }
    )
    (out / NETWORK_FILE).write_bytes(weights)
    (out / CLASSIFICATION_FILE).write_bytes(classification)
    (out / PLAN_FILE).write_text(chosen.model_dump_json(indent=1) + "\n")
    (out / CARD_FILE).write_text(_card(chosen, history, cases[True], scores, windows))


def write_measured(folder: Path, text: str) -> None:
    """Add what was measured to a folder's card; the same command's earlier figures give way."""
    card = folder / CARD_FILE
    before, _, section = card.read_text().partition(MEASURED_HEADING)
    command = text.partition(":")[0]
    kept = [
        block.strip()
        for block in section.split(MEASURED_RULE)
        if not block.strip().startswith((command, NOT_MEASURED))
    ]
    blocks = MEASURED_RULE.join([block for block in kept if block] + [text.strip()])
    card.write_text(f"{before}{MEASURED_HEADING}\n\n{blocks}\n")


def network_bytes(average: dict[str, Tensor]) -> bytes:
    """Return the weights as a safetensors file of half precision."""
    kept = {name: value.half().contiguous() for name, value in average.items() if UNUSED_WEIGHT not in name}
    return bytes(safetensors.torch.save(kept))


def _scenes(count: int, seed: int, whole: bool) -> Iterable[Scene]:
    """Return validation scenes, drawn as they are needed."""
    first = 100_000 if whole else 0
    return (validation_scene(first + number, seed=seed, whole=whole) for number in range(count))


def _card(
    plan: ReaderPlan,
    history: History,
    scenes: list[SceneCases],
    scores: list[list[HeldOut]],
    windows: int,
) -> str:
    """Return the card: what the weights are, what they were taught and chosen on, what they are not."""
    rows = [
        f"| {name} | {threshold:.4f} | {_reached(scenes, scores, threshold)} |"
        for name, threshold in plan.operating_points.items()
    ]
    return f"""# {plan.name} {plan.version}: reader card

**{plan.trained_on}**

| | |
|---|---|
| network | {plan.widths[0]}/{plan.widths[1]}/{plan.widths[2]}/{plan.widths[3]} channels, half precision, \
SHA-256 {plan.files[NETWORK_FILE][:16]}... |
| taught on | {history.scenes:,} synthetic windows of 8 x 6 cm, {history.steps:,} steps in \
{history.minutes:.0f} minutes of one shared processor core |
| command | `{history.command}` |
| chosen on | {windows} windows and {len(scenes)} whole images from other seeds (models, thresholds) |
| pitch | 0.06 to 0.105 mm as it is; other pitches are resampled to {plan.spacing_mm} mm |

Operating points, chosen on the {len(scenes)} whole validation images; their own figures are optimistic:

| operating point | detection score | lesions found there, false marks per image |
|---|---|---|
{chr(10).join(rows)}

What the numbers mean:

- Everything here was learned from, and measured on, images that our own phantom draws. Nothing is known of
  real mammograms, vendors, or patients.
- `detection` is how surely a cluster is calcification rather than fibre or noise **of the phantom**.
- `suspicion` separates the morphologies that we draw as suspicious (amorphous, coarse heterogeneous, fine
  pleomorphic, fine linear) from those that we draw as benign. It is the separability of our own drawing rules,
  and never a probability of cancer.
- A morphology is stated only where its probability is at least {plan.morphology_score:.2f} and it agrees with the
  call. A distribution follows from the geometry of the specks by rule.
- Large benign calcifications (vascular, rim, rod-like, coarse, dystrophic, skin) are recognised only to be left
  out of clusters; they are not reported.
- Implants, magnification views, specimens and tomosynthesis are not read. For Processing images are read only
  where no For Presentation image of the view exists, and were not taught.

{MEASURED_HEADING}

{NOT_MEASURED}: `mammocalc evaluate --card` writes this section.
"""


def _reached(scenes: list[SceneCases], scores: list[list[HeldOut]], threshold: float) -> str:
    """Return what a threshold reaches on whole validation images, in words."""
    false, found, asked = 0, 0, 0
    for scene, row in zip(scenes, scores, strict=True):
        marked = [case for case, score in zip(scene.cases, row, strict=True) if score.detection >= threshold]
        false += sum(case.verdict is Verdict.FALSE for case in marked)
        wanted = {number for number, _ in scene.asked}
        asked += len(wanted)
        found += len(wanted & {number for case in marked for number in case.lesions})
    share = wilson(found, asked)
    return f"{found}/{asked} ({share.low:.2f} to {share.high:.2f}), {np.divide(false, len(scenes)):.2f}"
