"""Readers of known skill who read a truth.csv: what a worked example must find again.

A lesion is marked with a known chance. The score of a marked one is the normal distribution of a latent rating, which is
one standard deviation wide and lies higher on malignant lesions; a part of it is the lesion itself, the same for all
readers and for both conditions (after Roe and Metz 1997). False marks come at a known rate.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.random import Generator

from lab.readerstudy.tables import BiRads, Condition, Mark, ReadRow, Truth, TruthRow

SHARED = 0.4
"""Share of a latent rating's variance that is the lesion's own."""
HIGHEST = ((0.02, BiRads.BENIGN), (0.5, BiRads.PROBABLY_BENIGN), (0.7, BiRads.LOW_SUSPICION))
"""Up to which score, of 1, a category is given; 4B up to 0.85, 4C up to 0.98, then 5."""
HIGHER = ((0.85, BiRads.MODERATE_SUSPICION), (0.98, BiRads.HIGH_SUSPICION), (1.1, BiRads.HIGHLY_SUGGESTIVE))
FALSE_MARKS_LATENT = -0.8
"""Where the latent ratings of false marks lie; those of benign lesions lie around 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What a simulated reader can do under one condition.

    `separation`: of malignant and benign lesions, in standard deviations; `missed`: the chance that a lesion is not
    marked; `false_marks`: per case, on average.
    """

    reader: str
    condition: Condition
    separation: float
    missed: float
    false_marks: float

    @property
    def sensitivity(self) -> float:
        """The chance that a malignant lesion is marked with BI-RADS 4 or 5: a latent rating above 0."""
        return (1 - self.missed) * NormalDist().cdf(self.separation)

    @property
    def specificity(self) -> float:
        """The chance that a benign lesion is not."""
        return 1 - (1 - self.missed) / 2

    @property
    def area(self) -> float:
        """The area under the ROC curve over lesions, those not marked sharing the lowest score."""
        marked = NormalDist().cdf(self.separation / math.sqrt(2))
        seen, unseen = 1 - self.missed, self.missed
        return seen * seen * marked + seen * unseen + unseen * unseen / 2


def skills(readers: int) -> tuple[Skill, ...]:
    """Return readers from the best to the least skilled, each without the model and a little better with it."""
    found = []
    for number in range(readers):
        fall = number / max(readers - 1, 1)
        name = f"R{number + 1}"
        found.append(
            Skill(
                reader=name,
                condition=Condition.WITHOUT,
                separation=1.5 - 0.5 * fall,
                missed=0.08 + 0.12 * fall,
                false_marks=0.3 + 0.2 * fall,
            )
        )
        found.append(
            Skill(
                reader=name,
                condition=Condition.WITH,
                separation=1.9 - 0.3 * fall,
                missed=0.04 + 0.04 * fall,
                false_marks=0.25 + 0.15 * fall,
            )
        )
    return tuple(found)


def simulate(truth: Sequence[TruthRow], every: Sequence[Skill], seed: int) -> list[ReadRow]:
    """Return what readers of such skill say of all cases; the same seed says the same.

    The cases of a breast's or a patient's lesions are independent given their truth.
    """
    cases: dict[tuple[str, str], list[TruthRow]] = {}
    for row in truth:
        cases.setdefault((row.site, row.case), []).append(row)
    rows: list[ReadRow] = []
    for skill in every:
        session = 1 if skill.condition is Condition.WITHOUT else 2
        for (site, case), lines in cases.items():
            rng = _generator(seed, site, case, skill.reader, skill.condition)
            said = [_lesion(line, skill, seed, rng) for line in lines if line.lesion]
            said += [_false_mark(site, case, skill, rng) for _ in range(rng.poisson(skill.false_marks))]
            if not any(each.mark is Mark.YES for each in said):
                said.append(
                    ReadRow(
                        site=site,
                        case=case,
                        reader=skill.reader,
                        condition=skill.condition,
                        birads=BiRads.NEGATIVE,
                        score=0,
                    )
                )
            rows += [each.model_copy(update={"session": session}) for each in said]
    return rows


def _generator(seed: int, *names: str) -> Generator:
    """Return random numbers that belong to these names, whatever else is drawn."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def _lesion(line: TruthRow, skill: Skill, seed: int, rng: Generator) -> ReadRow:
    """Return what is said of a lesion: nothing, or its category and score."""
    own = _generator(seed, line.site, line.case, line.lesion).normal()
    latent = math.sqrt(SHARED) * own + math.sqrt(1 - SHARED) * rng.normal()
    latent += skill.separation if line.truth is Truth.MALIGNANT else 0.0
    if rng.random() < skill.missed:
        return ReadRow(
            site=line.site,
            case=line.case,
            lesion=line.lesion,
            reader=skill.reader,
            condition=skill.condition,
            mark=Mark.NO,
        )
    return _marked(line.site, line.case, line.lesion, skill, latent)


def _false_mark(site: str, case: str, skill: Skill, rng: Generator) -> ReadRow:
    """Return a mark on nothing."""
    return _marked(site, case, "", skill, FALSE_MARKS_LATENT + rng.normal())


def _marked(site: str, case: str, lesion: str, skill: Skill, latent: float) -> ReadRow:
    """Return a mark with its score and category."""
    share = NormalDist().cdf(latent)
    return ReadRow(
        site=site,
        case=case,
        lesion=lesion,
        reader=skill.reader,
        condition=skill.condition,
        mark=Mark.YES,
        birads=next(category for highest, category in (*HIGHEST, *HIGHER) if share <= highest),
        score=round(100 * share, 2),
    )
