"""All readers at once: Obuchowski and Rockette's test of whether the model helps, over all cases and site by site."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, norm

from lab.evaluation.statistics import Interval
from lab.readerstudy import paired
from lab.readerstudy.arms import Options, clusters, measurable
from lab.readerstudy.figure_of_merit import FigureOfMerit, areas, shares
from lab.readerstudy.froc_comparison import Kind, figure_of_merit
from lab.readerstudy.obuchowski_rockette import OrResult, Random, analyse
from lab.readerstudy.proportions import Z95
from lab.readerstudy.readings import Reading, Study
from lab.readerstudy.tables import Condition

TREATMENTS = (Condition.WITH, Condition.WITHOUT)
INFERENCES: tuple[Random, ...] = ("readers-and-cases", "cases", "readers")
AREA = "area under the ROC curve"
ENOUGH_READERS = 4
"""With fewer readers, conclusions about other readers rest on too little (Hillis and Schartz 2018)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiReader:
    """One figure over all readers: with the model, without it, and the difference.

    `random`: to what it generalises. `ddf`: Hillis' denominator degrees of freedom, infinite where cases alone are
    random. `non_inferior`: None without a margin.
    """

    figure: str
    random: Random
    readers: int
    units: int
    with_model: Interval
    without_model: Interval
    difference: Interval
    f: float
    ddf: float
    p: float
    non_inferior: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceRow:
    """Variance components of the area, as the planning of a further study needs them."""

    units: int
    readers: int
    treatment_reader: float
    error: float
    covariance_1: float
    covariance_2: float
    covariance_3: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFigures:
    """One site's difference in area, with less without the model; `site` "all sites" is their weighted mean.

    `random`: "cases" at a site with fewer than four readers, whose spread says too little of other readers'. `heterogeneity_p`: of the weighted mean alone, P that the sites'
    differences are equal (Cochran's Q).
    """

    site: str
    readers: int
    units: int
    random: Random
    difference: Interval
    p: float
    heterogeneity_p: float | None = None


def multi_reader(study: Study, options: Options) -> tuple[tuple[MultiReader, ...], VarianceRow | None]:
    """Return every figure over all readers who read with and without the model, and the area's variances.

    Only units that all of them read both ways enter: the test is of fully crossed studies.
    """
    block = _block(study, options, np.ones(len(study.cases.positive), dtype=np.bool_))
    if block is None:
        return (), None
    rows = tuple(
        _row(figure, analyse(merit, random=random), units, options)
        for figure, merit, units in _figures(study, options, block)
        for random in INFERENCES
        if random == "cases" or len(block.readers) > 1
    )
    return rows, _variances(study, options, block)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Block:
    """Readers and the cases [cases] and units [units] that all of them read with and without the model."""

    readers: tuple[str, ...]
    readings: tuple[tuple[Reading, ...], ...]
    cases: np.ndarray
    units: np.ndarray


def _block(study: Study, options: Options, wanted: np.ndarray) -> _Block | None:
    """Return the fully crossed part of a study among the wanted cases, None where there is none."""
    both = []
    for reader in study.readers:
        pair = tuple(each for each in (study.reading(reader, one) for one in TREATMENTS) if each is not None)
        if len(pair) == len(TREATMENTS) and any((each.cases.read & wanted).any() for each in pair):
            both.append((reader, pair))
    if not both:
        return None
    cases = wanted & np.all([each.cases.read for _, pair in both for each in pair], axis=0)
    units = cases if options.level == "case" else cases[study.lesion_case]
    there = study.units(options.level)
    if not measurable(there.positive[units], there.patients[units]):
        return None
    return _Block(
        readers=tuple(reader for reader, _ in both),
        readings=tuple(tuple(pair[number] for _, pair in both) for number in range(len(TREATMENTS))),
        cases=cases,
        units=units,
    )


def _areas(study: Study, options: Options, block: _Block) -> FigureOfMerit:
    """Return the areas under the ROC curves of a block."""
    units = study.units(options.level)
    scores = np.array(
        [[each.opinion(options.level).scores[block.units] for each in row] for row in block.readings]
    )
    return areas(scores, units.positive[block.units], clusters(units.patients[block.units]))


def _figures(study: Study, options: Options, block: _Block) -> list[tuple[str, FigureOfMerit, int]]:
    """Return name, figures and number of units of everything that can be measured of a block."""
    units, chosen = study.units(options.level), block.units
    positive, patients = units.positive[chosen], units.patients[chosen]
    calls = np.array([[each.opinion(options.level).calls[chosen] for each in row] for row in block.readings])
    owners = clusters(patients)
    found = [
        (AREA, _areas(study, options, block), len(positive)),
        ("sensitivity", shares(calls == positive, positive, owners), int(positive.sum())),
        ("specificity", shares(calls == positive, ~positive, owners), int((~positive).sum())),
    ]
    lesions = np.flatnonzero(block.cases[study.lesion_case])
    if len(lesions):
        numbers = np.cumsum(block.cases) - 1
        of_cases = numbers[study.lesion_case[lesions]]
        marks = np.array([[each.lesion_marks[lesions] for each in row] for row in block.readings])
        highest = np.array([[each.highest_false[block.cases] for each in row] for row in block.readings])
        kind: Kind = "wAFROC" if len(np.unique(of_cases)) < int(block.cases.sum()) else "wAFROC1"
        owners = clusters(study.cases.patients[block.cases])
        merit = figure_of_merit(highest, marks, of_cases, kind=kind, patients=owners)
        found.append((f"{kind} (JAFROC)", merit, int(block.cases.sum())))
        everything = np.ones(len(lesions), dtype=np.bool_)
        if len(np.unique(study.lesions.patients[lesions])) > 1:
            merit = shares(np.isfinite(marks), everything, clusters(study.lesions.patients[lesions]))
            found.append(("lesions found", merit, len(lesions)))
    return found


def _row(figure: str, result: OrResult, units: int, options: Options) -> MultiReader:
    """Return a result as a row."""
    difference = result.difference.interval
    with_model, without_model = (part.interval for part in result.per_treatment)
    return MultiReader(
        figure=figure,
        random=result.random,
        readers=result.areas.shape[1],
        units=units,
        with_model=_cut(with_model),
        without_model=_cut(without_model),
        difference=difference,
        f=result.f,
        ddf=result.ddf,
        p=result.p,
        non_inferior=None
        if options.margin is None
        else paired.non_inferior(difference.value, (difference.low, difference.high), options.margin),
    )


def _cut(interval: Interval) -> Interval:
    """Return the interval of a figure that lies between 0 and 1."""
    return Interval(interval.value, max(interval.low, 0.0), min(interval.high, 1.0))


def _variances(study: Study, options: Options, block: _Block) -> VarianceRow | None:
    """Return what a further study can be planned from; None of one reader."""
    if len(block.readers) < 2:
        return None
    part = analyse(_areas(study, options, block)).components
    return VarianceRow(
        units=int(block.units.sum()),
        readers=len(block.readers),
        treatment_reader=part.treatment_reader,
        error=part.error,
        covariance_1=part.covariance_1,
        covariance_2=part.covariance_2,
        covariance_3=part.covariance_3,
    )


def by_site(study: Study, options: Options) -> tuple[SiteFigures, ...]:
    """Return the difference in area site by site and their mean weighted by inverse variance; nothing of one site."""
    names = study.cases.groups["site"]
    sites = sorted(set(names.tolist()))
    if len(sites) < 2:
        return ()
    rows, differences, variances = [], [], []
    for site in sites:
        block = _block(study, options, names == site)
        if block is None:
            continue
        random: Random = "readers-and-cases" if len(block.readers) >= ENOUGH_READERS else "cases"
        result = analyse(_areas(study, options, block), random=random)
        told = result.difference
        rows.append(
            SiteFigures(
                site=site or "(no site)",
                readers=len(block.readers),
                units=int(block.units.sum()),
                random=random,
                difference=told.interval,
                p=told.p,
            )
        )
        differences.append(told.interval.value)
        variances.append(told.standard_error**2)
    return (*rows, *_together(rows, np.array(differences), np.array(variances)))


def _together(rows: list[SiteFigures], differences: np.ndarray, variances: np.ndarray) -> list[SiteFigures]:
    """Return the sites' weighted mean, where there are two and each difference has a variance."""
    if len(rows) < 2 or not (variances > 0).all():
        return []
    weights = 1 / variances
    mean, error = float(weights @ differences / weights.sum()), math.sqrt(1 / float(weights.sum()))
    spread = float(weights @ (differences - mean) ** 2)
    return [
        SiteFigures(
            site="all sites",
            readers=sum(row.readers for row in rows),
            units=sum(row.units for row in rows),
            random="readers-and-cases" if any(row.random != "cases" for row in rows) else "cases",
            difference=Interval(mean, mean - Z95 * error, mean + Z95 * error),
            p=float(2 * norm.sf(abs(mean) / error)),
            heterogeneity_p=float(chi2.sf(spread, len(rows) - 1)),
        )
    ]
