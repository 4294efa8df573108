"""What readings are worth in every kind of case or lesion, readers together, with intervals by patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.statistics import Interval
from lab.readerstudy.arms import Options, measurable
from lab.readerstudy.clustered import bootstrap
from lab.readerstudy.clustered import proportion as clustered_proportion
from lab.readerstudy.readings import GROUPS, Reading, Study
from lab.readerstudy.tables import Condition

DRAWS = 1000
"""Resamples of patients behind the interval of a subgroup's area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupRow:
    """One kind of case or lesion under one condition, all readers together, with 95 % intervals by patient.

    `area`: the readers' mean area, each over what they read; None where nobody read two patients of each kind.
    """

    group: str
    kind: str
    reading: str
    units: int
    area: Interval | None
    sensitivity: Interval
    specificity: Interval
    lesions: int
    missed: Interval


def subgroups_of(study: Study, options: Options) -> list[SubgroupRow]:
    """Return area, sensitivity, specificity and misses of every kind of unit that does not hold for all."""
    units, lesions = study.units(options.level), study.lesions
    by_reading = {
        f"readers {condition} the model": [each for each in study.readings if each.condition is condition]
        for condition in Condition
    } | {"the model": [study.model] if study.model else []}
    return [
        _row(study, options, (group, kind), name, readings)
        for group in GROUPS
        for kind in sorted(set(units.groups[group].tolist()) | set(lesions.groups[group].tolist()))
        if kind and (group == "site" or not (units.groups[group] == kind).all())
        for name, readings in by_reading.items()
        if readings
    ]


def _row(
    study: Study, options: Options, place: tuple[str, str], name: str, readings: Sequence[Reading]
) -> SubgroupRow:
    """Return one line. `place`: what is grouped by, and the kind."""
    group, kind = place
    units, lesions = study.units(options.level), study.lesions
    inside, marked = units.groups[group] == kind, lesions.groups[group] == kind
    judged = [each.opinion(options.level) for each in readings]
    found = [each.lesions for each in readings]
    return SubgroupRow(
        group=group,
        kind=kind,
        reading=name,
        units=int(inside.sum()),
        area=_area(study, options, inside, readings),
        sensitivity=_pooled(
            [(each.calls, each.read & inside & units.positive) for each in judged], units.patients
        ),
        specificity=_pooled(
            [(~each.calls, each.read & inside & ~units.positive) for each in judged], units.patients
        ),
        lesions=int(marked.sum()),
        missed=_pooled([(~each.found, each.read & marked) for each in found], lesions.patients),
    )


def _pooled(
    said: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]], patients: NDArray[np.int64]
) -> Interval:
    """Return a share over several readings, with its interval by patient. `said`: what is counted, and of what."""
    counted = np.concatenate([right[there] for right, there in said])
    return clustered_proportion(counted, np.concatenate([patients[there] for _, there in said]))[0]


def _area(
    study: Study, options: Options, inside: NDArray[np.bool_], readings: Sequence[Reading]
) -> Interval | None:
    """Return the readers' mean area, each over what they read, with its interval by patient."""
    units = study.units(options.level)
    told = []
    for reading in readings:
        opinion = reading.opinion(options.level)
        there = inside & opinion.read
        if measurable(units.positive[there], units.patients[there]):
            told.append((there, np.unique(opinion.scores, return_inverse=True)[1].ravel()))
    if not told:
        return None
    places = np.flatnonzero(np.any([there for there, _ in told], axis=0))

    def mean(rows: NDArray[np.int64]) -> float:
        drawn = places[rows]
        areas = [
            rank_area(steps[own], units.positive[own])
            for there, steps in told
            if len(own := drawn[there[drawn]])
        ]
        return float(np.nanmean(areas)) if not np.isnan(areas).all() else float("nan")

    return bootstrap(mean, units.patients[places], options.seed, draws=DRAWS)


def rank_area(steps: NDArray[np.int64], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve of scores that are steps of one scale, from 0; NaN of one kind alone."""
    above = np.bincount(steps[positive], minlength=int(steps.max()) + 1)
    below = np.bincount(steps[~positive], minlength=int(steps.max()) + 1)
    pairs = int(above.sum()) * int(below.sum())
    return float(above @ (np.cumsum(below) - below / 2)) / pairs if pairs else float("nan")
