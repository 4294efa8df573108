"""Sample sizes agree with published ones, and power with what the tests do."""

import pytest

from lab.readerstudy.obuchowski_rockette import analyse
from lab.readerstudy.power import Variances, cases_needed, power, variances_of
from tests.readerstudy.published import DISSECTED, VAN_DYKE


@pytest.fixture(scope="module")
def pilot():
    return analyse(VAN_DYKE, DISSECTED)


# RJafroc's vignette on ROC sample size: SsPowerTable(dataset02), Van Dyke's data, the observed effect, 80 %
@pytest.mark.parametrize(
    ("readers", "cases"), [(4, 1089), (5, 344), (6, 251), (7, 211), (8, 188), (9, 173), (10, 163)]
)
def test_cases_needed_after_van_dyke_are_those_of_rjafroc(pilot, readers, cases):
    variances = variances_of(pilot.components, 114)
    difference = pilot.difference.interval.value
    assert cases_needed(variances, difference=difference, readers=readers) == cases


# RJafroc, tests/testthat: SsPowerGivenJK(dataset02, FOM = "Wilcoxon", J = 6, K = 111), and the vignette's K = 112
@pytest.mark.parametrize(("cases", "printed"), [(111, 0.5526116), (112, 0.5555789)])
def test_power_after_van_dyke_is_that_of_rjafroc(pilot, cases, printed):
    difference = pilot.difference.interval.value
    found = power(variances_of(pilot.components, 114), difference=difference, readers=6, cases=cases)
    assert found == pytest.approx(printed, abs=5e-8)


@pytest.mark.parametrize("random", ["readers-and-cases", "readers", "cases"])
def test_a_study_without_an_effect_is_significant_as_often_as_its_level(pilot, random):
    found = power(
        variances_of(pilot.components, 114), difference=0.0, readers=5, cases=114, random=random, level=0.05
    )
    assert found == pytest.approx(0.05)


@pytest.mark.parametrize("random", ["readers-and-cases", "readers", "cases"])
def test_power_grows_with_readers_cases_and_effect(pilot, random):
    variances = variances_of(pilot.components, 114)
    before = power(variances, difference=0.04, readers=5, cases=100, random=random)
    for change in ({"readers": 6}, {"cases": 130}, {"difference": 0.05}):
        asked = {"difference": 0.04, "readers": 5, "cases": 100} | change
        assert power(variances, random=random, **asked) > before


def test_fewest_cases_reach_the_power_and_one_less_does_not(pilot):
    variances = variances_of(pilot.components, 114)
    cases = cases_needed(variances, difference=0.05, readers=6, wanted=0.9)
    reached, missed = (
        power(variances, difference=0.05, readers=6, cases=count) for count in (cases, cases - 1)
    )
    assert missed < 0.9 <= reached


def test_readers_who_disagree_are_not_made_up_for_by_cases():
    apart = Variances(
        treatment_reader=0.01,
        error=0.001,
        covariance_1=0.0005,
        covariance_2=0.0005,
        covariance_3=0.0002,
        cases=100,
    )
    assert cases_needed(apart, difference=0.03, readers=4) is None


def test_studies_that_cannot_be_are_refused(pilot):
    variances = variances_of(pilot.components, 114)
    with pytest.raises(ValueError, match="two readers"):
        power(variances, difference=0.05, readers=1, cases=100)
    with pytest.raises(ValueError, match="Variances need"):
        Variances(treatment_reader=-1, error=1, covariance_1=0, covariance_2=0, covariance_3=0, cases=9)
