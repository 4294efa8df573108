"""Who is judged in a reader study: each reader, pairs by rule, the model, and readers or pairs with the model by rule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lab.evaluation.statistics import Interval
from lab.readerstudy.combination import RULES, Opinion, combine
from lab.readerstudy.proportions import Accuracy, Proportion, accuracy, predictive_values, proportion
from lab.readerstudy.readings import POSITIVE_SCORE, Level, Reading, Study, Units
from lab.readerstudy.roc_comparison import delong
from lab.readerstudy.tables import Condition

ALL_PAIRS_UP_TO = 3
"""So many readers are paired with each other without being asked to."""


class UnknownReader(Exception):
    """A pair or an arbiter is asked for who is no reader of the study; str() names who are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is asked of an analysis.

    `pairs`: readers to be combined; None: all pairs of up to three readers. `arbiter`: who decides where a pair
    disagrees, the model without one. `margin`: of non-inferiority, in areas and in shares. `positive_score`: from
    which score on a line without a category or call is a positive call. `prevalence`: share of malignant units, between
    0 and 1, at which predictive values are told beside those of the study's own share.
    """

    level: Level = "case"
    pairs: tuple[tuple[str, str], ...] | None = None
    arbiter: str | None = None
    margin: float | None = None
    positive_score: float = POSITIVE_SCORE
    prevalence: float | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arm:
    """One way to read. `who` is the same with and without the model; `lesions`: what was found, whatever is judged.

    `false_marks`: per case read, None where nobody marks places or a rule makes them ambiguous.
    """

    name: str
    who: str
    condition: Condition | None
    judged: Opinion
    lesions: Opinion
    false_marks: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFigures:
    """What one way to read is worth. `area`: None where there are not two units of each kind.

    `missed`: lesions not marked, benign ones too, of those in cases that were read; None where no lesion is told.
    `predicted`: positive and negative predictive value at the prevalence that was asked for, None without one.
    """

    name: str
    units: int
    accuracy: Accuracy
    area: Interval | None
    missed: Proportion | None
    false_marks: float | None
    predicted: tuple[Interval, Interval] | None


def arms_of(study: Study, options: Options) -> list[Arm]:
    """Return every way to read that a study tells of.

    Raises:
        UnknownReader: if the options name somebody who is no reader.
    """
    pairs = _pairs(study, options)
    arms = [_single(study, reading, options.level) for reading in study.readings]
    arms += [
        arm for pair in pairs for condition in Condition for arm in _paired(study, options, pair, condition)
    ]
    if study.model is not None:
        machine = _single(study, study.model, options.level)
        alone = [arm for arm in arms if arm.condition is Condition.WITHOUT]
        arms += [machine, *(arm for one in alone for arm in _beside(machine, one, study, options))]
    return arms


def _pairs(study: Study, options: Options) -> Sequence[tuple[str, str]]:
    """Return the pairs of readers that are wanted."""
    asked = {name for pair in options.pairs or () for name in pair} | {options.arbiter or study.readers[0]}
    unknown = sorted(asked - set(study.readers))
    if unknown:
        raise UnknownReader(f"{', '.join(unknown)} read nothing; the readers are {', '.join(study.readers)}.")
    if options.pairs is not None:
        return options.pairs
    return list(combinations(study.readers, 2)) if len(study.readers) <= ALL_PAIRS_UP_TO else []


def _single(study: Study, reading: Reading, level: Level) -> Arm:
    """Return a reading as it is."""
    cases = int(reading.cases.read.sum())
    marks = len(study.lesion_case) > 0 or bool(reading.false_marks)
    return Arm(
        name=reading.name,
        who=reading.reader,
        condition=reading.condition,
        judged=reading.opinion(level),
        lesions=reading.lesions,
        false_marks=len(reading.false_marks) / cases if marks and cases else None,
    )


def _paired(study: Study, options: Options, pair: tuple[str, str], condition: Condition) -> Iterator[Arm]:
    """Yield a pair's opinions by every rule, where both read under the condition."""
    first, second = (study.reading(reader, condition) for reader in pair)
    if first is None or second is None:
        return
    if options.arbiter is None:
        third, judge = study.model, "the model"
    else:
        third, judge = study.reading(options.arbiter, condition), options.arbiter
    for rule in RULES:
        if rule == "arbitration" and (third is None or judge in pair):
            continue
        who = f"{pair[0]} and {pair[1]}, {f'{judge} decides' if rule == 'arbitration' else rule}"
        judged, lesions = (
            combine(
                rule,
                first.opinion(level),
                second.opinion(level),
                third.opinion(level) if third else None,
                positive_score=options.positive_score,
            )
            for level in (options.level, "lesion")
        )
        name = f"{who} {condition} the model"
        yield Arm(name=name, who=who, condition=condition, judged=judged, lesions=lesions)


def _beside(machine: Arm, alone: Arm, study: Study, options: Options) -> Iterator[Arm]:
    """Yield what a reader or pair who had not seen the model and the model say together, by rule.

    Where they differ, an arbiter who has not seen the model either may decide.
    """
    judge = study.reading(options.arbiter, Condition.WITHOUT) if options.arbiter else None
    for rule in RULES:
        ending = f"{options.arbiter} decides" if rule == "arbitration" else rule
        if rule == "arbitration" and (judge is None or alone.who == options.arbiter):
            continue
        if ", " in alone.who and not alone.who.endswith(f", {ending}"):
            continue
        who = f"{alone.who} + model, {ending}"
        judged, lesions = (
            combine(
                rule,
                one,
                other,
                judge.opinion(level) if judge else None,
                positive_score=options.positive_score,
            )
            for one, other, level in (
                (alone.judged, machine.judged, options.level),
                (alone.lesions, machine.lesions, "lesion"),
            )
        )
        yield Arm(name=who, who=who, condition=None, judged=judged, lesions=lesions)


def figures_of(arm: Arm, study: Study, options: Options) -> ArmFigures:
    """Return what a way to read is worth, over what was read."""
    units, read = study.units(options.level), arm.judged.read
    judged, positive = arm.judged.of(read), units.positive[read]
    there = arm.lesions.of(arm.lesions.read)
    found = int(there.found.sum())
    calls = accuracy(judged.calls, positive)
    return ArmFigures(
        name=arm.name,
        units=int(read.sum()),
        accuracy=calls,
        area=area_of(judged, positive, units.patients[read]),
        missed=proportion(len(there.found) - found, len(there.found)) if len(there.found) else None,
        false_marks=arm.false_marks,
        predicted=None
        if options.prevalence is None
        else predictive_values(calls.sensitivity, calls.specificity, options.prevalence),
    )


def area_of(opinion: Opinion, positive: np.ndarray, patients: np.ndarray) -> Interval | None:
    """Return the area under the ROC curve with DeLong's interval, by patient where some have several units."""
    if not measurable(positive, patients):
        return None
    return delong(opinion.scores[None], positive, clusters(patients)).interval()


def measurable(positive: np.ndarray, patients: np.ndarray) -> bool:
    """Return whether an area has a variance: at least two patients with positive units and two with others."""
    return min(len(np.unique(patients[positive])), len(np.unique(patients[~positive]))) >= 2


def clusters(patients: np.ndarray) -> np.ndarray | None:
    """Return whose each unit is, None where every patient has one: a plain analysis is then the same and faster."""
    return patients if len(np.unique(patients)) < len(patients) else None


def restricted(units: Units, chosen: np.ndarray) -> Units:
    """Return some of the units."""
    return Units(
        positive=units.positive[chosen],
        patients=units.patients[chosen],
        groups={name: values[chosen] for name, values in units.groups.items()},
    )
