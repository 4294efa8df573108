"""The test of Obuchowski and Rockette agrees with what its reference programs print of Van Dyke's data."""

import numpy as np
import pytest

from lab.readerstudy.figure_of_merit import areas, shares
from lab.readerstudy.obuchowski_rockette import analyse
from lab.readerstudy.roc_comparison import compare
from tests.readerstudy.published import DISSECTED, VAN_DYKE

# OR-DBM MRMC 2.51 (Schartz, Hillis, Pesce and Berbaum) on Van Dyke et al. (1993), trapezoidal areas, jackknife.
AREAS = [
    [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
    [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
]


@pytest.fixture(scope="module")
def printed():
    return {
        random: analyse(VAN_DYKE, DISSECTED, random=random)
        for random in ("readers-and-cases", "cases", "readers")
    }


def test_areas_are_those_printed(printed):
    assert printed["cases"].areas == pytest.approx(np.array(AREAS), abs=5e-9)


def test_variance_components_are_those_printed(printed):
    part = printed["readers-and-cases"].components
    assert part.mean_square_treatment == pytest.approx(0.00479617, abs=5e-9)
    assert part.mean_square_reader == pytest.approx(0.00383620, abs=5e-9)
    assert part.mean_square_interaction == pytest.approx(0.00055103, abs=5e-9)
    assert part.reader == pytest.approx(0.00153500, abs=5e-9)
    assert part.treatment_reader == pytest.approx(0.00020040, abs=5e-9)
    assert part.covariance_1 == pytest.approx(0.00034661, abs=5e-9)
    assert part.covariance_2 == pytest.approx(0.00034407, abs=5e-9)
    assert part.covariance_3 == pytest.approx(0.00023903, abs=5e-9)
    assert part.error == pytest.approx(0.00080229, abs=5e-9)


def test_random_readers_and_cases_are_those_printed(printed):
    found = printed["readers-and-cases"]
    assert found.f == pytest.approx(4.4563, abs=5e-5)
    assert found.ddf == pytest.approx(15.2597, abs=5e-5)
    assert found.p == pytest.approx(0.05167, abs=5e-6)
    assert found.difference.p == pytest.approx(found.p)
    assert found.difference.interval == pytest.approx((-0.04380032, -0.08795949, 0.00035885), abs=1e-8)
    assert found.difference.standard_error == pytest.approx(0.02074862, abs=5e-9)
    first, second = found.per_treatment
    assert first.interval == pytest.approx((0.89703704, 0.82522360, 0.96885048), abs=5e-9)
    assert (first.standard_error, first.ddf) == pytest.approx((0.03317360, 12.74), abs=5e-3)
    assert second.interval == pytest.approx((0.94083736, 0.89413783, 0.98753689), abs=5e-9)
    assert second.standard_error == pytest.approx(0.02156637, abs=5e-9)
    assert second.ddf == pytest.approx(12.71, abs=5e-3)


def test_random_cases_are_those_printed(printed):
    found = printed["cases"]
    assert found.f == pytest.approx(5.47595, abs=5e-6)
    assert found.p == pytest.approx(0.01928, abs=5e-6)
    assert found.difference.standard_error == pytest.approx(0.01871748, abs=5e-9)
    assert found.difference.interval[1:] == pytest.approx((-0.08049, -0.00711), abs=1e-5)
    errors = [difference.standard_error for difference in found.reader_differences]
    assert errors == pytest.approx([0.02551, 0.02630, 0.03121, 0.01729, 0.04406], abs=5e-6)


def test_random_readers_are_those_printed(printed):
    found = printed["readers"]
    assert found.f == pytest.approx(8.704, abs=5e-4)
    assert (found.ndf, found.ddf) == (1, 4)
    assert found.p == pytest.approx(0.04196, abs=5e-6)
    assert found.difference.interval[1:] == pytest.approx((-0.08502, -0.00258), abs=5e-6)


def test_delongs_covariance_gives_each_reader_delongs_own_test():
    found = analyse(VAN_DYKE, DISSECTED, covariance="delong", random="cases")
    for reader, difference in enumerate(found.reader_differences):
        alone = compare(VAN_DYKE[0, reader], VAN_DYKE[1, reader], DISSECTED)
        assert difference.interval == pytest.approx(alone.difference)
        assert difference.p == pytest.approx(alone.p)


def test_the_bootstrap_comes_near_the_jackknife_and_repeats_with_its_seed():
    found = [analyse(VAN_DYKE, DISSECTED, covariance="bootstrap", draws=500, seed=seed) for seed in (3, 3, 4)]
    assert found[0].f == found[1].f != found[2].f
    assert found[0].components.error == pytest.approx(0.00080229, rel=0.15)


def test_one_reader_with_random_cases_is_the_paired_test():
    found = analyse(VAN_DYKE[:, :1], DISSECTED, covariance="delong", random="cases")
    assert found.p == pytest.approx(compare(VAN_DYKE[0, 0], VAN_DYKE[1, 0], DISSECTED).p)


def test_one_treatment_has_its_figure_and_no_test():
    found = analyse(VAN_DYKE[:1], DISSECTED)
    assert found.differences == ()
    assert np.isnan(found.p)
    assert found.per_treatment[0].interval == pytest.approx((0.89703704, 0.82522360, 0.96885048), abs=5e-9)


def test_three_treatments_have_three_differences():
    found = analyse(np.concatenate([VAN_DYKE, VAN_DYKE[:1]]), DISSECTED)
    assert [(part.first, part.second) for part in found.differences] == [(0, 1), (0, 2), (1, 2)]
    assert found.differences[1].interval.value == 0.0
    assert found.ndf == 2


def test_patients_of_one_case_each_change_nothing_and_doubled_cases_neither():
    alone = analyse(VAN_DYKE, DISSECTED)
    grouped = analyse(VAN_DYKE, DISSECTED, patients=np.arange(114))
    doubled = analyse(
        np.repeat(VAN_DYKE, 2, axis=-1), np.repeat(DISSECTED, 2), patients=np.repeat(np.arange(114), 2)
    )
    assert grouped.f == pytest.approx(alone.f, rel=1e-9)
    assert doubled.f == pytest.approx(alone.f, rel=1e-9)


def test_sensitivities_are_compared_by_the_same_test():
    """With one case a patient the jackknife of a share has the closed form s^2 / n, here of one reader's two shares."""
    right = VAN_DYKE >= 4
    merit = shares(right, DISSECTED)
    assert merit.values == pytest.approx(right[..., DISSECTED].mean(axis=-1))
    found = analyse(merit, random="cases").reader_differences[0]
    discord = right[0, 0, DISSECTED].astype(float) - right[1, 0, DISSECTED]
    assert found.standard_error == pytest.approx(discord.std(ddof=1) / np.sqrt(45))


def test_leaving_out_by_hand_is_leaving_out_by_placements():
    merit = areas(VAN_DYKE, DISSECTED)
    for case in (0, 68, 69, 113):
        draws = np.ones(114, dtype=np.int64)
        draws[case] = 0
        assert merit.without[..., case] == pytest.approx(merit.statistic(draws))


def test_what_cannot_be_answered_is_refused():
    with pytest.raises(ValueError, match="only cases can be random"):
        analyse(VAN_DYKE[:, :1], DISSECTED)
    with pytest.raises(ValueError, match="truth"):
        analyse(VAN_DYKE)
    with pytest.raises(ValueError, match="use the jackknife"):
        analyse(shares(VAN_DYKE >= 4, DISSECTED), covariance="delong")
    with pytest.raises(ValueError, match="at least two patients"):
        shares(VAN_DYKE >= 4, np.arange(114) == 3)
