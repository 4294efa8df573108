"""Which specks belong together, how they are spread, and the outline around them: facts of geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lab.training.scenes import first_plan
from mammography.coordinates import ImagePoint, inside
from mammography.finding import Distribution
from mammography.reader.clustering import clusters_of, distribution_of, distributions_of, outline_of

PLAN = first_plan()
NIPPLE, AREA_MM2 = (50.0, 90.0), 9000.0
RNG = np.random.default_rng(4)
GROUP = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])

breasts = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 40), st.just(2)),
    elements=st.floats(0, 120).map(lambda mm: round(mm, 2)),
)
"""Specks of a breast: row, column in mm."""


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
    likely = distributions_of(places, nipple=NIPPLE, breast_area_mm2=AREA_MM2)
    assert distribution_of(likely) is distribution


@given(breasts.filter(lambda places: len(np.unique(places, axis=0)) >= 3))
def test_the_distributions_are_probabilities(places):
    likely = distributions_of(places, nipple=NIPPLE, breast_area_mm2=AREA_MM2)
    assert set(likely) == {*Distribution, None}
    assert all(0.0 <= share <= 1.0 for share in likely.values())
    assert sum(likely.values()) == pytest.approx(1.0)


def test_a_distribution_turns_into_another_without_a_jump():
    places = np.array([50.0, 40.0]) + RNG.uniform(-1, 1, (30, 2))
    shares = [
        distributions_of(places * scale, nipple=NIPPLE, breast_area_mm2=AREA_MM2)[Distribution.GROUPED]
        for scale in np.linspace(4, 12, 161)
    ]
    assert shares[0] > 0.99
    assert shares[-1] < 0.01
    assert np.abs(np.diff(shares)).max() < 0.06


def test_a_long_chain_is_cut_at_its_wide_gap_and_a_narrow_one_is_not():
    row = np.concatenate([GROUP + np.array([0.0, 3.5 * step]) for step in range(4)])
    apart = np.concatenate([row, row + np.array([0.0, 19.0])])
    near = np.concatenate([row, row + np.array([0.0, 15.0])])
    assert [len(indices) for indices in clusters_of(apart, PLAN)] == [16, 16]
    assert [len(indices) for indices in clusters_of(near, PLAN)] == [32]


def test_two_groups_within_two_centimetres_stay_one_whatever_their_gap():
    both = np.concatenate([GROUP, GROUP + np.array([0.0, 8.5])])
    assert [len(indices) for indices in clusters_of(both, PLAN)] == [8]


@given(breasts)
def test_no_speck_lies_in_two_clusters_and_each_cluster_is_a_crowd(places):
    clusters = clusters_of(places, PLAN)
    members = [index for indices in clusters for index in indices.tolist()]
    assert len(members) == len(set(members))
    for indices in clusters:
        distances = np.linalg.norm(places[indices][:, None] - places[indices][None], axis=2)
        assert (distances <= 10 / np.sqrt(np.pi)).sum(axis=1).max() >= PLAN.fewest_specks


@given(st.integers(0, 2**32 - 1))
def test_clusters_do_not_depend_on_the_order_of_specks_nor_on_where_the_breast_lies(seed):
    rng = np.random.default_rng(seed)
    groups = rng.uniform(0, 80, (rng.integers(1, 6), 2))
    places = groups[rng.integers(len(groups), size=40)] + rng.normal(0, rng.uniform(1, 8), (40, 2))
    order = rng.permutation(40)
    moved = places[order] * [1.0, -1.0] + 13.0
    again = {tuple(sorted(order[indices].tolist())) for indices in clusters_of(moved, PLAN)}
    assert again == {tuple(indices.tolist()) for indices in clusters_of(places, PLAN)}


@given(breasts)
def test_a_group_far_away_changes_no_cluster(places):
    more = np.concatenate([places, GROUP + 200.0])
    assert [c.tolist() for c in clusters_of(more, PLAN)][:-1] == [
        c.tolist() for c in clusters_of(places, PLAN)
    ]


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
