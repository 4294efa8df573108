"""Whether tests err as often as they say and intervals hold the truth as often: studies drawn of known truth."""

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from scipy.stats import norm

from lab.evaluation.statistics import Interval
from lab.readerstudy import clustered, paired
from lab.readerstudy.agreement import kappa
from lab.readerstudy.figure_of_merit import shares
from lab.readerstudy.froc_comparison import figure_of_merit
from lab.readerstudy.obuchowski_rockette import CovarianceMethod, OrResult, Random, analyse
from lab.readerstudy.proportions import predictive_values, proportion
from lab.readerstudy.roc_comparison import compare, compare_unpaired, delong
from lab.readerstudy.simulation import (
    STRUCTURES,
    RoeMetz,
    draw_breasts,
    draw_clustered,
    draw_marks,
    draw_ratings,
)

LEVEL = 0.05
BAND = 3.0
"""How many standard errors of the simulation a rate may lie off before it counts as wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one drawn study said: whether a true null was rejected, and whether the interval held the truth."""

    rejected: bool | None = None
    covered: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One test or interval. `draw`: one study; `exact`: it may err less often than it says, never more often."""

    draw: Callable[[Generator], Outcome]
    level: float = LEVEL
    exact: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How often a test erred and an interval held the truth, 0 to 1; None where it has no test, or no interval."""

    name: str
    studies: int
    type_one_error: float | None
    coverage: float | None
    level: float
    exact: bool

    @property
    def monte_carlo_error(self) -> float:
        """The standard error that a rate as large as the level has in so many studies."""
        return math.sqrt(self.level * (1 - self.level) / self.studies)

    @property
    def holds(self) -> bool:
        """Whether every rate lies within the band; that of an exact method may lie on the safe side of it."""
        errors = [self.type_one_error] if self.type_one_error is not None else []
        errors += [1 - self.coverage] if self.coverage is not None else []
        slack = BAND * self.monte_carlo_error
        return all(
            error <= self.level + slack and (self.exact or error >= self.level - slack) for error in errors
        )


def calibrate(name: str, studies: int, seed: int) -> Calibration:
    """Return how one check came out over so many drawn studies. `name`: one of `CHECKS`."""
    check = CHECKS[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    outcomes = [check.draw(rng) for _ in range(studies)]
    return Calibration(
        name=name,
        studies=studies,
        type_one_error=_rate(outcome.rejected for outcome in outcomes),
        coverage=_rate(outcome.covered for outcome in outcomes),
        level=check.level,
        exact=check.exact,
    )


def _rate(answers: Iterable[bool | None]) -> float | None:
    """Return how often the answer was yes; None where there was none."""
    given = [answer for answer in answers if answer is not None]
    return sum(given) / len(given) if given else None


def _holds(interval: Interval, truth: float) -> bool:
    """Tell whether an interval holds the truth."""
    return interval.low <= truth <= interval.high


def _of(result: OrResult) -> Outcome:
    """Return what a test of treatments that do not differ said."""
    return Outcome(rejected=result.p < LEVEL, covered=_holds(result.difference.interval, 0.0))


def _without(model: RoeMetz, random: Random) -> RoeMetz:
    """Return a model whose treatments are equal for those very readers, or those very cases, that are not random."""
    return RoeMetz(
        separation=model.separation,
        reader=model.reader,
        treatment_reader=0.0 if random == "cases" else model.treatment_reader,
        case=model.case,
        treatment_case=0.0 if random == "readers" else model.treatment_case,
        reader_case=model.reader_case,
        error=model.error,
    )


def _areas(structure: str, covariance: CovarianceMethod, random: Random) -> Check:
    """Return the check of areas compared by Obuchowski and Rockette: five readers, 100 cases."""
    model = _without(STRUCTURES[structure], random)

    def draw(rng: Generator) -> Outcome:
        ratings, positive = draw_ratings(model, rng, readers=5, normal=50, diseased=50)
        return _of(analyse(ratings, positive, covariance=covariance, random=random))

    return Check(draw=draw)


def _one_treatment(structure: str) -> Check:
    """Return the check of one treatment's area with random readers and cases."""
    model = STRUCTURES[structure]

    def draw(rng: Generator) -> Outcome:
        ratings, positive = draw_ratings(model, rng, readers=5, normal=50, diseased=50)
        return Outcome(covered=_holds(analyse(ratings, positive).per_treatment[0].interval, model.area()))

    return Check(draw=draw)


def _sensitivities(rng: Generator) -> Outcome:
    """Compare sensitivities of five readers in two equal treatments."""
    ratings, positive = draw_ratings(STRUCTURES["LH"], rng, readers=5, normal=2, diseased=80)
    return _of(analyse(shares(ratings > 0.75, positive)))


def _marks(random: Random) -> Check:
    """Return the check of wAFROC figures: five readers, 40 cases without and 40 with lesions."""
    model = _without(STRUCTURES["LL"], random)

    def draw(rng: Generator) -> Outcome:
        drawn = draw_marks(model, rng, readers=5, normal=40, diseased=40)
        merit = figure_of_merit(drawn.highest_false, drawn.lesions, drawn.lesion_case)
        return _of(analyse(merit, random=random))

    return Check(draw=draw)


def _delong_paired(rng: Generator) -> Outcome:
    """Compare one reader's two equal treatments by DeLong."""
    ratings, positive = draw_ratings(
        _without(STRUCTURES["HL"], "cases"), rng, readers=1, normal=60, diseased=40
    )
    found = compare(ratings[0, 0], ratings[1, 0], positive)
    return Outcome(rejected=found.p < LEVEL, covered=_holds(found.difference, 0.0))


def _delong_unpaired(rng: Generator) -> Outcome:
    """Compare two equally good readings of different cases by DeLong."""
    first, second = np.arange(100) >= 60, np.arange(90) >= 40
    found = compare_unpaired(rng.normal(size=100) + first, first, rng.normal(size=90) + second, second)
    return Outcome(rejected=found.p < LEVEL, covered=_holds(found.difference, 0.0))


def _delong_area(rng: Generator) -> Outcome:
    """Hold one area of 0.76 by DeLong's interval."""
    positive = np.arange(120) >= 70
    interval = delong((rng.normal(size=120) + positive)[None], positive).interval()
    return Outcome(covered=_holds(interval, float(norm.cdf(1 / math.sqrt(2)))))


def _delong_clustered(rng: Generator) -> Outcome:
    """Compare two equal readings of 80 patients' breasts by Obuchowski's variance, and hold the first one's area."""
    scores, positive, owners = draw_breasts(rng, patients=80, separation=1.2)
    found = compare(scores[0], scores[1], positive, owners)
    held = _holds(delong(scores, positive, owners).interval(), float(norm.cdf(1.2 / math.sqrt(2))))
    return Outcome(rejected=found.p < LEVEL, covered=held)


def _mcnemar(rng: Generator) -> Outcome:
    """Test 150 pairs of which each way alone gets a tenth right."""
    _, first, second = rng.multinomial(150, [0.8, 0.1, 0.1])
    return Outcome(rejected=paired.mcnemar(int(first), int(second)) < LEVEL)


def _tango(rng: Generator) -> Outcome:
    """Hold a difference of 0.06 by Tango's interval, in 120 pairs."""
    both, first, second, neither = (int(count) for count in rng.multinomial(120, [0.7, 0.13, 0.07, 0.1]))
    return Outcome(covered=_holds(paired.difference(both, first, second, neither), 0.06))


def _non_inferior(rng: Generator) -> Outcome:
    """Call a new way non-inferior that is worse by just the margin of 0.1, in 200 pairs."""
    both, first, second, neither = (int(count) for count in rng.multinomial(200, [0.6, 0.08, 0.18, 0.14]))
    found = paired.difference(both, first, second, neither)
    return Outcome(rejected=paired.non_inferior(found.value, (found.low, found.high), margin=0.1))


def _wilson(rng: Generator) -> Outcome:
    """Hold a share of 0.8 of 150 by Wilson's interval."""
    low, high = proportion(int(rng.binomial(150, 0.8)), 150).wilson
    return Outcome(covered=low <= 0.8 <= high)


def _clopper_pearson(rng: Generator) -> Outcome:
    """Hold a share of 0.8 of 150 by the exact interval."""
    low, high = proportion(int(rng.binomial(150, 0.8)), 150).clopper_pearson
    return Outcome(covered=low <= 0.8 <= high)


def _predictive_value(rng: Generator) -> Outcome:
    """Hold the positive predictive value at a prevalence of 0.1."""
    found, right = proportion(int(rng.binomial(100, 0.85)), 100), proportion(int(rng.binomial(150, 0.8)), 150)
    positive, _ = predictive_values(found, right, 0.1)
    return Outcome(covered=_holds(positive, 0.085 / (0.085 + 0.2 * 0.9)))


def _kappa(rng: Generator) -> Outcome:
    """Hold a kappa of 0.7: 200 cases of three kinds, read alike in 7 of 10, by chance else."""
    alike = np.diag(np.full(3, 0.7 / 3)) + 0.3 * np.full((3, 3), 1 / 9)
    counts = rng.multinomial(200, alike.ravel()).reshape(3, 3)
    first, second = np.repeat(np.indices((3, 3)).reshape(2, -1), counts.ravel(), axis=1)
    return Outcome(covered=_holds(kappa(first, second), 0.7))


def _clustered_share(rng: Generator) -> Outcome:
    """Hold a share of 0.8 of findings of 100 patients, which correlate by 0.3 in a patient."""
    found, owners = draw_clustered(rng, patients=100, share=0.8, correlation=0.3)
    return Outcome(covered=_holds(clustered.proportion(found, owners)[0], 0.8))


def _clustered_bootstrap(rng: Generator) -> Outcome:
    """Hold the same by the bootstrap of patients."""
    found, owners = draw_clustered(rng, patients=100, share=0.8, correlation=0.3)
    interval = clustered.bootstrap(
        lambda rows: float(found[rows].mean()), owners, int(rng.integers(2**31)), draws=1000
    )
    return Outcome(covered=_holds(interval, 0.8))


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        **{
            f"Obuchowski-Rockette, readers and cases random, {covariance}, {structure}": _areas(
                structure, covariance, "readers-and-cases"
            )
            for covariance in ("jackknife", "delong")
            for structure in STRUCTURES
        },
        "Obuchowski-Rockette, cases random, jackknife, LH": _areas("LH", "jackknife", "cases"),
        "Obuchowski-Rockette, cases random, delong, LH": _areas("LH", "delong", "cases"),
        "Obuchowski-Rockette, readers random, LH": _areas("LH", "jackknife", "readers"),
        "Obuchowski-Rockette, one treatment's area, HH": _one_treatment("HH"),
        "Obuchowski-Rockette, sensitivities, LH": Check(draw=_sensitivities),
        "wAFROC, readers and cases random, LL": _marks("readers-and-cases"),
        "wAFROC, cases random, LL": _marks("cases"),
        "DeLong, paired": Check(draw=_delong_paired),
        "DeLong, unpaired": Check(draw=_delong_unpaired),
        "DeLong, one area": Check(draw=_delong_area),
        "DeLong and Obuchowski, clustered": Check(draw=_delong_clustered),
        "McNemar, exact": Check(draw=_mcnemar, exact=True),
        "paired difference, Tango": Check(draw=_tango),
        "non-inferiority, Tango": Check(draw=_non_inferior, level=0.025),
        "share, Wilson": Check(draw=_wilson),
        "share, Clopper-Pearson": Check(draw=_clopper_pearson, exact=True),
        "predictive value, Mercaldo": Check(draw=_predictive_value),
        "kappa": Check(draw=_kappa),
        "share of clustered findings, Rao and Scott": Check(draw=_clustered_share),
        "share of clustered findings, bootstrap": Check(draw=_clustered_bootstrap),
    }
)
"""Every test and interval that a reader study uses, by name."""
