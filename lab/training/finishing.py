"""From a taught network to a weights folder: fitted models, chosen thresholds, plan, card, checksums."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import safetensors.torch
from torch import Tensor

from lab.evaluation.matching import Verdict
from lab.evaluation.statistics import wilson
from lab.phantom.study import draw_study
from lab.phantom.truth import Scene
from lab.training.choice import Chosen, choose
from lab.training.fitting import HeldOut, SceneCases, collect, unfitted
from lab.training.scenes import FIRST_SEED, SEEDS_PER_RUN, VALIDATION_SEEDS, validation_scene
from lab.training.second import examples_of, teach
from mammography.reader.plan import (
    CARD_FILE,
    CLASSIFICATION_FILE,
    NETWORK_FILE,
    PLAN_FILE,
    SECOND_STAGE_FILE,
    ReaderPlan,
)
from mammography.reader.prior import MIDDLE
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import UNUSED_WEIGHT, OpenedWeights, folded, network_of

TRAINED_ON = "Synthetic images (phantom) alone; never a real mammogram. Not for clinical use."
MEASURED_HEADING = "## Measured"
MEASURED_RULE = "\n\n---\n\n"
NOT_MEASURED = "Not yet"
SECOND_STAGE_SCENES = 200_000
"""Among the validation windows, the first that teaches the second stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How a network was taught, for the card."""

    steps: int
    minutes: float
    scenes: int
    seed: int
    command: str
    data: tuple[str, ...] = ()
    """Data sets that were mixed in."""

    @property
    def trained_on(self) -> str:
        """The sentence that every report carries."""
        if not self.data:
            return TRAINED_ON
        return f"Synthetic images (phantom) and {', '.join(self.data)}. Not for clinical use."

    @property
    def sources(self) -> str:
        """What was learned from beside synthetic windows, in words that follow them."""
        return f", and windows of {', '.join(self.data)} as often" if self.data else ""

    @property
    def origin(self) -> str:
        """Where everything that the card states comes from, in words."""
        if not self.data:
            return "Everything here was learned from, and measured on, images that our own phantom draws."
        return "Models, thresholds and figures come from images that our own phantom draws, none from the data sets."


def scenes_to_look_at(*, windows: int, whole: int) -> int:
    """Return how often `finish` yields: windows teach the second stage, and as many more fit the models."""
    return 2 * windows + whole


def finish(
    average: dict[str, Tensor], plan: ReaderPlan, out: Path, *, windows: int, whole: int, history: History
) -> Iterator[str]:
    """Write a weights folder; yields what is being done, once for every scene looked at.

    The second stage is taught on windows that the network never saw. The models are fitted on other windows and on
    whole images of studies, and thresholds come from the whole images, by models fitted
    without them.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = network_bytes(average)
    reader = Reader(OpenedWeights(plan, folded(network_of(weights, plan)), unfitted()))
    examples = []
    for found in examples_of(_windows(SECOND_STAGE_SCENES, windows, history.seed), reader):
        examples += found
        yield "windows for the second stage"
    second_stage = teach(examples, plan.morphologies, seed=history.seed)
    reader = Reader(OpenedWeights(plan, folded(network_of(weights, plan)), unfitted(), second_stage))
    cases: dict[bool, list[SceneCases]] = {False: [], True: []}
    for is_whole, scenes in (
        (False, _windows(0, windows, history.seed)),
        (True, _whole_images(whole, history.seed)),
    ):
        for one in collect(scenes, reader, whole=is_whole):
            cases[is_whole].append(one)
            yield "whole images" if is_whole else "windows"
    chosen, used = choose(plan, cases[False], cases[True], second_stage)
    contents = {
        NETWORK_FILE: weights,
        CLASSIFICATION_FILE: chosen.classification.model_dump_json(indent=1).encode(),
    }
    if used is not None:
        contents[SECOND_STAGE_FILE] = bytes(safetensors.torch.save(_halved(used.state_dict())))
    (out / SECOND_STAGE_FILE).unlink(missing_ok=True)
    for name, content in contents.items():
        (out / name).write_bytes(content)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    final = chosen.plan.model_copy(update={"trained_on": history.trained_on, "files": files})
    (out / PLAN_FILE).write_text(final.model_dump_json(indent=1) + "\n")
    (out / CARD_FILE).write_text(_card(final, history, cases[True], chosen, windows))


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
    kept = {name: value for name, value in average.items() if UNUSED_WEIGHT not in name}
    return bytes(safetensors.torch.save(_halved(kept)))


def _halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in half precision, as they are kept."""
    return {name: value.half().contiguous() for name, value in state.items()}


def _windows(first: int, count: int, seed: int) -> Iterable[Scene]:
    """Return validation windows, drawn as they are needed."""
    return (validation_scene(first + number, seed=seed, whole=False) for number in range(count))


def _whole_images(count: int, seed: int) -> Iterator[Scene]:
    """Return the images of whole validation studies, drawn as they are needed."""
    first = FIRST_SEED + seed * SEEDS_PER_RUN + VALIDATION_SEEDS
    return islice(chain.from_iterable(draw_study(first + number) for number in range(count)), count)


def _card(plan: ReaderPlan, history: History, scenes: list[SceneCases], chosen: Chosen, windows: int) -> str:
    """Return the card: what the weights are, what they were taught and chosen on, what they are not."""
    rows = [
        f"| {name} | {threshold:.4f} | {_reached(scenes, chosen.scores, threshold)} |"
        for name, threshold in plan.operating_points.items()
    ]
    return f"""# {plan.name} {plan.version}: reader card

**{plan.trained_on}**

| | |
|---|---|
| network | {plan.widths[0]}/{plan.widths[1]}/{plan.widths[2]}/{plan.widths[3]} channels, half precision, \
SHA-256 {plan.files[NETWORK_FILE][:16]}... |
| taught on | {history.scenes:,} synthetic windows of 8 x 6 cm{history.sources}, {history.steps:,} steps in \
{history.minutes:.0f} minutes of one shared processor core |
| command | `{history.command}` |
| chosen on | {windows} windows and {len(scenes)} whole images from other seeds (models, thresholds); \
{windows} further windows taught the second stage |
| pitch | 0.06 to 0.105 mm as it is; other pitches are resampled to {plan.spacing_mm} mm |

Operating points, chosen on the {len(scenes)} whole validation images; their own figures are optimistic:

| operating point | detection score | lesions found there, false marks per image |
|---|---|---|
{chr(10).join(rows)}

How it was chosen, on the validation scenes, by models fitted without the scene that they are asked about:

{chr(10).join(f"- {note}" for note in chosen.notes)}

What the numbers mean:

- {history.origin} Nothing is known of real mammograms, vendors, or patients.
- `detection` is how surely a cluster is calcification rather than fibre or noise **of the phantom**.
- `suspicion` is a literature prior, not trained on biopsies: what the published shares of malignancy say of the
  morphology and distribution that the reader sees, on a scale with 0.5 at {MIDDLE:.0%} (`mammography/reader/prior.py`
  names every source). It is never a probability of cancer. Its area under the curve measures how well the
  morphologies that we draw as suspicious (amorphous, coarse heterogeneous, fine pleomorphic, fine linear) are told
  from those that we draw as benign: the separability of our own drawing rules.
- Findings of the two views of a breast are matched by depth behind the nipple, number, extent and morphology.
  A match changes no score: on validation studies it brought no lesion more at any operating point.
- A morphology is stated only where its probability is at least {plan.morphology_score:.2f} and it agrees with the
  call. A distribution follows from the geometry of the specks by rule.
- Large benign calcifications (vascular, rim, rod-like, coarse, dystrophic, suture, skin) are left out of clusters
  and {_large_said(plan)}.
- Magnification and spot views, specimens and tomosynthesis are not read. An implant is left out, and remarked. For
  Processing images are read only where no For Presentation image of the view exists, and were not taught.
- A view shows at most {plan.most_findings} marks, suspicious ones first; the figures below are measured without
  that bound.
- A result is withheld, with the reason, where the image's texture, noise or edges are none of a mammogram, and
  where many marks lie among scattered points: its bounds are part of the plan.

{MEASURED_HEADING}

{NOT_MEASURED}: `mammocalc evaluate --card` writes this section.
"""


def _large_said(plan: ReaderPlan) -> str:
    """Return whether large calcifications are reported, in words."""
    if plan.large_score >= 1.0:
        return "not reported: too few were told from other bright things"
    return f"reported from a score of {plan.large_score:.2f} and {plan.large_mm2:g} mm2 on"


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
