"""Areas under ROC curves and their tests agree with published ones."""

import numpy as np
import pytest
from scipy.stats import chi2

from lab.evaluation.roc import area_under_curve
from lab.readerstudy.roc_comparison import compare, compare_unpaired, delong, placements
from tests.readerstudy.published import DISSECTED, NOT_HELPED, NUTRITION, VAN_DYKE

# SAS/STAT User's Guide, The LOGISTIC Procedure, Comparing Receiver Operating Characteristic Curves: the data of
# DeLong, DeLong and Clarke-Pearson (1988); areas, standard errors and Wald intervals as printed there.
PRINTED = [
    (0.7366, 0.0927, 0.5549, 0.9182),
    (0.7258, 0.1028, 0.5243, 0.9273),
    (0.6478, 0.1000, 0.4518, 0.8439),
]


@pytest.mark.parametrize("reading", range(3))
def test_areas_of_delongs_example_are_those_of_sas(reading):
    found = delong(NUTRITION, NOT_HELPED)
    area, error, low, high = PRINTED[reading]
    assert found.interval(reading) == pytest.approx((area, low, high), abs=5.1e-5)
    assert np.sqrt(found.covariance[reading, reading]) == pytest.approx(error, abs=5.1e-5)


def test_paired_differences_of_delongs_example_are_those_of_sas():
    albumin = compare(NUTRITION[0], NUTRITION[1], NOT_HELPED)
    protein = compare(NUTRITION[2], NUTRITION[1], NOT_HELPED)
    assert albumin.difference == pytest.approx((0.0108, -0.1761, 0.1976), abs=5.1e-5)
    assert (albumin.z**2, albumin.p) == pytest.approx((0.0127, 0.9102), abs=5.1e-5)
    assert protein.difference == pytest.approx((-0.0780, -0.2830, 0.1271), abs=5.1e-5)
    assert (protein.z**2, protein.p) == pytest.approx((0.5554, 0.4561), abs=5.1e-5)


def test_all_three_areas_of_delongs_example_differ_as_sas_prints():
    found = delong(NUTRITION, NOT_HELPED)
    contrast = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
    shift = contrast @ found.areas
    statistic = shift @ np.linalg.inv(contrast @ found.covariance @ contrast.T) @ shift
    assert (statistic, chi2.sf(statistic, 2)) == pytest.approx((2.5340, 0.2817), abs=5.1e-5)


def test_areas_are_those_of_the_evaluation():
    areas = delong(VAN_DYKE[0], DISSECTED).areas
    for reader, area in enumerate(areas):
        scores = VAN_DYKE[0, reader]
        assert area == pytest.approx(area_under_curve(scores[DISSECTED], scores[~DISSECTED]))


def test_patients_of_one_case_each_change_nothing():
    """Obuchowski (1997), Biometrics 53:567, reduces to DeLong there."""
    alone, grouped = (delong(VAN_DYKE[0], DISSECTED, patients) for patients in (None, np.arange(114)))
    assert grouped.covariance == pytest.approx(alone.covariance, abs=1e-15)


def test_cases_that_repeat_a_patient_add_no_certainty():
    """Every case twice, under one patient: the variance of Obuchowski is that of each case once."""
    twice, positive = np.repeat(VAN_DYKE[0], 2, axis=-1), np.repeat(DISSECTED, 2)
    once = delong(VAN_DYKE[0], DISSECTED)
    clustered = delong(twice, positive, np.repeat(np.arange(114), 2))
    assert clustered.covariance == pytest.approx(once.covariance, rel=1e-12)
    assert delong(twice, positive).covariance[0, 0] < 0.6 * once.covariance[0, 0]


def test_a_patient_with_both_kinds_of_cases_counts_once():
    """By hand: patients A (+3, -1), B (+2, -2) and C (+4, -3); Obuchowski's three sums."""
    scores = np.array([[3.0, 1.0, 2.0, 2.0, 4.0, 3.0]])
    positive = np.array([1, 0, 1, 0, 1, 0], dtype=bool)
    found = delong(scores, positive, np.array(list("AABBCC")))
    above, below = np.array([2.5, 1.5, 3.0]) / 3, np.array([3.0, 2.5, 1.5]) / 3
    area = 7 / 9
    wins, rejections = above - area, below - area
    expected = 1.5 * ((wins**2).sum() + (rejections**2).sum() + 2 * (wins * rejections).sum()) / 9
    assert found.areas[0] == pytest.approx(area)
    assert found.covariance[0, 0] == pytest.approx(expected)


def test_unpaired_areas_vary_by_the_sum():
    first, second = VAN_DYKE[0, 0], VAN_DYKE[1, 0]
    one, other = delong(first[None], DISSECTED), delong(second[None], DISSECTED)
    found = compare_unpaired(first, DISSECTED, second, DISSECTED)
    error = np.sqrt(one.covariance[0, 0] + other.covariance[0, 0])
    assert found.z == pytest.approx((one.areas[0] - other.areas[0]) / error)


def test_unpaired_areas_of_repeated_cases_vary_by_patient():
    """Every case twice, under one patient, is no surer than each once."""
    first, second = VAN_DYKE[0, 0], VAN_DYKE[1, 0]
    owners = np.repeat(np.arange(114), 2)
    once = compare_unpaired(first, DISSECTED, second, DISSECTED)
    twice = compare_unpaired(
        np.repeat(first, 2),
        np.repeat(DISSECTED, 2),
        np.repeat(second, 2),
        np.repeat(DISSECTED, 2),
        (owners, owners),
    )
    assert twice.z == pytest.approx(once.z)


def test_readings_that_are_equal_do_not_differ_and_perfect_ones_surely_do():
    perfect = NOT_HELPED.astype(float)
    assert compare(NUTRITION[0], NUTRITION[0], NOT_HELPED).p == 1.0
    assert compare(perfect, 1 - perfect, NOT_HELPED).p == 0.0


def test_one_kind_of_cases_and_a_missing_score_are_refused():
    with pytest.raises(ValueError, match="one kind is missing"):
        placements(np.array([[1.0, 2.0]]), np.array([True, True]))
    with pytest.raises(ValueError, match="score is missing"):
        placements(np.array([[1.0, np.nan]]), np.array([True, False]))
    with pytest.raises(ValueError, match="at least two positive"):
        delong(np.array([[1.0, 2.0, 3.0]]), np.array([True, False, False]))
