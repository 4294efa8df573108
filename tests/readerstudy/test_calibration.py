"""Tests err as often as they say, and intervals hold the truth as often: the short form of the simulation.

The long form, `mammocalc bench reader-study`, draws 1,000 studies and more of every kind.
"""

import dataclasses
import json

import numpy as np
import pytest
import typer
from scipy.stats import norm
from typer.testing import CliRunner

from lab.bench.commands import register
from lab.evaluation.roc import area_under_curve
from lab.readerstudy import calibration
from lab.readerstudy.calibration import CHECKS, Calibration, Check, Outcome, calibrate
from lab.readerstudy.obuchowski_rockette import analyse
from lab.readerstudy.power import Variances, power
from lab.readerstudy.simulation import STRUCTURES, draw_clustered, draw_ratings

COSTLY = {"share of clustered findings, bootstrap": 30}
QUICK = ("DeLong", "paired", "non-inferiority", "share of clustered findings, Rao")


def _studies(name):
    """Return how many studies fit a short test."""
    return COSTLY.get(name, 400 if name.startswith(QUICK) else 100)


@pytest.mark.parametrize("name", CHECKS)
def test_errors_and_coverage_are_as_promised(name):
    found = calibrate(name, _studies(name), seed=1)
    assert found.holds, found


def test_a_rate_outside_the_band_does_not_hold():
    right = Calibration(name="x", studies=1000, type_one_error=0.05, coverage=0.95, level=0.05, exact=False)
    assert right.monte_carlo_error == pytest.approx(0.00689, abs=5e-6)
    assert right.holds
    for wrong in ({"type_one_error": 0.08}, {"type_one_error": 0.02}, {"coverage": 0.92}, {"coverage": 0.98}):
        assert not dataclasses.replace(right, **wrong).holds
    cautious = dataclasses.replace(right, type_one_error=0.01, coverage=None, exact=True)
    assert cautious.holds
    assert not dataclasses.replace(cautious, type_one_error=0.08).holds


def test_a_test_that_forgets_that_cases_go_together_is_found_out(monkeypatch):
    """Breasts of one patient taken for independent patients' findings: the check must fail."""

    def careless(rng):
        found, _ = draw_clustered(rng, patients=100, share=0.8, correlation=0.3)
        spread = 1.96 * np.sqrt(0.16 / len(found))
        return Outcome(covered=abs(found.mean() - 0.8) < spread)

    monkeypatch.setattr(calibration, "CHECKS", {"careless": Check(draw=careless)})
    assert not calibrate("careless", 400, seed=1).holds


def test_the_long_form_tells_every_rate_and_ends_with_1_where_one_is_off(monkeypatch):
    """The command, on a check that holds and on one whose every study errs."""
    app = typer.Typer()
    register(app)
    monkeypatch.setattr(calibration, "CHECKS", {"DeLong, paired": CHECKS["DeLong, paired"]})
    told = CliRunner().invoke(app, ["bench", "reader-study", "--studies", "100"])
    assert told.exit_code == 0
    assert "| DeLong, paired |" in told.stdout
    assert "0.05 ± 0.065: held" in told.stdout
    monkeypatch.setattr(
        calibration, "CHECKS", {"wrong": Check(draw=lambda rng: Outcome(rejected=rng is not None))}
    )
    told = CliRunner().invoke(app, ["bench", "reader-study", "--studies", "100", "--json"])
    assert told.exit_code == 1
    (figures,) = json.loads(told.stdout)
    assert (figures["type_one_error"], figures["coverage"], figures["holds"]) == (1.0, None, False)


def test_a_check_repeats_with_its_seed():
    first, again, other = (calibrate("DeLong, paired", 60, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_drawn_scores_have_the_area_of_their_model():
    """Roe and Metz (1997): a separation of 1.5 with reader variances of 0.0055 is an area of 0.855."""
    model = STRUCTURES["LL"]
    assert model.area() == pytest.approx(0.855, abs=2e-3)
    assert model.separation_of(model.area()) == pytest.approx(1.5)
    ratings, positive = draw_ratings(model, np.random.default_rng(3), readers=40, normal=400, diseased=400)
    areas = [area_under_curve(scores[positive], scores[~positive]) for scores in ratings[0]]
    assert np.mean(areas) == pytest.approx(model.area(), abs=0.015)


def test_drawn_findings_correlate_within_a_patient():
    found, owners = draw_clustered(np.random.default_rng(8), patients=40_000, share=0.8, correlation=0.3)
    sums, sizes = np.bincount(owners, weights=found - 0.8), np.bincount(owners)
    pairs = (sums**2 - np.bincount(owners, weights=(found - 0.8) ** 2)).sum() / (sizes * (sizes - 1)).sum()
    assert found.mean() == pytest.approx(0.8, abs=0.02)
    assert pairs / 0.16 == pytest.approx(0.3, abs=0.04)


def test_power_foretold_is_power_met():
    """A difference of 0.07 that the model foretells is found as often as the noncentral F says, in 300 drawn studies."""
    model, rng = STRUCTURES["LL"], np.random.default_rng(9)
    apart = (model.separation_of(0.79), model.separation_of(0.86))
    met, parts = [], []
    for _ in range(300):
        ratings, positive = draw_ratings(model, rng, readers=5, normal=50, diseased=50, separations=apart)
        found = analyse(ratings, positive)
        met.append(found.p < 0.05)
        parts.append(found.components)
    mean = {
        name: float(np.mean([getattr(part, name) for part in parts]))
        for name in ("treatment_reader", "error", "covariance_1", "covariance_2", "covariance_3")
    }
    foretold = power(Variances(**mean, cases=100), difference=0.07, readers=5, cases=100)
    assert np.mean(met) == pytest.approx(foretold, abs=3 * np.sqrt(0.25 / 300) + 0.02)
    assert 0.3 < foretold < 0.95
    assert model.area(apart[1]) - model.area(apart[0]) == pytest.approx(0.07)
    assert norm.cdf(1.5 / np.sqrt(2.022)) == pytest.approx(model.area())
