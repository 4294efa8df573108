"""Models and thresholds are chosen: with or without the second stage, by what held-out scenes say of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.evaluation.calibration import expected_error
from lab.evaluation.matching import Verdict
from lab.evaluation.roc import area_under_curve
from lab.training.fitting import HeldOut, SceneCases, calibrated, fit, held_out_scores, surprise
from lab.training.thresholds import (
    FALSE_LARGE_PER_SCENE,
    LargeRule,
    large_rule,
    morphology_score,
    operating_points,
    paired,
    quality_bounds,
    reported,
    suspicious_score,
)
from mammography.reader.classification import Classification
from mammography.reader.plan import ReaderPlan
from mammography.reader.second_stage import SecondStage


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was chosen on validation scenes, and what the card says of the choice."""

    plan: ReaderPlan
    classification: Classification
    scores: list[list[HeldOut]]
    """Of the whole images, by models fitted without them."""
    notes: tuple[str, ...]


def choose(
    plan: ReaderPlan,
    windows: list[SceneCases],
    whole: list[SceneCases],
    second_stage: SecondStage | None,
) -> tuple[Chosen, SecondStage | None]:
    """Return models and thresholds, and the second stage where the models are less surprised with it."""
    everything = windows + whole
    told = {False: held_out_scores(everything, second=False)}
    surprises = {False: surprise(everything, told[False])}
    if second_stage is not None:
        told[True] = held_out_scores(everything, second=True)
        surprises[True] = surprise(everything, told[True])
    second = min(surprises, key=surprises.__getitem__)
    classification = fit(everything, second=second)
    detection, all_scores = calibrated(classification.calcification, everything, told[second])
    scores = all_scores[len(windows) :]
    rule = large_rule(everything)
    points = operating_points(whole, scores)
    chosen = plan.model_copy(
        update={
            "operating_points": points,
            "quality": quality_bounds(whole, scores, points[plan.operating_point]),
            "suspicious_score": suspicious_score(everything, all_scores),
            "morphology_score": morphology_score(everything, all_scores),
            "large_score": rule.score,
            "large_mm2": rule.size_mm2,
        }
    )
    notes = (
        _second_note(surprises, second=second),
        _suspicion_note(everything, all_scores),
        _calibration_note(everything, told[second], all_scores),
        _large_note(everything, rule),
    )
    classification = classification.model_copy(update={"calcification": detection})
    return Chosen(plan=chosen, classification=classification, scores=scores, notes=notes), (
        second_stage if second else None
    )


def _second_note(surprises: dict[bool, float], *, second: bool) -> str:
    """Return which models were the better ones, in words."""
    if True not in surprises:
        return "No second stage: too few clusters were found to teach one."
    better = "is used beside the measured shapes" if second else "brought nothing and is not used"
    return (
        f"The second stage {better}: mean surprise (log loss of detection plus that of suspicious or not) "
        f"{surprises[True]:.3f} with it, {surprises[False]:.3f} without."
    )


def _suspicion_note(scenes: list[SceneCases], scores: list[list[HeldOut]]) -> str:
    """Return how well suspicion and morphology are told, in words."""
    graded = [(score, case) for case, score in paired(scenes, scores) if case.suspicious is not None]
    values: tuple[Callable[[HeldOut], float], ...] = (_by_literature, _by_model)
    areas = [
        area_under_curve(
            [value(score) for score, case in graded if case.suspicious],
            [value(score) for score, case in graded if not case.suspicious],
        )
        for value in values
    ]
    named = [(score.morphologies, case.morphology) for score, case in graded if case.morphology]
    right = sum(max(told, key=told.__getitem__, default=None) is truth for told, truth in named)
    return (
        f"Suspicious against benign lesions, area under the curve: {areas[0]:.3f} by the literature prior, "
        f"{areas[1]:.3f} by the model of suspicious morphology alone. Morphology right in {right} of {len(named)}."
    )


def _calibration_note(
    scenes: list[SceneCases], before: list[list[HeldOut]], after: list[list[HeldOut]]
) -> str:
    """Return how far detection scores are from coming true, in words."""
    errors, count = [], 0
    for scores in (before, after):
        judged = [
            (score.detection, case.verdict is Verdict.LESION)
            for case, score in paired(scenes, scores)
            if case.verdict is not Verdict.NEITHER
        ]
        said, true = np.array([pair[0] for pair in judged]), np.array([pair[1] for pair in judged])
        errors.append(expected_error(said, true))
        count = len(judged)
    return (
        f"Detection scores are calibrated (Platt): expected calibration error {errors[1]:.3f}, "
        f"{errors[0]:.3f} before, over {count} clusters."
    )


def _large_note(scenes: list[SceneCases], rule: LargeRule) -> str:
    """Return what the rule for large calcifications reaches, in words."""
    found = [case for scene in scenes for case in scene.large]
    shown = [case for case in found if reported(case, rule)]
    real = [case for case in shown if case.truth is not None]
    kinds = sum(case.kind is case.truth for case in real)
    return (
        f"Large benign calcifications: {len(real)} of the {sum(case.truth is not None for case in found)} pieces seen "
        f"are reported, {len(shown) - len(real)} false ones on {len(scenes)} scenes (at most "
        f"{FALSE_LARGE_PER_SCENE:.0%} of the scenes may hold one), their kind right in {kinds} of {len(real)}."
    )


def _by_literature(score: HeldOut) -> float:
    """Return the suspicion that the reader states."""
    return score.suspicion


def _by_model(score: HeldOut) -> float:
    """Return the probability of a suspicious morphology."""
    return score.split
