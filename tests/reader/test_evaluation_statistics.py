"""The statistics of a measurement, on cases that can be done by hand."""

import math

import numpy as np
import pytest

from lab.evaluation.bootstrap import intervals
from lab.evaluation.calibration import brier_score, calibration_of, expected_error
from lab.evaluation.froc import alternative_area, curve, free_response, sensitivities, sensitivity_at
from lab.evaluation.roc import area_under_curve, bootstrapped_area, roc_curve
from lab.evaluation.statistics import threshold_at, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_newcombe_1998(successes, trials, low, high):
    interval = wilson(successes, trials)
    assert interval.value == successes / trials
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_of_no_trials_nothing_is_known():
    assert math.isnan(wilson(0, 0).value)
    assert wilson(0, 0)[1:] == (0.0, 1.0)


def test_the_area_under_the_curve_counts_pairs_and_ties_half():
    assert area_under_curve([3.0, 2.0], [1.0, 2.0]) == (1 + 1 + 1 + 0.5) / 4
    assert area_under_curve([1.0], [0.0]) == 1.0
    assert math.isnan(area_under_curve([], [1.0]))


def test_the_area_under_the_drawn_roc_curve_is_the_share_of_pairs():
    rng = np.random.default_rng(1)
    scores, positive = np.round(rng.random(60), 1), rng.random(60) < 0.4
    false, true = roc_curve(scores, positive)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(area_under_curve(scores[positive], scores[~positive]))


def test_a_bootstrap_draws_whole_studies():
    scores = np.array([0.9, 0.1, 0.8, 0.2])
    positive = np.array([True, False, True, False])
    together = bootstrapped_area(scores, positive, np.zeros(4, dtype=np.int64), np.random.default_rng(0))
    assert together == (1.0, 0.0, 1.0)
    mixed = bootstrapped_area(
        np.array([0.9, 0.1, 0.3, 0.5, 0.7, 0.2]),
        np.array([True, False, True, False, True, False]),
        np.array([0, 0, 1, 1, 2, 2]),
        np.random.default_rng(0),
    )
    assert mixed.low < mixed.value < mixed.high


def test_findings_of_one_study_widen_the_interval_of_a_mean():
    values = np.repeat([0.0, 1.0], 50)

    def mean_of(units):
        def mean(draws):
            return np.array([np.average(values, weights=draws[units])])

        return mean

    (alone,) = intervals(mean_of(np.arange(100)), 100, np.random.default_rng(0))
    (clustered,) = intervals(mean_of(np.arange(100) // 10), 10, np.random.default_rng(0))
    assert alone.value == clustered.value == 0.5
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * 0.05, abs=0.02)
    assert clustered.high - clustered.low > 2.5 * (alone.high - alone.low)


def test_a_threshold_lets_through_only_as_many_false_marks_as_are_allowed():
    false_scores = [0.2, 0.9, 0.5, 0.7]
    assert sum(score > threshold_at(false_scores, 2) for score in false_scores) == 2
    assert threshold_at(false_scores, 4) == -math.inf


def test_sensitivity_at_a_rate_of_false_marks_by_hand():
    data = _experiment([0.9, 0.6, 0.4, -math.inf], [0, 0, 1, 1], [0.8, 0.5, 0.3], [0, 1, 1], [2, 2])
    ones = np.ones(2, dtype=np.int64)
    assert sensitivities(data, [0.0, 0.25, 0.5, 0.75, 5.0], ones).tolist() == [0.25, 0.5, 0.75, 0.75, 0.75]


def test_a_study_that_is_drawn_twice_counts_twice():
    data = _experiment([0.9, 0.2], [0, 1], [0.5], [1], [1, 1])
    assert sensitivities(data, [0.5], np.array([2, 0])).tolist() == [1.0]
    assert sensitivities(data, [0.5], np.array([0, 2])).tolist() == [0.0]
    assert sensitivities(data, [1.0], np.array([0, 2])).tolist() == [1.0]


def test_the_froc_curve_rises_and_lies_in_its_band():
    rng = np.random.default_rng(2)
    data = _experiment(
        rng.random(80), rng.integers(0, 30, 80), rng.random(60) ** 2, rng.integers(0, 30, 60), np.full(30, 4)
    )
    drawn = curve(data, [0.1, 0.2, 0.5, 1.0], np.random.default_rng(0))
    assert (np.diff(drawn.sensitivity) >= 0).all()
    assert ((drawn.low <= drawn.sensitivity) & (drawn.sensitivity <= drawn.high)).all()
    again = sensitivity_at(data, [0.1, 0.2, 0.5, 1.0], np.random.default_rng(0))
    assert [point.value for point in again] == drawn.sensitivity.tolist()


def test_all_that_was_found_of_a_few_is_not_certain_to_be_found_again():
    data = _experiment([0.9] * 4, [0, 1, 2, 3], [], [], [4] * 4)
    (all_found,) = sensitivity_at(data, [0.5], np.random.default_rng(0))
    assert all_found == wilson(4, 4)
    assert all_found.low < 0.52


def test_no_lesion_at_all_has_no_sensitivity():
    data = _experiment([], [], [0.5], [0], [4])
    assert math.isnan(sensitivities(data, [0.5], np.ones(1, dtype=np.int64))[0])


def test_the_alternative_area_sets_lesions_beside_the_worst_false_mark_of_images_without():
    assert alternative_area([0.9, -math.inf], [0.5, -math.inf]) == (1 + 1 + 0 + 0.5) / 4
    assert math.isnan(alternative_area([0.9], []))


def test_what_is_said_and_comes_true_as_often_is_calibrated():
    rng = np.random.default_rng(3)
    said = rng.random(4000)
    true = rng.random(4000) < said
    assert expected_error(said, true) < 0.04
    assert expected_error(said**2, true) > 0.1
    assert brier_score(np.array([1.0, 0.0, 0.5]), np.array([True, False, True])) == pytest.approx(0.25 / 3)
    measured = calibration_of(said[:500], true[:500], np.arange(500) // 5, np.random.default_rng(0))
    assert measured.brier.low < measured.brier.value < measured.brier.high
    assert sum(group.count for group in measured.bins) == 500
    assert [group.said for group in measured.bins] == sorted(group.said for group in measured.bins)


def _experiment(lesion_scores, lesion_units, false_scores, false_units, images):
    lesions = zip(lesion_scores, lesion_units, strict=True)
    return free_response(list(lesions), list(zip(false_scores, false_units, strict=True)), images)
