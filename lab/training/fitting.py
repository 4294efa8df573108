"""What is chosen once the network is taught: the logistic models and the thresholds, on scenes it never saw."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lab.evaluation.matching import Verdict, groups_asked_for, judge, match, stored_places
from lab.evaluation.statistics import threshold_at
from lab.phantom.truth import MACRO_STEP, Scene
from mammography.finding import Morphology
from mammography.reader.classification import Classification, LogisticModel
from mammography.reader.preprocessing import MASK_STEP, Prepared, prepare
from mammography.reader.reader import Candidate, Reader

PENALTY = 3.0
"""Strength of the squared penalty on the weights, in cases."""
FOLDS = 5
FEWEST_OF_A_MORPHOLOGY = 8
"""Lesions of a morphology from which on it is told apart from the others."""
FALSE_MARKS_PER_IMAGE = {"screening": 0.1, "standard": 0.25, "sensitive": 0.5}
"""The operating points: how many false marks per image each may make on the validation images."""
LEAST_SURE = 0.1
"""No operating point reports clusters that are ten to one no calcifications, however few they are."""
CLEAR_SHARE = 0.85
"""A morphology is stated from the probability at which at least this share of the statements is right."""
_DETECTION_MEASURES = (
    "log count", "best scores", "third score", "mean score", "macro share", "log extent", "axis ratio",
    "log density", "nearest mean", "area mean", "area deviation", "elongation mean", "peak mean",
    "peak deviation", "diameter mean", "diameter deviation",
)  # fmt: skip
_SHAPE_MEASURES = (
    "log count", "log extent", "axis ratio", "log density", "nearest deviation", "area mean", "area deviation",
    "elongation mean", "elongation deviation", "peak mean", "peak deviation", "diameter mean",
    "diameter deviation", "suspicious share",
)  # fmt: skip


class TooLittleLearned(Exception):
    """The network is not good enough to fit anything on what it finds; str() says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One cluster of marks on a validation scene. `scene`: its number; `lesions`: the lesions it found."""

    scene: int
    measures: dict[str, float]
    verdict: Verdict
    lesions: tuple[int, ...]
    suspicious: bool | None
    morphology: Morphology | None
    """Of the lesion it found; None where it found none or several kinds."""


class HeldOut(NamedTuple):
    """What models say of a cluster that took no part in their fit."""

    detection: float
    suspicion: float
    morphologies: dict[Morphology, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneCases:
    """The clusters of one scene, and the lesions that should have been found: number and whether easy."""

    cases: tuple[Case, ...]
    asked: tuple[tuple[int, bool], ...]


def unfitted() -> Classification:
    """Return models that say 0.5 of everything: what candidates are collected with before the fit."""
    nothing = LogisticModel(measures=(), mean=(), deviation=(), weight=(), bias=0.0)
    return Classification(calcification=nothing, suspicion=nothing, morphology={})


def collect(scenes: Iterable[Scene], reader: Reader, *, whole: bool) -> Iterator[SceneCases]:
    """Return the clusters that a reader proposes on scenes, each with what it really is."""
    for number, scene in enumerate(scenes):
        prepared = prepared_scene(scene, reader, whole=whole)
        points = reader.points(prepared)
        if len(points) > reader.plan.most_points:  # as the reader: withheld
            points = points.chosen(np.arange(0))
        matching = match(scene, points, stored_places(points, prepared.grid))
        cases = [
            _case(number, scene, candidate, *judge(matching, candidate.indices))
            for candidate in reader.candidates(points, prepared)
        ]
        asked = tuple((group.number, group.easy) for group in groups_asked_for(scene))
        yield SceneCases(cases=tuple(cases), asked=asked)


def prepared_scene(scene: Scene, reader: Reader, *, whole: bool) -> Prepared:
    """Return what the network sees of a scene; a window's breast is the scene's own, for it may hold no air."""
    step = MASK_STEP // MACRO_STEP
    mask = None if whole else scene.breast[::step, ::step]
    values = scene.pixels.astype(np.float32)
    return prepare(values, spacing_mm=scene.spacing_mm, plan=reader.plan, mask=mask)


def fit(scenes: Sequence[SceneCases]) -> Classification:
    """Return the models fitted to the clusters of validation scenes.

    Raises:
        TooLittleLearned: if hardly any lesion was found.
    """
    judged = [case for scene in scenes for case in scene.cases if case.verdict is not Verdict.NEITHER]
    lesions = [case for case in judged if case.suspicious is not None]
    if len({case.suspicious for case in lesions}) < 2:
        raise TooLittleLearned(
            "The network finds too few lesions on the validation scenes to fit the classification: "
            "go on with --resume and more --minutes."
        )
    shapes = _SHAPE_MEASURES + tuple(name for name in lesions[0].measures if name.endswith(" share"))
    named = [case for case in lesions if case.morphology is not None]
    counts = Counter(case.morphology for case in named)
    return Classification(
        calcification=fit_logistic(
            [case.measures for case in judged],
            np.array([case.verdict is Verdict.LESION for case in judged]),
            _DETECTION_MEASURES,
        ),
        suspicion=fit_logistic(
            [case.measures for case in lesions],
            np.array([bool(case.suspicious) for case in lesions]),
            shapes,
        ),
        morphology={
            morphology: fit_logistic(
                [case.measures for case in named],
                np.array([case.morphology is morphology for case in named]),
                shapes,
            )
            for morphology, count in sorted(counts.items())
            if morphology is not None and FEWEST_OF_A_MORPHOLOGY <= count < len(named)
        },
    )


def fit_logistic(
    rows: Sequence[dict[str, float]], positive: NDArray[np.bool_], names: Sequence[str]
) -> LogisticModel:
    """Return the penalised logistic regression of yes and no on the named measures."""
    names = tuple(dict.fromkeys(names))
    table = np.array([[row[name] for name in names] for row in rows])
    mean, deviation = table.mean(axis=0), table.std(axis=0) + 1e-3
    standard = np.clip((table - mean) / deviation, -4.0, 4.0)
    sign = np.where(positive, 1.0, -1.0)

    def cost(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (standard @ parameters[1:] + parameters[0])
        wrong = -sign / (1.0 + np.exp(np.clip(margin, -50.0, 50.0)))
        gradient = np.concatenate([[wrong.sum()], standard.T @ wrong + PENALTY * parameters[1:]])
        return float(np.logaddexp(0.0, -margin).sum() + PENALTY / 2 * (parameters[1:] ** 2).sum()), gradient

    found = minimize(cost, np.zeros(len(names) + 1), jac=True, method="L-BFGS-B").x
    return LogisticModel(
        measures=names,
        mean=tuple(np.round(mean, 5).tolist()),
        deviation=tuple(np.round(deviation, 5).tolist()),
        weight=tuple(np.round(found[1:], 5).tolist()),
        bias=round(float(found[0]), 5),
    )


def held_out_scores(scenes: Sequence[SceneCases], *, also: Sequence[SceneCases] = ()) -> list[list[HeldOut]]:
    """Return what models say of every cluster that were fitted without its scene.

    `also`: further scenes that take part in every fit and are not scored.
    """
    models = [
        fit([*also, *(scene for number, scene in enumerate(scenes) if number % FOLDS != fold)])
        for fold in range(FOLDS)
    ]
    return [
        [_held_out(models[number % FOLDS], case.measures) for case in scene.cases]
        for number, scene in enumerate(scenes)
    ]


def _held_out(model: Classification, measures: dict[str, float]) -> HeldOut:
    """Return what a model says of one cluster."""
    return HeldOut(
        model.calcification.probability(measures),
        model.suspicion.probability(measures),
        model.morphologies(measures),
    )


def operating_points(scenes: Sequence[SceneCases], scores: Sequence[Sequence[HeldOut]]) -> dict[str, float]:
    """Return the detection score of each operating point, from held-out scores of whole images."""
    false_scores = [
        score.detection
        for scene, row in zip(scenes, scores, strict=True)
        for case, score in zip(scene.cases, row, strict=True)
        if case.verdict is Verdict.FALSE
    ]
    return {
        name: round(
            float(np.clip(threshold_at(false_scores, int(rate * len(scenes))), LEAST_SURE, 0.99)) + 1e-4, 4
        )
        for name, rate in FALSE_MARKS_PER_IMAGE.items()
    }


def suspicious_score(scenes: Sequence[SceneCases], scores: Sequence[Sequence[HeldOut]]) -> float:
    """Return the suspicion at which sensitivity and specificity add up to most (Youden)."""
    pairs = [
        (score.suspicion, bool(case.suspicious))
        for scene, row in zip(scenes, scores, strict=True)
        for case, score in zip(scene.cases, row, strict=True)
        if case.suspicious is not None
    ]
    values, labels = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    tried = np.round(np.arange(0.2, 0.81, 0.02), 2)
    gains = [(values[labels] >= t).mean() + (values[~labels] < t).mean() for t in tried]
    return float(tried[int(np.argmax(gains))])


def morphology_score(scenes: Sequence[SceneCases], scores: Sequence[Sequence[HeldOut]]) -> float:
    """Return the probability from which stated morphologies are right in CLEAR_SHARE of cases."""
    pairs = []
    for scene, row in zip(scenes, scores, strict=True):
        for case, score in zip(scene.cases, row, strict=True):
            if case.morphology is not None and score.morphologies:
                best = max(score.morphologies, key=score.morphologies.__getitem__)
                pairs.append((score.morphologies[best], best is case.morphology))
    for tried in np.round(np.arange(0.3, 0.96, 0.05), 2):
        right = [correct for probability, correct in pairs if probability >= tried]
        if len(right) >= 10 and np.mean(right) >= CLEAR_SHARE:
            return float(tried)
    return 0.95


def _case(number: int, scene: Scene, candidate: Candidate, verdict: Verdict, lesions: Sequence[int]) -> Case:
    """Return one cluster with the truth about it."""
    groups = [group for group in scene.groups if group.number in lesions]
    kinds = {group.suspicious for group in groups}
    morphologies = {group.morphology for group in groups}
    return Case(
        scene=number,
        measures=candidate.measures,
        verdict=verdict,
        lesions=tuple(lesions),
        suspicious=kinds.pop() if len(kinds) == 1 else None,
        morphology=morphologies.pop() if len(morphologies) == 1 else None,
    )
