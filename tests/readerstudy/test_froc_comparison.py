"""Free-response figures of merit agree with a published example, and enter the test of Obuchowski and Rockette."""

import numpy as np
import pytest

from lab.evaluation.froc import alternative_area
from lab.readerstudy.froc_comparison import figure_of_merit
from lab.readerstudy.obuchowski_rockette import analyse

# Chakraborty, The RJafroc Froc Book, "AFROC vs. wAFROC": 4 cases without and 5 with lesions; AFROC 0.8472, wAFROC 0.7425
UNMARKED = -np.inf
HIGHEST_FALSE = np.array([[[UNMARKED, 0.5, 0.7, -0.3, 1.5, UNMARKED, UNMARKED, UNMARKED, UNMARKED]]])
LESIONS = np.array([[[0.9, -0.2, 1.6, UNMARKED, 3.0, 2.0, 1.0, 2.5, 1.0]]])
LESION_CASE = np.array([4, 5, 6, 6, 7, 7, 8, 8, 8])
WEIGHTS = np.array([1.0, 1.0, 0.1, 0.9, 0.9, 0.1, 0.3, 0.4, 0.3])


@pytest.mark.parametrize(("kind", "printed"), [("AFROC", 0.847222), ("JAFROC", 0.847222), ("wAFROC", 0.7425)])
def test_figures_of_the_example_are_those_printed(kind, printed):
    merit = figure_of_merit(HIGHEST_FALSE, LESIONS, LESION_CASE, kind=kind, weights=WEIGHTS)
    assert merit.values == pytest.approx(printed, abs=5e-7)


def test_the_figure_is_the_area_of_the_evaluation():
    expected = alternative_area(LESIONS.ravel().tolist(), HIGHEST_FALSE.ravel()[:4].tolist())
    assert figure_of_merit(HIGHEST_FALSE, LESIONS, LESION_CASE, kind="AFROC").values == pytest.approx(
        expected
    )


def test_a_false_mark_beside_a_lesion_counts_with_a_1_only():
    """By hand: of the 81 pairs of 9 lesions and 9 cases, ties halved."""
    above = LESIONS.ravel()[:, None] > HIGHEST_FALSE.ravel()
    equal = LESIONS.ravel()[:, None] == HIGHEST_FALSE.ravel()
    found = figure_of_merit(HIGHEST_FALSE, LESIONS, LESION_CASE, kind="AFROC1")
    assert found.values == pytest.approx((above + equal / 2).mean())


def test_leaving_a_case_out_is_a_study_without_it():
    merit = figure_of_merit(HIGHEST_FALSE, LESIONS, LESION_CASE, weights=WEIGHTS)
    for case in range(9):
        kept = np.arange(9) != case
        own = case != LESION_CASE
        alone = figure_of_merit(
            HIGHEST_FALSE[..., kept],
            LESIONS[..., own],
            (np.cumsum(kept) - 1)[LESION_CASE[own]],
            weights=WEIGHTS[own],
        )
        assert merit.without[..., case] == pytest.approx(alone.values)


def test_one_lesion_a_case_and_no_false_mark_beside_it_is_the_area_under_the_roc_curve():
    rng = np.random.default_rng(5)
    ratings = rng.normal(size=(2, 3, 40))
    diseased = np.arange(40) >= 25
    lesions, lesion_case = ratings[..., diseased], np.flatnonzero(diseased)
    false = np.where(diseased, UNMARKED, ratings)
    for kind in ("AFROC", "wAFROC"):
        free = analyse(figure_of_merit(false, lesions, lesion_case, kind=kind))
        plain = analyse(ratings, diseased)
        assert free.f == pytest.approx(plain.f)
        assert free.ddf == pytest.approx(plain.ddf)


def test_who_marks_nothing_has_half_and_who_marks_only_falsely_nothing():
    """The RJafroc Froc Book, "Instructive examples"."""
    nothing = np.full((1, 1, 4), UNMARKED)
    lesions, lesion_case = np.full((1, 1, 2), UNMARKED), np.array([2, 3])
    assert figure_of_merit(nothing, lesions, lesion_case).values == pytest.approx(0.5)
    assert figure_of_merit(np.zeros((1, 1, 4)), lesions, lesion_case).values == pytest.approx(0.0)


def test_patients_are_left_out_whole():
    patients = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    merit = figure_of_merit(HIGHEST_FALSE, LESIONS, LESION_CASE, patients=patients)
    assert merit.without.shape == (1, 1, 5)


def test_what_has_no_figure_is_refused():
    with pytest.raises(ValueError, match="score is missing"):
        figure_of_merit(HIGHEST_FALSE * np.nan, LESIONS, LESION_CASE)
    with pytest.raises(ValueError, match="nothing to find"):
        figure_of_merit(HIGHEST_FALSE, LESIONS[..., :0], LESION_CASE[:0])
    with pytest.raises(ValueError, match="JAFROC needs cases without a lesion: use AFROC1"):
        figure_of_merit(HIGHEST_FALSE[..., 4:], LESIONS, LESION_CASE - 4, kind="JAFROC")
    with pytest.raises(ValueError, match="above 0"):
        figure_of_merit(HIGHEST_FALSE, LESIONS, LESION_CASE, weights=WEIGHTS - 0.1)
