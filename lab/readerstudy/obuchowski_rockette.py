"""Several readers, several cases, two or more ways to read: the test of Obuchowski and Rockette.

Obuchowski and Rockette (1995) with the degrees of freedom of Hillis (2007); with the jackknife it is the test of
Dorfman, Berbaum and Metz (1992) as Hillis et al. (2008) unified it. The study is fully crossed: every reader read every
case in every treatment.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, f, norm, t

from lab.evaluation.statistics import Interval
from lab.readerstudy.figure_of_merit import FigureOfMerit, areas, bootstrap_covariance, jackknife_covariance

Array = NDArray[np.float64]
CovarianceMethod = Literal["jackknife", "delong", "bootstrap"]
Random = Literal["readers-and-cases", "readers", "cases"]
"""To what the result generalises: to other readers and cases, to other readers of these cases, to other cases read by
these readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceComponents:
    """Mean squares and components, in units of the squared figure.

    `covariance_1`: between a reader's treatments; `covariance_2`: between readers of one treatment;
    `covariance_3`: between other readers and treatments; `error`: of one reader's figure, from cases. Components are
    moment estimates and may come out below 0. `mean_square_treatment` and what it enters are NaN of one treatment.
    """

    mean_square_treatment: float
    mean_square_reader: float
    mean_square_interaction: float
    reader: float
    treatment_reader: float
    covariance_1: float
    covariance_2: float
    covariance_3: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TreatmentFigure:
    """One treatment's mean figure over readers with its 95 % interval, from that treatment's data alone."""

    interval: Interval
    standard_error: float
    ddf: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One treatment's mean figure less another's, with its 95 % interval and two-sided P.

    `first`, `second`: which treatments, counted from 0. `ddf`: infinite where the normal distribution is used.
    """

    first: int
    second: int
    interval: Interval
    standard_error: float
    statistic: float
    ddf: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrResult:
    """What the test says.

    `areas`: [treatments, readers], the figures, whichever they are; `f`, `ndf`, `ddf`, `p`: the test that all
    treatments are equal (with random cases alone `f` is the chi-square divided by `ndf`, `ddf` is infinite; NaN of one
    treatment); `differences`: every pair, in order, `difference` the first of them; `per_treatment`: [treatments];
    `reader_differences`: [readers], the first treatment less the second for each reader, cases random.
    """

    areas: Array
    f: float
    ndf: int
    ddf: float
    p: float
    differences: tuple[Difference, ...]
    per_treatment: tuple[TreatmentFigure, ...]
    reader_differences: tuple[Difference, ...]
    components: VarianceComponents
    covariance: CovarianceMethod
    random: Random

    @property
    def difference(self) -> Difference:
        """The first treatment's mean figure less the second's."""
        return self.differences[0]


def analyse(
    figures: FigureOfMerit | Array,
    positive: NDArray[np.bool_] | None = None,
    *,
    covariance: CovarianceMethod = "jackknife",
    random: Random = "readers-and-cases",
    patients: NDArray[np.generic] | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> OrResult:
    """Test whether readers do better in one treatment than in another.

    `figures`: ratings [treatments, readers, cases], whose areas under the ROC curves are compared, with `positive`
    [cases] and, where some have several cases, `patients` [cases]; or figures of merit made before. `seed`, `draws`:
    of the bootstrap.

    Raises:
        ValueError: if the study is too small for the question (one reader for random readers), a rating is missing,
            or DeLong's covariance is asked for another figure than the area.
    """
    merit = figures if isinstance(figures, FigureOfMerit) else _areas(figures, positive, patients)
    treatments, readers = merit.values.shape
    if random != "cases" and readers < 2:
        raise ValueError("One reader alone says nothing of other readers: only cases can be random.")
    matrix = _covariance(merit, covariance, seed, draws).reshape(treatments, readers, treatments, readers)
    components = _components(merit.values, matrix)
    single = tuple(
        _treatment(merit.values[[i]], matrix[i : i + 1, :, i : i + 1], random) for i in range(treatments)
    )
    pairs = tuple(
        _difference(merit.values, components, random, (first, second))
        for first in range(treatments)
        for second in range(first + 1, treatments)
    )
    of_readers = tuple(_reader_difference(merit.values, matrix, j) for j in range(readers)) if pairs else ()
    statistic, ddf, p = _overall(merit.values.shape, components, random)
    return OrResult(
        areas=merit.values,
        f=statistic,
        ndf=treatments - 1,
        ddf=ddf,
        p=p,
        differences=pairs,
        per_treatment=single,
        reader_differences=of_readers,
        components=components,
        covariance=covariance,
        random=random,
    )


def _areas(
    ratings: Array, positive: NDArray[np.bool_] | None, patients: NDArray[np.generic] | None
) -> FigureOfMerit:
    """Return the areas of ratings, whose truth must be told."""
    if positive is None:
        raise ValueError("Ratings need the truth beside them: give which cases are positive.")
    return areas(ratings, positive, patients)


def _covariance(merit: FigureOfMerit, method: CovarianceMethod, seed: int, draws: int) -> Array:
    """Return how the figures vary together over cases."""
    if method == "jackknife":
        return jackknife_covariance(merit)
    if method == "bootstrap":
        return bootstrap_covariance(merit, np.random.default_rng(seed), draws)
    if merit.delong is None:
        raise ValueError("DeLong's covariance is of areas under the ROC curve: use the jackknife.")
    return merit.delong


def _components(values: Array, matrix: Array) -> VarianceComponents:
    """Return mean squares and variance components (Hillis 2014, table 1)."""
    treatments, readers = values.shape
    same_treatment = np.eye(treatments, dtype=np.bool_)[:, None, :, None]
    same_reader = np.eye(readers, dtype=np.bool_)[None, :, None, :]

    def mean(where: NDArray[np.bool_]) -> float:
        chosen = matrix[np.broadcast_to(where, matrix.shape)]
        return float(chosen.mean()) if chosen.size else 0.0

    error = mean(same_treatment & same_reader)
    one, two = mean(~same_treatment & same_reader), mean(same_treatment & ~same_reader)
    three = mean(~same_treatment & ~same_reader)
    of_treatments, of_readers, whole = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - of_treatments[:, None] - of_readers[None, :] + whole
    square_treatment = _divided(readers * float(((of_treatments - whole) ** 2).sum()), treatments - 1)
    square_reader = _divided(treatments * float(((of_readers - whole) ** 2).sum()), readers - 1)
    square_rest = _divided(float((rest**2).sum()), (treatments - 1) * (readers - 1))
    return VarianceComponents(
        mean_square_treatment=square_treatment,
        mean_square_reader=square_reader,
        mean_square_interaction=square_rest,
        reader=(square_reader - square_rest) / treatments - one + three,
        treatment_reader=square_rest - error + one + max(two - three, 0.0),
        covariance_1=one,
        covariance_2=two,
        covariance_3=three,
        error=error,
    )


def _divided(total: float, freedom: int) -> float:
    """Return a mean square; of no degrees of freedom it is not known."""
    return total / freedom if freedom else math.nan


def _denominator(shape: tuple[int, ...], part: VarianceComponents, random: Random) -> tuple[float, float]:
    """Return the expected mean square of equal treatments, and its degrees of freedom."""
    treatments, readers = shape
    freedom = (treatments - 1) * (readers - 1)
    correlated = max(part.covariance_2 - part.covariance_3, 0.0)
    if random == "cases":
        return part.error - part.covariance_1 + (readers - 1) * correlated, math.inf
    if random == "readers":
        return part.mean_square_interaction, float(freedom)
    expected = part.mean_square_interaction + readers * correlated
    if not part.mean_square_interaction > 0:
        return expected, math.inf
    return expected, expected**2 / (part.mean_square_interaction**2 / freedom)


def _overall(shape: tuple[int, ...], part: VarianceComponents, random: Random) -> tuple[float, float, float]:
    """Return F, its denominator's degrees of freedom and P that all treatments are equal."""
    if shape[0] < 2:
        return math.nan, math.nan, math.nan
    expected, ddf = _denominator(shape, part, random)
    ndf = shape[0] - 1
    statistic = _ratio(part.mean_square_treatment, expected)
    p = chi2.sf(ndf * statistic, ndf) if math.isinf(ddf) else f.sf(statistic, ndf, ddf)
    return statistic, ddf, float(p)


def _ratio(value: float, scale: float) -> float:
    """Return a quotient; where nothing varies, a difference is infinitely sure and none is nothing."""
    if scale > 1e-15:
        return value / scale
    return 0.0 if abs(value) < 1e-15 else math.copysign(math.inf, value)


def _reach(ddf: float) -> float:
    """Return how many standard errors a 95 % interval reaches either way."""
    return float(norm.ppf(0.975) if math.isinf(ddf) else t.ppf(0.975, ddf))


def _difference(values: Array, part: VarianceComponents, random: Random, pair: tuple[int, int]) -> Difference:
    """Return two treatments' mean figures compared."""
    expected, ddf = _denominator(values.shape, part, random)
    value = float(values[pair[0]].mean() - values[pair[1]].mean())
    return _told(value, math.sqrt(max(2 * expected / values.shape[1], 0.0)), ddf, pair)


def _reader_difference(values: Array, matrix: Array, reader: int) -> Difference:
    """Return one reader's first two treatments compared, with that reader's own covariances."""
    own = matrix[:2, reader, :2, reader]
    value = float(values[0, reader] - values[1, reader])
    return _told(value, math.sqrt(max(own[0, 0] + own[1, 1] - 2 * own[0, 1], 0.0)), math.inf, (0, 1))


def _told(value: float, error: float, ddf: float, pair: tuple[int, int]) -> Difference:
    """Return a difference with its interval and P."""
    reach, statistic = _reach(ddf) * error, _ratio(value, error)
    p = 2 * (norm.sf(abs(statistic)) if math.isinf(ddf) else t.sf(abs(statistic), ddf))
    return Difference(
        first=pair[0],
        second=pair[1],
        interval=Interval(value, value - reach, value + reach),
        standard_error=error,
        statistic=statistic,
        ddf=ddf,
        p=float(p),
    )


def _treatment(values: Array, matrix: Array, random: Random) -> TreatmentFigure:
    """Return one treatment's mean figure (Hillis, Obuchowski and Berbaum 2011). `values`: [1, readers]."""
    readers = values.shape[1]
    part = _components(values, matrix)
    correlated = max(part.covariance_2, 0.0)
    if random == "cases":
        square, ddf = part.error + (readers - 1) * correlated, math.inf
    elif random == "readers":
        square, ddf = part.mean_square_reader, float(readers - 1)
    else:
        square = part.mean_square_reader + readers * correlated
        ddf = _ratio(square**2 * (readers - 1), part.mean_square_reader**2)
    value, error = float(values.mean()), math.sqrt(max(square / readers, 0.0))
    reach = _reach(ddf) * error
    return TreatmentFigure(
        interval=Interval(value, value - reach, value + reach), standard_error=error, ddf=ddf
    )
