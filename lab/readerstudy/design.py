"""A study planned: who reads which case when, with or without the model, and how sure the result will be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lab.readerstudy.multireader import INFERENCES, VarianceRow
from lab.readerstudy.obuchowski_rockette import Random
from lab.readerstudy.power import cases_needed, power, variances_of
from lab.readerstudy.tables import Condition, ReadRow, Truth, TruthRow

WANTED_POWER = 0.8
SESSIONS = (1, 2)


def plan(cases: Mapping[tuple[str, str], Truth], readers: Sequence[str], seed: int) -> list[ReadRow]:
    """Return a fully crossed study as the lines of a reads.csv that readers fill in, in their reading order.

    In the first session each reader reads a random half of the cases, of each truth, with the model and the others
    without, in random order; after the wash-out, in a new order, the other way round. So no condition profits from
    coming second. `cases`: site and case, and what it is. The same seed plans the same.
    """
    keys = sorted(cases)
    rows: list[ReadRow] = []
    for number, reader in enumerate(readers):
        rng = np.random.default_rng([seed, number])
        aided = {
            key
            for kind in Truth
            for key in _half([key for key in keys if cases[key] is kind], rng, bool(number % 2))
        }
        for session in SESSIONS:
            for order, place in enumerate(rng.permutation(len(keys)), start=1):
                site, case = keys[place]
                with_model = (keys[place] in aided) == (session == SESSIONS[0])
                rows.append(
                    ReadRow(
                        site=site,
                        case=case,
                        reader=reader,
                        condition=Condition.WITH if with_model else Condition.WITHOUT,
                        session=session,
                        order=order,
                    )
                )
    return rows


def _half(keys: Sequence[tuple[str, str]], rng: np.random.Generator, more: bool) -> Iterable[tuple[str, str]]:
    """Return a random half; of an odd number, the larger half for every other reader."""
    count = (len(keys) + more) // 2
    return [keys[place] for place in rng.permutation(len(keys))[:count]]


def cases_of(truth: Iterable[TruthRow]) -> dict[tuple[str, str], Truth]:
    """Return every case with the worst that is true of it."""
    order = list(Truth)
    found: dict[tuple[str, str], Truth] = {}
    for row in truth:
        key = (row.site, row.case)
        found[key] = min(found.get(key, Truth.NORMAL), row.truth, key=order.index)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRow:
    """How often a study of so many readers and cases would show a difference in area.

    `needed`: the fewest cases, or lesions where these are judged, for the wanted power; None where no number does.
    """

    random: Random
    readers: int
    cases: int
    difference: float
    power: float
    wanted: float
    needed: int | None


def power_of(
    pilot: VarianceRow, *, difference: float, readers: int, cases: int, wanted: float = WANTED_POWER
) -> list[PowerRow]:
    """Return the power for every way to generalise, from the variances of a pilot study.

    Raises:
        ValueError: if the pilot's variances are those of no study, such as readers who always agree.
    """
    variances = variances_of(pilot, pilot.units)
    return [
        PowerRow(
            random=random,
            readers=readers,
            cases=cases,
            difference=difference,
            power=power(variances, difference=difference, readers=readers, cases=cases, random=random),
            wanted=wanted,
            needed=cases_needed(
                variances, difference=difference, readers=readers, wanted=wanted, random=random
            ),
        )
        for random in INFERENCES
        if random == "cases" or readers > 1
    ]
