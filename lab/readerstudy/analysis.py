"""A whole reader study analysed: the tables of the paper and more, from arrays, by the statistics beside this module."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lab.evaluation.statistics import Interval
from lab.readerstudy import agreement, paired, roc_comparison
from lab.readerstudy.arms import (
    Arm,
    ArmFigures,
    Options,
    arms_of,
    clusters,
    figures_of,
    measurable,
)
from lab.readerstudy.multireader import (
    MultiReader,
    SiteFigures,
    VarianceRow,
    by_site,
    multi_reader,
)
from lab.readerstudy.notes import notes_on
from lab.readerstudy.readings import Level, Study, study_of
from lab.readerstudy.subgroups import SubgroupRow, subgroups_of
from lab.readerstudy.tables import Condition, StudyTables

MOST_CATEGORIES = 12
"""Scores with at most so many values are categories, of which a weighted kappa makes sense."""


class NothingToJudge(Exception):
    """Lesions are to be judged and no table names one; str() says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two ways to read the same units: the first less the second with its 95 % interval.

    `figure`: sensitivity, specificity, lesions found, area, or area between sites, of different cases; `apart`: units that only the first got right, and only
    the second; `p`: McNemar's exact, DeLong's for areas; `p_holm`: adjusted for all comparisons of this figure.
    """

    first: str
    second: str
    figure: str
    units: int
    difference: Interval
    apart: tuple[int, int] | None
    p: float
    p_holm: float
    non_inferior: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How two readers agree under one condition; `weighted`: of categories, by squared distance on the scale."""

    first: str
    second: str
    condition: Condition
    units: int
    calls: Interval
    weighted: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything that a report tells."""

    level: Level
    cases: int
    patients: int
    lesions: int
    positive: int
    units: int
    readers: tuple[str, ...]
    model_name: str
    arms: tuple[ArmFigures, ...]
    comparisons: tuple[Comparison, ...]
    multi_reader: tuple[MultiReader, ...]
    variances: VarianceRow | None
    sites: tuple[SiteFigures, ...]
    agreement: tuple[Agreement, ...]
    subgroups: tuple[SubgroupRow, ...]
    notes: tuple[str, ...]


def analyse(tables: StudyTables, options: Options) -> tuple[Study, Analysis]:
    """Return a study as arrays, and everything that its report tells.

    Raises:
        UnknownReader: if the options name somebody who is no reader.
        NothingToJudge: if lesions are to be judged and there are none.
    """
    study = study_of(tables, positive_score=options.positive_score)
    if not len(study.units(options.level).positive):
        raise NothingToJudge("truth.csv names no lesion: fill in the column lesion, or judge cases.")
    arms = arms_of(study, options)
    units = study.units(options.level)
    every, variances = multi_reader(study, options)
    return study, Analysis(
        level=options.level,
        cases=len(study.cases.positive),
        patients=len(np.unique(study.cases.patients)),
        lesions=len(study.lesion_case),
        positive=int(units.positive.sum()),
        units=len(units.positive),
        readers=study.readers,
        model_name=study.model_name,
        arms=tuple(figures_of(arm, study, options) for arm in arms),
        comparisons=tuple(_comparisons(study, arms, options)),
        multi_reader=every,
        variances=variances,
        sites=by_site(study, options),
        agreement=tuple(_agreement(study, options.level)),
        subgroups=tuple(subgroups_of(study, options)),
        notes=notes_on(study, tables, options),
    )


def _comparisons(study: Study, arms: Sequence[Arm], options: Options) -> list[Comparison]:
    """Return every arm with the model beside itself without, and the model beside those without, adjusted."""
    alone = {arm.who: arm for arm in arms if arm.condition is Condition.WITHOUT}
    pairs = [(arm, alone[arm.who]) for arm in arms if arm.condition is Condition.WITH and arm.who in alone]
    machine = [arm for arm in arms if arm.who == "the model"]
    pairs += [(one, other) for one in machine for other in alone.values() if "the model" not in other.who]
    found = [each for first, second in pairs for each in _compared(first, second, study, options)]
    found += _between_sites(study, options)
    adjusted: list[Comparison] = []
    for figure in dict.fromkeys(each.figure for each in found):
        of_figure = [each for each in found if each.figure == figure]
        for each, p_holm in zip(of_figure, paired.holm([each.p for each in of_figure]), strict=True):
            values = {name: getattr(each, name) for name in Comparison.__slots__} | {"p_holm": p_holm}
            adjusted.append(Comparison(**values))
    return adjusted


def _compared(first: Arm, second: Arm, study: Study, options: Options) -> list[Comparison]:
    """Return two arms compared in every figure that both have."""
    units = study.units(options.level)
    both = first.judged.read & second.judged.read
    one, other = first.judged.of(both), second.judged.of(both)
    positive, patients = units.positive[both], units.patients[both]
    names = (first.name, second.name)
    rights = [
        ("sensitivity", one.calls[positive], other.calls[positive]),
        ("specificity", ~one.calls[~positive], ~other.calls[~positive]),
    ]
    marked = first.lesions.read & second.lesions.read
    rights.append(("lesions found", first.lesions.found[marked], second.lesions.found[marked]))
    found = [
        _shares_compared(names, figure, mine, theirs, options) for figure, mine, theirs in rights if len(mine)
    ]
    if measurable(positive, patients):
        areas = roc_comparison.compare(one.scores, other.scores, positive, clusters(patients))
        found.append(
            Comparison(
                first=names[0],
                second=names[1],
                figure="area",
                units=len(positive),
                difference=areas.difference,
                apart=None,
                p=areas.p,
                p_holm=areas.p,
                non_inferior=not_inferior(areas.difference, options.margin),
            )
        )
    return found


def _between_sites(study: Study, options: Options) -> list[Comparison]:
    """Return the model's areas at every two sites compared: their cases are different ones."""
    if study.model is None:
        return []
    units, opinion = study.units(options.level), study.model.opinion(options.level)
    inside = {
        site: opinion.read & (units.groups["site"] == site)
        for site in np.unique(units.groups["site"]).tolist()
    }
    rows = []
    for first, second in combinations(inside, 2):
        one, other = inside[first], inside[second]
        if not all(measurable(units.positive[each], units.patients[each]) for each in (one, other)):
            continue
        areas = roc_comparison.compare_unpaired(
            opinion.scores[one],
            units.positive[one],
            opinion.scores[other],
            units.positive[other],
            (clusters(units.patients[one]), clusters(units.patients[other])),
        )
        rows.append(
            Comparison(
                first=f"the model at {first or '(no site)'}",
                second=f"the model at {second or '(no site)'}",
                figure="area between sites",
                units=int(one.sum() + other.sum()),
                difference=areas.difference,
                apart=None,
                p=areas.p,
                p_holm=areas.p,
                non_inferior=None,
            )
        )
    return rows


def _shares_compared(
    names: tuple[str, str], figure: str, mine: np.ndarray, theirs: np.ndarray, options: Options
) -> Comparison:
    """Return how often two arms are right, compared. `mine`, `theirs`: [units], right or not."""
    only_first, only_second = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    difference = paired.difference(
        int((mine & theirs).sum()), only_first, only_second, int((~mine & ~theirs).sum())
    )
    p = paired.mcnemar(only_first, only_second)
    return Comparison(
        first=names[0],
        second=names[1],
        figure=figure,
        units=len(mine),
        difference=difference,
        apart=(only_first, only_second),
        p=p,
        p_holm=p,
        non_inferior=not_inferior(difference, options.margin),
    )


def not_inferior(difference: Interval, margin: float | None) -> bool | None:
    """Return whether the first way is worse by less than the margin, None without one."""
    if margin is None:
        return None
    return paired.non_inferior(difference.value, (difference.low, difference.high), margin)


def _agreement(study: Study, level: Level) -> list[Agreement]:
    """Return how every two readers agree, condition by condition."""
    rows = []
    for condition in Condition:
        there = [reading for reading in study.readings if reading.condition is condition]
        for one, other in combinations(there, 2):
            first, second = one.opinion(level), other.opinion(level)
            both = first.read & second.read
            if not both.any():
                continue
            first, second = first.of(both), second.of(both)
            values = np.unique(np.concatenate([first.scores, second.scores]))
            rows.append(
                Agreement(
                    first=one.reader,
                    second=other.reader,
                    condition=condition,
                    units=int(both.sum()),
                    calls=agreement.kappa(first.calls, second.calls),
                    weighted=agreement.kappa(first.scores, second.scores, "quadratic")
                    if 2 < len(values) <= MOST_CATEGORIES
                    else None,
                )
            )
    return rows
