"""Which findings of two views belong together, and what a breast's findings add up to."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammography.coordinates import ImagePoint
from mammography.finding import (
    Finding,
    FindingAssessment,
    FindingKind,
    ImageReading,
    Morphology,
    ReadStatus,
    Speck,
)
from mammography.reader.correspondence import (
    LEAST_SCORE,
    Trait,
    breast_scores,
    correspondences_of,
    extent_of,
    likeness,
)
from mammography.view import Laterality, View, ViewPosition

R_CC, R_MLO, L_CC, L_MLO = (
    View(laterality=side, position=position)
    for side in (Laterality.RIGHT, Laterality.LEFT)
    for position in (ViewPosition.CC, ViewPosition.MLO)
)
TRAIT = Trait(
    kind=FindingKind.CLUSTER, depth_mm=40.0, extent_mm=8.0, specks=9, morphologies={Morphology.PUNCTATE: 1.0}
)
traits = st.builds(
    Trait,
    kind=st.sampled_from(FindingKind),
    depth_mm=st.floats(0, 150),
    extent_mm=st.floats(0, 100),
    specks=st.integers(1, 200),
    morphologies=st.dictionaries(st.sampled_from(Morphology), st.floats(0, 0.07)),
)


def finding(suspicion: float = 0.5) -> Finding:
    corners = (ImagePoint(0, 0), ImagePoint(9, 0), ImagePoint(0, 9))
    return Finding(
        outline=corners,
        specks=tuple(Speck(center=center, score=0.9, diameter_mm=0.3) for center in corners),
        detection=0.9,
        suspicion=suspicion,
        assessment=FindingAssessment.SUSPICIOUS,
    )


def image(view: View | None, *suspicions: float, status: ReadStatus = ReadStatus.READ) -> ImageReading:
    return ImageReading(
        sop_instance_uid="1.2",
        view=view,
        status=status,
        findings=tuple(finding(suspicion) for suspicion in suspicions),
    )


def at(*depths_mm: float) -> tuple[Trait, ...]:
    return tuple(replace(TRAIT, depth_mm=depth) for depth in depths_mm)


def pairs(images, traits):
    return [(c.first, c.second) for c in correspondences_of(images, traits)]


def test_findings_at_one_depth_of_one_breast_correspond_whatever_their_order():
    images = [image(R_CC, 0.5, 0.5), image(R_MLO, 0.5, 0.5), image(L_CC), image(L_MLO)]
    assert pairs(images, [at(20.0, 60.0), at(58.0, 23.0), (), ()]) == [((0, 0), (1, 1)), ((0, 1), (1, 0))]


def test_findings_of_two_breasts_or_of_one_view_never_correspond():
    images = [image(R_CC, 0.5), image(L_MLO, 0.5), image(R_CC, 0.5), image(None, 0.5)]
    assert pairs(images, [at(40.0)] * 4) == []


def test_depths_far_apart_and_other_kinds_are_other_lesions():
    assert likeness(TRAIT, replace(TRAIT, kind=FindingKind.LARGE)) == 0.0
    images = [image(R_CC, 0.5), image(R_MLO, 0.5)]
    assert pairs(images, [at(40.0), at(52.0)]) == []
    assert pairs(images, [at(40.0), at(51.0)]) == [((0, 0), (1, 0))]


def test_what_looks_alike_is_preferred_at_equal_depth():
    lines = replace(TRAIT, morphologies={Morphology.FINE_LINEAR: 1.0}, extent_mm=15.0, specks=30)
    images = [image(R_CC, 0.5, 0.5), image(R_MLO, 0.5, 0.5)]
    assert pairs(images, [(TRAIT, lines), (lines, TRAIT)]) == [((0, 0), (1, 1)), ((0, 1), (1, 0))]


@given(traits, traits)
def test_likeness_is_a_share_that_does_not_mind_the_order(one, other):
    assert 0.0 <= likeness(one, other) <= 1.0
    assert likeness(one, other) == pytest.approx(likeness(other, one))
    assert likeness(one, one) >= 0.5


@given(st.lists(traits, max_size=5), st.lists(traits, max_size=5))
def test_each_finding_is_in_at_most_one_correspondence(above, beside):
    images = [image(R_CC, *[0.5] * len(above)), image(R_MLO, *[0.5] * len(beside))]
    found = correspondences_of(images, [above, beside])
    places = [place for each in found for place in (each.first, each.second)]
    assert len(places) == len(set(places))
    assert all(each.score >= LEAST_SCORE for each in found)


@given(st.lists(st.floats(0, 1), max_size=4), st.lists(st.floats(0, 1), max_size=4), st.floats(0, 1))
def test_a_breast_is_as_suspicious_as_its_worst_finding_and_no_finding_lowers_that(first, second, more):
    (before,) = breast_scores([image(L_CC, *first), image(L_MLO, *second)])
    (after,) = breast_scores([image(L_CC, *first, more), image(L_MLO, *second)])
    assert before.suspicion == max([0.0, *first, *second])
    assert after.suspicion == max(before.suspicion, more)


def test_only_breasts_of_which_an_image_was_read_get_a_score():
    images = [image(R_CC, 0.25), image(L_CC, status=ReadStatus.NOT_READ), image(None, 0.5)]
    assert [(score.laterality, score.suspicion) for score in breast_scores(images)] == [
        (Laterality.RIGHT, 0.25)
    ]


def test_the_extent_of_a_cluster_is_the_widest_distance_of_its_specks():
    assert extent_of(finding(), 0.1) == pytest.approx(0.9 * 2**0.5)
    assert extent_of(replace(finding(), kind=FindingKind.LARGE, specks=finding().specks[:1]), 0.1) == 0.3
