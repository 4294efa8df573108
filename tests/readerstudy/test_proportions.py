"""Shares and their intervals agree with published ones."""

import math

import numpy as np
import pytest

from lab.readerstudy.proportions import accuracy, predictive_values, proportion


# Newcombe (1998), Two-sided confidence intervals for the single proportion, Statistics in Medicine 17:857, table I
@pytest.mark.parametrize(
    ("successes", "total", "wilson", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_intervals_of_a_share_are_those_of_newcombe(successes, total, wilson, exact):
    share = proportion(successes, total)
    assert share.value == successes / total
    assert share.wilson == pytest.approx(wilson, abs=5e-5)
    assert share.clopper_pearson == pytest.approx(exact, abs=5e-5)


def test_of_no_case_nothing_is_known():
    share = proportion(0, 0)
    assert math.isnan(share.value)
    assert share.wilson == share.clopper_pearson == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "total"), [(-1, 3), (4, 3), (1, 0)])
def test_a_share_of_more_than_all_or_less_than_none_is_refused(successes, total):
    with pytest.raises(ValueError, match=f"{successes} of {total} is no proportion"):
        proportion(successes, total)


def test_calls_are_counted_beside_the_truth():
    called = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=bool)
    diseased = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    found = accuracy(called, diseased)
    assert (found.sensitivity.successes, found.sensitivity.total) == (3, 4)
    assert (found.specificity.successes, found.specificity.total) == (5, 6)
    assert (found.positive_predictive_value.successes, found.positive_predictive_value.total) == (3, 4)
    assert (found.negative_predictive_value.successes, found.negative_predictive_value.total) == (5, 6)
    assert (found.miss_rate.successes, found.miss_rate.total) == (1, 4)


def test_predictive_values_at_the_prevalence_of_the_sample_are_those_of_the_sample():
    positive, negative = predictive_values(proportion(30, 40), proportion(45, 60), 0.4)
    assert positive.value == pytest.approx(30 / 45)
    assert negative.value == pytest.approx(45 / 55)
    assert positive.low < positive.value < positive.high
    assert negative.low < negative.value < negative.high


def test_predictive_values_of_the_rare_are_bayes_rule():
    positive, negative = predictive_values(proportion(90, 100), proportion(900, 1000), 0.006)
    assert positive.value == pytest.approx(0.9 * 0.006 / (0.9 * 0.006 + 0.1 * 0.994))
    assert negative.value == pytest.approx(0.9 * 0.994 / (0.9 * 0.994 + 0.1 * 0.006))


def test_predictive_values_of_a_perfect_reader_have_intervals_inside_0_and_1():
    positive, negative = predictive_values(proportion(20, 20), proportion(30, 30), 0.5)
    assert 0 < positive.low < positive.value < 1
    assert 0 < negative.low < negative.value < 1


def test_a_prevalence_of_nobody_is_refused():
    with pytest.raises(ValueError, match="leaves nothing to predict"):
        predictive_values(proportion(1, 2), proportion(1, 2), 0.0)
