"""Intervals over patients: of clustered findings wider, of independent ones the usual."""

import numpy as np
import pytest

from lab.readerstudy.clustered import bootstrap, proportion
from lab.readerstudy.proportions import proportion as independent

RNG = np.random.default_rng(11)
FOUND = RNG.random(60) < 0.8


def _mean(rows):
    return float(FOUND[rows].mean())


def test_one_finding_a_patient_has_the_usual_interval():
    share, effect = proportion(FOUND, np.arange(60))
    usual = independent(int(FOUND.sum()), 60)
    assert effect == pytest.approx(60 / 59)
    assert share.value == usual.value
    assert (share.low, share.high) == pytest.approx(usual.wilson, abs=2e-3)


def test_findings_that_repeat_a_patient_add_no_certainty():
    once, effect = proportion(FOUND, np.arange(60))
    thrice, repeated = proportion(np.repeat(FOUND, 3), np.repeat(np.arange(60), 3))
    assert repeated == pytest.approx(3 * effect)
    assert thrice == pytest.approx(once)


def test_the_ratio_estimator_by_hand():
    """Patients of 1, 2 and 3 findings, 1, 1 and 1 found: share 1/2, squares (1/2)^2 + 0 + (1/2)^2, times 3/2 over 36."""
    found = np.array([True, True, False, True, False, False])
    _, effect = proportion(found, np.array([0, 1, 1, 2, 2, 2]))
    assert effect == pytest.approx(1.5 * 0.5 / 36 / (0.25 / 6))


def test_patients_of_one_share_are_no_surer_than_independent_findings():
    """Every patient has one of two findings found: the variance over patients is 0, the interval Wilson's of 20."""
    share, effect = proportion(np.tile([True, False], 10), np.repeat(np.arange(10), 2))
    assert effect == 0.0
    assert (share.low, share.high) == pytest.approx(independent(10, 20).wilson)


def test_all_found_one_patient_and_none_have_wide_intervals():
    every, effect = proportion(np.ones(10, dtype=bool), np.arange(10))
    assert (every.value, every.high, effect) == (1.0, 1.0, 1.0)
    assert every.low == pytest.approx(independent(10, 10).wilson[0])
    none, effect = proportion(np.zeros(10, dtype=bool), np.arange(10))
    assert (none.value, none.low, effect) == (0.0, 0.0, 1.0)
    assert none.high == pytest.approx(independent(0, 10).wilson[1])
    alone, _ = proportion(np.array([True, False]), np.array(["A", "A"]))
    assert alone.high - alone.low > 0.75
    nothing, _ = proportion(np.zeros(0, dtype=bool), np.zeros(0, dtype=int))
    assert (nothing.low, nothing.high) == (0.0, 1.0)


def test_the_bootstrap_of_a_mean_comes_near_its_error():
    error = FOUND.std() / np.sqrt(60)
    for method in ("bca", "percentile"):
        found = bootstrap(_mean, np.arange(60), 3, method=method)
        assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.12)
        assert found.low < found.value < found.high


def test_the_bootstrap_repeats_with_its_seed_and_differs_with_another():
    first, again, other = (bootstrap(_mean, np.arange(60) // 3, seed, draws=300) for seed in (1, 1, 2))
    assert first == again
    assert first[1:] != other[1:]


def test_whole_patients_are_drawn():
    """Findings that repeat a patient leave the bootstrap as wide as each once."""
    once = bootstrap(_mean, np.arange(60), 3, draws=1000)
    thrice = bootstrap(lambda rows: _mean(rows // 3), np.repeat(np.arange(60), 3), 3, draws=1000)
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.1)


def test_a_skewed_statistic_has_an_interval_that_bca_moves():
    """The mean of an exponential sample: the corrected interval lies higher, as Efron (1987) shows."""
    waits = np.random.default_rng(4).exponential(size=25)

    def mean(rows):
        return float(waits[rows].mean())

    plain, corrected = (bootstrap(mean, np.arange(25), 6, method=method) for method in ("percentile", "bca"))
    assert corrected.low > plain.low
    assert corrected.high > plain.high


def test_strata_keep_their_sizes():
    sizes = []

    def count(rows):
        sizes.append(int((rows < 20).sum()))
        return float(len(rows))

    bootstrap(count, np.arange(60), 0, draws=20, strata=np.arange(60) < 20, method="percentile")
    assert set(sizes) == {20}
    with pytest.raises(ValueError, match="two strata"):
        bootstrap(_mean, np.arange(60) // 2, 0, draws=5, strata=np.arange(60) % 2)


def test_draws_without_a_value_do_not_count_and_one_unit_says_nothing():
    def rarely(rows):
        return float("nan") if 0 not in rows else 1.0

    assert bootstrap(rarely, np.arange(4), 0, draws=50)[1:] == (1.0, 1.0)
    assert bootstrap(_mean, np.zeros(60), 0)[1:] == (0.0, 1.0)
    assert bootstrap(lambda rows: rows[0] * np.nan, np.arange(4), 0, draws=5)[1:] == (0.0, 1.0)
