"""Tests and intervals of paired calls agree with published ones."""

import pytest

from lab.readerstudy.paired import difference, holm, mcnemar, non_inferior


def test_mcnemars_exact_p_is_that_of_the_approval_ratings():
    """Agresti (1990), Categorical Data Analysis, table 10.1; also the example of R's mcnemar.test."""
    assert mcnemar(86, 150) == pytest.approx(3.716e-5, rel=1e-4)
    assert mcnemar(150, 86) == mcnemar(86, 150)


def test_mcnemars_p_by_hand():
    assert mcnemar(0, 5) == pytest.approx(2 * 0.5**5)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(3, 3) == 1.0


# As the R package ratesci tests itself (tests/testthat/test5.R, "PAIRED contrasts"), which names Tango (1998), Agresti
# and Min (2005), Fagerland, Lydersen and Laake (2014, table V), Tang (2010) and Chang (2024) as where they were printed
@pytest.mark.parametrize(
    ("cells", "printed", "digits"),
    [
        ((4, 9, 3, 16), (-0.027, 0.390), 3),
        ((53, 16, 8, 9), (-0.020, 0.207), 3),
        ((1, 1, 7, 12), (-0.517, -0.026), 3),
        ((8, 3, 1, 2), (-0.1670, 0.4327), 4),
        ((7, 25, 2, 68), (0.139, 0.321), 3),
    ],
)
def test_tangos_intervals_are_those_published(cells, printed, digits):
    assert difference(*cells)[1:] == pytest.approx(printed, abs=0.5001 * 10**-digits)


def test_a_difference_turned_round_has_its_interval_turned_round():
    ahead, behind = difference(40, 9, 2, 20), difference(40, 2, 9, 20)
    assert (behind.value, behind.low, behind.high) == pytest.approx((-ahead.value, -ahead.high, -ahead.low))


@pytest.mark.parametrize("cells", [(5, 0, 0, 0), (0, 3, 0, 0), (0, 0, 3, 0), (0, 0, 0, 1), (1, 1, 1, 1)])
def test_a_differences_interval_holds_it_and_lies_within_what_is_possible(cells):
    found = difference(*cells)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


def test_of_no_pairs_any_difference_is_possible():
    assert difference(0, 0, 0, 0)[1:] == (-1.0, 1.0)


def test_not_worse_by_the_margin_is_non_inferior():
    assert non_inferior(-0.01, (-0.04, 0.02), margin=0.05)
    assert not non_inferior(-0.01, (-0.06, 0.04), margin=0.05)
    assert not non_inferior(-0.02, (-0.05, 0.01), margin=0.05)


def test_a_margin_of_nothing_and_an_estimate_outside_its_interval_are_refused():
    with pytest.raises(ValueError, match="margin"):
        non_inferior(0.0, (-0.1, 0.1), margin=0.0)
    with pytest.raises(ValueError, match="does not lie in its interval"):
        non_inferior(0.2, (-0.1, 0.1), margin=0.05)


def test_holm_adjusts_by_rank():
    """By hand: the smallest of 3 times 3, the next times 2, never falling."""
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]) == []
