"""Kappas agree with published ones."""

import math

import numpy as np
import pytest

from lab.readerstudy.agreement import kappa

SKIN = np.array([[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]])
"""Two dermatologists' grades of 88 patients: SAS/STAT User's Guide, The FREQ Procedure, Agreement Study."""
PRINTED = np.array([[0, 4, 1], [0, 8, 0], [0, 1, 5]])
"""The table of which statsmodels keeps what SAS printed (statsmodels/stats/tests/test_inter_rater.py, table10)."""


def _calls(table):
    steps = np.arange(len(table))
    return np.repeat(np.repeat(steps, len(table)), table.ravel()), np.repeat(
        np.tile(steps, len(table)), table.ravel()
    )


@pytest.mark.parametrize(
    ("weights", "expected"), [(None, (0.4842, 0.2137, 0.7547)), ("linear", (0.4701, 0.1845, 0.7558))]
)
def test_two_raters_agree_as_sas_printed(weights, expected):
    assert kappa(*_calls(PRINTED), weights) == pytest.approx(expected, abs=5.1e-5)


def test_the_grant_proposals_agree_by_0_4():
    """The worked example of Wikipedia's Cohen's kappa: 20, 5, 10 and 15 proposals."""
    assert kappa(*_calls(np.array([[20, 5], [10, 15]]))).value == pytest.approx(0.4)


def test_quadratic_weights_forgive_the_near_more_than_linear_ones():
    assert kappa(*_calls(SKIN), "quadratic").value > kappa(*_calls(SKIN), "linear").value


def test_where_all_call_the_same_chance_explains_it():
    assert math.isnan(kappa([2, 2, 2], [2, 2, 2]).value)


def test_a_reader_who_calls_all_the_same_agrees_by_chance_alone():
    assert kappa([1, 1, 1, 1], [1, 1, 2, 1]).value == 0.0


def test_readers_of_different_cases_are_refused():
    with pytest.raises(ValueError, match="3 cases, the other 2"):
        kappa([1, 2, 3], [1, 2])
