"""What a cluster is said to be, and how suspicious that is in the literature."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammography.finding import LARGE_MORPHOLOGIES, SUSPICIOUS_MORPHOLOGIES, Distribution, Morphology
from mammography.reader.classification import Classification, LogisticModel
from mammography.reader.prior import (
    DISTRIBUTION_SHARES,
    MORPHOLOGY_SHARES,
    share_of,
    suspicion_of,
)


def model(bias: float, weight: float = 0.0) -> LogisticModel:
    return LogisticModel(measures=("size",), mean=(0.0,), deviation=(1.0,), weight=(weight,), bias=bias)


def test_every_morphology_and_distribution_has_a_share_with_its_range_and_source():
    assert set(MORPHOLOGY_SHARES) == set(Morphology)
    assert set(DISTRIBUTION_SHARES) == set(Distribution)
    for entry in (*MORPHOLOGY_SHARES.values(), *DISTRIBUTION_SHARES.values()):
        assert 0.0 <= entry.lowest <= entry.share <= entry.highest <= 1.0
        assert entry.source


def test_suspicious_morphologies_are_above_two_percent_and_the_others_are_not():
    for morphology, entry in MORPHOLOGY_SHARES.items():
        assert (entry.share > 0.02) == (morphology in SUSPICIOUS_MORPHOLOGIES)


def test_a_line_of_pleomorphic_specks_is_worse_than_a_group_and_a_group_worse_than_a_scatter():
    shares = [
        share_of(Morphology.FINE_PLEOMORPHIC, distribution).share
        for distribution in (
            Distribution.SEGMENTAL,
            Distribution.LINEAR,
            Distribution.GROUPED,
            Distribution.REGIONAL,
            Distribution.DIFFUSE,
        )
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[2] == pytest.approx(MORPHOLOGY_SHARES[Morphology.FINE_PLEOMORPHIC].share)


@pytest.mark.parametrize("morphology", LARGE_MORPHOLOGIES)
@pytest.mark.parametrize("distribution", Distribution)
def test_a_typically_benign_shape_is_benign_however_it_lies(morphology, distribution):
    assert share_of(morphology, distribution) == MORPHOLOGY_SHARES[morphology]


def test_suspicion_is_above_one_half_for_suspicious_morphologies_and_below_for_others():
    sure = {Distribution.GROUPED: 1.0}
    assert suspicion_of({Morphology.VASCULAR: 1.0}, sure) < 0.1
    assert suspicion_of({Morphology.FINE_LINEAR: 1.0}, sure) > 0.9
    assert (
        suspicion_of({Morphology.PUNCTATE: 1.0}, sure) < 0.5 < suspicion_of({Morphology.AMORPHOUS: 1.0}, sure)
    )
    half = {Morphology.FINE_PLEOMORPHIC: 0.5, Morphology.PUNCTATE: 0.5}
    assert suspicion_of(half, sure) > 0.5


@given(
    st.dictionaries(st.sampled_from(Morphology), st.floats(0.01, 1), min_size=1),
    st.floats(0, 0.9),
)
def test_surer_of_the_worst_morphology_is_never_less_suspicious(weights, moved):
    total = sum(weights.values())
    before = {name: weight / total for name, weight in weights.items()}
    after = {name: share * (1 - moved) for name, share in before.items()}
    after[Morphology.FINE_LINEAR] = after.get(Morphology.FINE_LINEAR, 0.0) + moved
    lying = {Distribution.SEGMENTAL: 0.7, None: 0.3}
    assert 0.0 <= suspicion_of(before, lying) <= suspicion_of(after, lying) + 1e-12 <= 1.0


def test_suspicious_morphologies_share_the_probability_of_being_suspicious():
    told = Classification(
        calcification=model(0.0),
        suspicion=model(0.0, weight=1.0),
        morphology={
            Morphology.AMORPHOUS: model(-1.0),
            Morphology.FINE_LINEAR: model(-2.0),
            Morphology.ROUND: model(1.0),
        },
    )
    for size in (-3.0, 0.0, 3.0):
        likely = told.morphologies({"size": size})
        assert sum(likely.values()) == pytest.approx(1.0)
        suspicious = likely[Morphology.AMORPHOUS] + likely[Morphology.FINE_LINEAR]
        assert suspicious == pytest.approx(told.suspicion.probability({"size": size}))
    assert likely[Morphology.AMORPHOUS] > likely[Morphology.FINE_LINEAR]


def test_without_a_benign_rival_the_morphologies_still_add_up_to_one():
    told = Classification(
        calcification=model(0.0),
        suspicion=model(-3.0),
        morphology={Morphology.AMORPHOUS: model(0.0), Morphology.FINE_LINEAR: model(0.0)},
    )
    assert told.morphologies({"size": 0.0}) == {Morphology.AMORPHOUS: 0.5, Morphology.FINE_LINEAR: 0.5}
