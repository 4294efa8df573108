"""Kappas agree with published ones."""

import math

import numpy as np
import pytest

from lab.readerstudy.agreement import kappa

SKIN = np.array([[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]])
"""Two dermatologists' grades of 88 patients: SAS/STAT User's Guide, The FREQ Procedure, Cohen's Kappa Coefficient."""

FLEISS = np.array(
    [
        int(count, 16)
        for count in "0000e 02642 00356 03920 22811 77000 32630 25322 65210 02237".replace(" ", "")
    ]
).reshape(10, 5)
"""How many of 14 readers gave each of 10 subjects each of 5 grades: the worked example of Wikipedia's Fleiss' kappa."""


def _calls(table):
    steps = np.arange(len(table))
    return np.repeat(np.repeat(steps, len(table)), table.ravel()), np.repeat(
        np.tile(steps, len(table)), table.ravel()
    )


@pytest.mark.parametrize(
    ("weights", "expected"), [(None, (0.3449, 0.2030, 0.4868)), ("linear", (0.5082, 0.3798, 0.6366))]
)
def test_two_dermatologists_agree_as_sas_prints(weights, expected):
    assert kappa(*_calls(SKIN), weights) == pytest.approx(expected, abs=5e-5)


def test_the_grant_proposals_agree_by_0_4():
    """The worked example of Wikipedia's Cohen's kappa: 20, 5, 10 and 15 proposals."""
    assert kappa(*_calls(np.array([[20, 5], [10, 15]]))).value == pytest.approx(0.4)


def test_quadratic_weights_forgive_the_near_more_than_linear_ones():
    assert kappa(*_calls(SKIN), "quadratic").value > kappa(*_calls(SKIN), "linear").value


def test_where_all_call_the_same_chance_explains_it():
    assert math.isnan(kappa([2, 2, 2], [2, 2, 2]).value)


def test_readers_of_different_cases_are_refused():
    with pytest.raises(ValueError, match="3 cases, the other 2"):
        kappa([1, 2, 3], [1, 2])
