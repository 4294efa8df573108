"""Which specks belong together, how they are spread, and the outline around them: facts of geometry."""

import numpy as np
import pytest

from lab.training.scenes import first_plan
from mammography.coordinates import ImagePoint, inside
from mammography.finding import Distribution
from mammography.reader.clustering import clusters_of, distribution_of, outline_of

PLAN = first_plan()
NIPPLE, AREA_MM2 = (50.0, 90.0), 9000.0
RNG = np.random.default_rng(4)


def test_three_specks_within_a_square_centimetre_are_a_cluster_and_two_are_none():
    places = np.array([[10.0, 10.0], [12.0, 10.0], [10.0, 13.0], [60.0, 60.0], [62.0, 60.0]])
    assert [indices.tolist() for indices in clusters_of(places, PLAN)] == [[0, 1, 2]]


def test_a_chain_of_specks_that_are_nowhere_three_in_a_square_centimetre_is_no_cluster():
    chain = np.array([[6.9 * step, 0.0] for step in range(5)])
    assert clusters_of(chain, PLAN) == []


def test_groups_more_than_seven_millimetres_apart_stay_apart():
    group = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    apart = np.concatenate([group, group + np.array([0.0, 9.1])])
    together = np.concatenate([group, group + np.array([0.0, 8.9])])
    assert len(clusters_of(apart, PLAN)) == 2
    assert len(clusters_of(together, PLAN)) == 1


@pytest.mark.parametrize(
    ("places", "distribution"),
    [
        (np.array([50.0, 40.0]) + RNG.uniform(-5, 5, (20, 2)), Distribution.GROUPED),
        (np.array([50.0, 40.0]) + RNG.uniform(-1, 1, (20, 2)) * [15.0, 0.8], Distribution.LINEAR),
        (np.array([50.0, 40.0]) + RNG.uniform(-15, 15, (40, 2)), Distribution.REGIONAL),
        (np.array([50.0, 40.0]) + RNG.uniform(-1, 1, (40, 2)) * [6.0, 20.0], Distribution.SEGMENTAL),
        (np.array([50.0, 40.0]) + RNG.uniform(-1, 1, (40, 2)) * [20.0, 6.0], None),
        (np.array([50.0, 45.0]) + RNG.uniform(-44, 44, (200, 2)), Distribution.DIFFUSE),
    ],
    ids=["grouped", "linear", "regional", "segmental", "across the ducts", "diffuse"],
)
def test_the_distribution_follows_from_where_the_specks_lie(places, distribution):
    assert distribution_of(places, nipple=NIPPLE, breast_area_mm2=AREA_MM2) is distribution


def test_an_outline_leaves_a_millimetre_and_a_half_around_every_speck():
    outline = outline_of(
        [ImagePoint(200.0, 300.0), ImagePoint(260.0, 310.0)],
        [0.4, 0.4],
        spacing_mm=0.1,
        rows=800,
        columns=600,
    )
    assert inside(ImagePoint(200.0 - 16, 300.0), outline)
    assert inside(ImagePoint(260.0 + 16, 310.0), outline)
    assert not inside(ImagePoint(200.0 - 18, 300.0), outline)


def test_an_outline_in_a_corner_of_the_image_stays_on_it():
    outline = outline_of([ImagePoint(1.0, 2.0)], [0.3], spacing_mm=0.1, rows=800, columns=600)
    assert len(outline) >= 3
    assert all(0 <= point.column <= 600 and 0 <= point.row <= 800 for point in outline)
    assert inside(ImagePoint(1.0, 2.0), outline)
