"""The logistic models of clusters are fitted once the networks are taught, on scenes that neither ever saw."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import minimize

from lab.evaluation.matching import Verdict, groups_asked_for, judge, match, stored_places
from lab.phantom.truth import MACRO_STEP, Scene
from mammography.finding import LARGE_KINDS, METAL, SUSPICIOUS_MORPHOLOGIES, Distribution, Morphology
from mammography.mammogram import UnreadableMammogram
from mammography.reader.classification import Classification, LogisticModel
from mammography.reader.large import LargeStructure
from mammography.reader.network import COARSE_CELL
from mammography.reader.preprocessing import MASK_STEP, Prepared, prepare
from mammography.reader.prior import suspicion_of
from mammography.reader.reader import Candidate, Reader
from mammography.reader.second_stage import SECOND_CALCIFICATION, SECOND_SUSPICIOUS, second_share

PENALTY = 3.0
"""Strength of the squared penalty on the weights, in cases."""
FOLDS = 5
LARGE_SHARE = 0.25
"""As much of a large structure lies on a large calcification, if it is one."""
FEWEST_OF_A_MORPHOLOGY = 8
"""Lesions of a morphology from which on it is told apart from the others."""
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


_SECOND_SHARES = frozenset(second_share(morphology) for morphology in Morphology)


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
    distributions: dict[Distribution | None, float]
    specks: int = 0


class LargeCase(NamedTuple):
    """A large structure of a scene: its score and size, and what it is: None where it is no large calcification."""

    score: float
    clear: float
    area_mm2: float
    kind: Morphology
    truth: Morphology | None


class HeldOut(NamedTuple):
    """What models say of a cluster that took no part in their fit."""

    detection: float
    split: float
    """Of being of a suspicious morphology, 0 to 1."""
    suspicion: float
    """By the literature, as the reader states it."""
    morphologies: dict[Morphology, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneCases:
    """The clusters and large structures of one scene, and the lesions to be found: number and whether easy.

    `points`: the scene's specks, in clusters or not. `area_mm2`: of the breast that was searched.
    """

    cases: tuple[Case, ...]
    asked: tuple[tuple[int, bool], ...]
    large: tuple[LargeCase, ...] = ()
    points: int = 0
    area_mm2: float = 0.0


def unfitted() -> Classification:
    """Return models that say 0.5 of everything: what candidates are collected with before the fit."""
    nothing = LogisticModel(measures=(), mean=(), deviation=(), weight=(), bias=0.0)
    return Classification(calcification=nothing, suspicion=nothing, morphology={})


def collect(scenes: Iterable[Scene], reader: Reader, *, whole: bool) -> Iterator[SceneCases]:
    """Return the clusters that a reader proposes on scenes, each with what it really is."""
    for number, scene in enumerate(scenes):
        asked = tuple((group.number, group.easy) for group in groups_asked_for(scene))
        try:
            prepared = prepared_scene(scene, reader, whole=whole)
        except UnreadableMammogram:  # as the reader: refused
            yield SceneCases(cases=(), asked=asked)
            continue
        points, large = reader.look(prepared)
        if len(points) > reader.plan.most_points:  # as the reader: withheld
            points = points.chosen(np.arange(0))
        matching = match(scene, points, stored_places(points, prepared.grid))
        cases = [
            _case(number, scene, candidate, *judge(matching, candidate.indices))
            for candidate in reader.candidates(points, prepared)
        ]
        structures = tuple(_large_case(scene, structure, prepared) for structure in large)
        yield SceneCases(
            cases=tuple(cases),
            asked=asked,
            large=structures,
            points=len(points),
            area_mm2=float(prepared.breast.sum()) * prepared.spacing_mm**2,
        )


def prepared_scene(scene: Scene, reader: Reader, *, whole: bool) -> Prepared:
    """Return what the network sees of a scene; a window's breast is the scene's own, for it may hold no air."""
    step = MASK_STEP // MACRO_STEP
    mask = None if whole else scene.breast[::step, ::step]
    values = scene.pixels.astype(np.float32)
    return prepare(values, spacing_mm=scene.spacing_mm, plan=reader.plan, mask=mask)


def fit(scenes: Sequence[SceneCases], *, second: bool) -> Classification:
    """Return the models fitted to the clusters of validation scenes, with or without the second stage's measures.

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
    detection = _DETECTION_MEASURES + (SECOND_CALCIFICATION,) * second
    shapes = _SHAPE_MEASURES + (SECOND_SUSPICIOUS,) * second
    shapes += tuple(
        name
        for name in lesions[0].measures
        if name.endswith(" share") and (second or name not in _SECOND_SHARES)
    )
    named = [case for case in lesions if case.morphology is not None]
    return Classification(
        calcification=fit_logistic(
            [case.measures for case in judged],
            np.array([case.verdict is Verdict.LESION for case in judged]),
            detection,
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
            for morphology in told_apart(named)
        },
    )


def told_apart(named: Sequence[Case]) -> list[Morphology]:
    """Return the morphologies that were met often enough, and of either side, suspicious and benign, at least one.

    Without a morphology on either side nothing of the probability of being suspicious would reach the suspicion.
    """
    counts = Counter(case.morphology for case in named if case.morphology is not None)
    often = {name for name, count in counts.items() if count >= FEWEST_OF_A_MORPHOLOGY}
    for side in (True, False):
        members = {name: counts[name] for name in sorted(counts) if (name in SUSPICIOUS_MORPHOLOGIES) is side}
        if members and not often & members.keys():
            often.add(max(members, key=members.__getitem__))
    return sorted(name for name in often if counts[name] < len(named))


def fit_logistic(
    rows: Sequence[dict[str, float]],
    positive: NDArray[np.bool_],
    names: Sequence[str],
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


def held_out_scores(
    scenes: Sequence[SceneCases], *, second: bool, also: Sequence[SceneCases] = ()
) -> list[list[HeldOut]]:
    """Return what models say of every cluster that were fitted without its scene.

    `also`: further scenes that take part in every fit and are not scored.
    """
    models = [
        fit([*also, *(scene for number, scene in enumerate(scenes) if number % FOLDS != fold)], second=second)
        for fold in range(FOLDS)
    ]
    return [
        [_held_out(models[number % FOLDS], case) for case in scene.cases]
        for number, scene in enumerate(scenes)
    ]


def _held_out(model: Classification, case: Case) -> HeldOut:
    """Return what a model says of one cluster."""
    morphologies = model.morphologies(case.measures)
    return HeldOut(
        model.calcification.probability(case.measures),
        model.suspicion.probability(case.measures),
        suspicion_of(morphologies, case.distributions),
        morphologies,
    )


def surprise(scenes: Sequence[SceneCases], scores: Sequence[Sequence[HeldOut]]) -> float:
    """Return the mean surprise (negative logarithm of the likelihood) of calcification or not, and of suspicious or not."""
    said: tuple[list[float], list[float]] = ([], [])
    for scene, row in zip(scenes, scores, strict=True):
        for case, score in zip(scene.cases, row, strict=True):
            if case.verdict is not Verdict.NEITHER:
                real = case.verdict is Verdict.LESION
                said[0].append(score.detection if real else 1 - score.detection)
            if case.suspicious is not None:
                said[1].append(score.split if case.suspicious else 1 - score.split)
    return float(sum(-np.log(np.maximum(part, 1e-6)).mean() for part in said))


def calibrated(
    model: LogisticModel, scenes: Sequence[SceneCases], scores: Sequence[Sequence[HeldOut]]
) -> tuple[LogisticModel, list[list[HeldOut]]]:
    """Return a detection model, and its held-out scores, whose probabilities come true (Platt 1999).

    A slope and an offset of the logit, held near 1 and 0, are fitted to the held-out scores, which are less sure
    than those of a model on its own cases.
    """
    judged = [
        (_logit(score.detection), 1.0 if case.verdict is Verdict.LESION else -1.0)
        for scene, row in zip(scenes, scores, strict=True)
        for case, score in zip(scene.cases, row, strict=True)
        if case.verdict is not Verdict.NEITHER
    ]
    logits, sign = np.array(judged).T

    def cost(line: NDArray[np.float64]) -> float:
        wrong = np.logaddexp(0.0, -sign * (line[0] * logits + line[1])).sum()
        return float(wrong + PENALTY * ((line[0] - 1.0) ** 2 + line[1] ** 2))

    slope, offset = minimize(cost, np.array([1.0, 0.0]), bounds=[(0.1, 3.0), (-3.0, 3.0)]).x
    told = [
        [score._replace(detection=_probability(slope * _logit(score.detection) + offset)) for score in row]
        for row in scores
    ]
    weight = tuple(round(slope * weight, 5) for weight in model.weight)
    return model.model_copy(update={"weight": weight, "bias": round(slope * model.bias + offset, 5)}), told


def _logit(probability: float) -> float:
    """Return the logarithm of the odds."""
    held = min(max(probability, 1e-9), 1 - 1e-9)
    return float(np.log(held / (1 - held)))


def _probability(logit: float) -> float:
    """Return the probability of a logit."""
    return float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


def _case(number: int, scene: Scene, candidate: Candidate, verdict: Verdict, lesions: Sequence[int]) -> Case:
    """Return one cluster with the truth about it."""
    kinds = {group.suspicious for group in scene.groups if group.number in lesions}
    return Case(
        scene=number,
        measures=candidate.measures,
        verdict=verdict,
        lesions=tuple(lesions),
        suspicious=kinds.pop() if len(kinds) == 1 else None,
        morphology=morphology_of(scene, lesions),
        distributions=candidate.distributions,
        specks=len(candidate.indices),
    )


def morphology_of(scene: Scene, lesions: Sequence[int]) -> Morphology | None:
    """Return the morphology that all of some lesions have, None where they differ or there is none."""
    morphologies = {group.morphology for group in scene.groups if group.number in lesions}
    return morphologies.pop() if len(morphologies) == 1 else None


def _large_case(scene: Scene, structure: LargeStructure, prepared: Prepared) -> LargeCase:
    """Return a large structure with the truth: what lies under a quarter of it at least, or beside it."""
    places = [
        prepared.grid.to_image(float(column), float(row))
        for row, column in (structure.cells + 0.5) * COARSE_CELL
    ]
    rows, columns = (
        np.clip((np.array(values) / MACRO_STEP).astype(int), 0, side - 1)
        for values, side in zip(
            ([place.row for place in places], [place.column for place in places]),
            scene.large.shape,
            strict=True,
        )
    )
    under = ndimage.grey_dilation(scene.large, size=(3, 3))[rows, columns]
    counts = np.bincount(under[under >= 0], minlength=len(LARGE_KINDS))
    name = LARGE_KINDS[int(np.argmax(counts))]
    real = counts.max() >= LARGE_SHARE * len(under) and name != METAL
    return LargeCase(
        score=structure.score,
        clear=structure.clear,
        area_mm2=structure.area_mm2,
        kind=structure.kind,
        truth=Morphology(name) if real else None,
    )
