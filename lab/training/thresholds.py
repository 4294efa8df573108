"""Every threshold of the plan is chosen here, on held-out scores of validation scenes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lab.evaluation.matching import Verdict
from lab.evaluation.statistics import threshold_at
from lab.training.fitting import Case, HeldOut, LargeCase, SceneCases
from mammography.reader.plan import QualityBounds

FALSE_MARKS_PER_IMAGE = {"screening": 0.1, "standard": 0.25, "sensitive": 0.5}
"""The operating points: how many false marks per image each may make on the validation images."""
LEAST_SURE = 0.1
"""No operating point reports clusters that are ten to one no calcifications, however few they are."""
CLEAR_SHARE = 0.85
"""A morphology is stated from the probability at which at least this share of the statements is right."""
FEWEST_STATED = 10
"""A share of fewer statements is not trusted."""
FALSE_LARGE_PER_SCENE = 0.01
LARGE_SIZES_MM2 = (0.5, 1.0, 2.0, 4.0, 8.0)
LEAST_LARGE_SCORE, NO_LARGE_SCORE = 0.5, 1.0
STRANGE_SHARE, SCATTER_MARGIN, LEAST_SCATTER = 0.01, 1.25, 0.1
"""Scatter is strange from this much above what so small a share of the images reaches, and from so much at least."""
FEWEST_SCATTERS = 20
"""Fewer images do not tell what scatter is usual."""

Scores = Sequence[Sequence[HeldOut]]
"""For every scene, what held-out models say of its cases."""


class LargeRule(NamedTuple):
    """From which score and size on a large calcification is reported; a score of 1 reports none."""

    score: float
    size_mm2: float


def paired(scenes: Sequence[SceneCases], scores: Scores) -> Iterator[tuple[Case, HeldOut]]:
    """Return every case with what is said of it."""
    for scene, row in zip(scenes, scores, strict=True):
        yield from zip(scene.cases, row, strict=True)


def operating_points(scenes: Sequence[SceneCases], scores: Scores) -> dict[str, float]:
    """Return the detection score of each operating point, from held-out scores of whole images."""
    false_scores = [
        score.detection for case, score in paired(scenes, scores) if case.verdict is Verdict.FALSE
    ]
    return {
        name: round(
            float(np.clip(threshold_at(false_scores, int(rate * len(scenes))), LEAST_SURE, 0.99)) + 1e-4, 4
        )
        for name, rate in FALSE_MARKS_PER_IMAGE.items()
    }


def quality_bounds(scenes: Sequence[SceneCases], scores: Scores, threshold: float) -> QualityBounds:
    """Return the bounds of quality, with the scatter of points that hardly an image of the phantom's reaches.

    What lies outside the marks that `threshold` leaves is scatter; a flood of marks in it is not believed.
    """
    scatter = []
    for scene, told in zip(scenes, scores, strict=True):
        if scene.area_mm2 > 0:
            marked = sum(
                case.specks
                for case, score in zip(scene.cases, told, strict=True)
                if score.detection >= threshold
            )
            scatter.append((scene.points - marked) / (scene.area_mm2 / 100))
    bounds = QualityBounds()
    if len(scatter) < FEWEST_SCATTERS:
        return bounds
    highest = float(np.quantile(scatter, 1 - STRANGE_SHARE)) * SCATTER_MARGIN
    return bounds.model_copy(update={"familiar_scatter": round(max(highest, LEAST_SCATTER), 3)})


def suspicious_score(scenes: Sequence[SceneCases], scores: Scores) -> float:
    """Return the suspicion at which sensitivity and specificity add up to most (Youden)."""
    pairs = [
        (score.suspicion, bool(case.suspicious))
        for case, score in paired(scenes, scores)
        if case.suspicious is not None
    ]
    values, labels = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    tried = np.round(np.arange(0.2, 0.81, 0.02), 2)
    gains = [(values[labels] >= t).mean() + (values[~labels] < t).mean() for t in tried]
    return float(tried[int(np.argmax(gains))])


def morphology_score(scenes: Sequence[SceneCases], scores: Scores) -> float:
    """Return the probability from which stated morphologies are right in CLEAR_SHARE of cases."""
    pairs = []
    for case, score in paired(scenes, scores):
        if case.morphology is not None and score.morphologies:
            best = max(score.morphologies, key=score.morphologies.__getitem__)
            pairs.append((score.morphologies[best], best is case.morphology))
    for tried in np.round(np.arange(0.3, 0.96, 0.05), 2):
        right = [correct for probability, correct in pairs if probability >= tried]
        if len(right) >= FEWEST_STATED and np.mean(right) >= CLEAR_SHARE:
            return float(tried)
    return 0.95


def large_rule(scenes: Sequence[SceneCases]) -> LargeRule:
    """Return the score and size that report most large calcifications with hardly any false one.

    Where the network tells too few from other things, none are reported.
    """
    found = [case for scene in scenes for case in scene.large]
    best, most = LargeRule(NO_LARGE_SCORE, LARGE_SIZES_MM2[0]), 0
    for size in LARGE_SIZES_MM2:
        big = [case for case in found if case.area_mm2 >= size]
        false_scores = [case.score for case in big if case.truth is None]
        highest = threshold_at(false_scores, int(FALSE_LARGE_PER_SCENE * len(scenes)))
        score = round(max(highest, LEAST_LARGE_SCORE) + 1e-4, 4)
        right = sum(reported(case, LargeRule(score, size)) for case in big if case.truth is not None)
        if right > max(most, FEWEST_STATED - 1) and score < NO_LARGE_SCORE:
            best, most = LargeRule(score, size), right
    return best


def reported(case: LargeCase, rule: LargeRule) -> bool:
    """Return whether a rule reports a large structure."""
    return case.score >= rule.score and case.area_mm2 >= rule.size_mm2
