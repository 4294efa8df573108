"""An assessment comes back from the ledger as it went in, equal in every digit."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from mammography.coordinates import ImagePoint
from mammography.finding import (
    Assessment,
    BreastScore,
    Correspondence,
    Distribution,
    Finding,
    FindingAssessment,
    FindingKind,
    FindingPlace,
    ImageReading,
    Morphology,
    NonLesion,
    NonLesionKind,
    ReaderIdentity,
    ReadStatus,
    Speck,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import (
    assessment_from_json,
    assessment_of,
    assessment_to_json,
    store_assessment,
)
from mammography.view import Laterality, View, ViewModifier, ViewPosition
from tests.ledger.given import STUDY, queued

numbers = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)
points = st.builds(ImagePoint, numbers, numbers)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
views = st.builds(
    View,
    laterality=st.sampled_from(Laterality),
    position=st.sampled_from(ViewPosition),
    modifiers=st.frozensets(st.sampled_from(ViewModifier)),
)
findings = st.builds(
    Finding,
    outline=st.lists(points, min_size=3).map(tuple),
    specks=st.lists(st.builds(Speck, center=points, score=shares, diameter_mm=numbers), min_size=1).map(
        tuple
    ),
    detection=shares,
    suspicion=shares,
    assessment=st.sampled_from(FindingAssessment),
    morphology=st.none() | st.sampled_from(Morphology),
    distribution=st.none() | st.sampled_from(Distribution),
    kind=st.sampled_from(FindingKind),
)
non_lesions = st.builds(
    NonLesion, kind=st.sampled_from(NonLesionKind), outline=st.lists(points, max_size=5).map(tuple)
)
images = st.builds(
    ImageReading,
    sop_instance_uid=texts,
    view=st.none() | views,
    status=st.sampled_from(ReadStatus),
    reason=st.none() | texts,
    findings=st.lists(findings, max_size=3).map(tuple),
    non_lesions=st.lists(non_lesions, max_size=2).map(tuple),
    remarks=st.lists(texts, max_size=2).map(tuple),
)
places = st.builds(FindingPlace, st.integers(0, 9), st.integers(0, 9))
readers = st.builds(
    ReaderIdentity, name=texts, version=texts, weights_sha256=texts, operating_point=texts, trained_on=texts
)
assessments = st.builds(
    Assessment,
    reader=readers,
    read_at=st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3.5))])
    ),
    images=st.lists(images, max_size=3).map(tuple),
    correspondences=st.lists(
        st.builds(Correspondence, first=places, second=places, score=shares), max_size=2
    ).map(tuple),
    breasts=st.lists(
        st.builds(BreastScore, laterality=st.sampled_from(Laterality), suspicion=shares), max_size=2
    ).map(tuple),
)

ASSESSMENT = Assessment(
    reader=ReaderIdentity(
        name="reader",
        version="1",
        weights_sha256="a" * 64,
        operating_point="standard",
        trained_on="Synthetic images (phantom) alone",
    ),
    read_at=datetime(2026, 3, 4, 9, 30, 15, 123456, tzinfo=UTC),
    images=(
        ImageReading(
            sop_instance_uid="1.2.3",
            view=View(
                laterality=Laterality.RIGHT,
                position=ViewPosition.MLO,
                modifiers=frozenset({ViewModifier.IMPLANT_DISPLACED}),
            ),
            status=ReadStatus.READ,
            findings=(
                Finding(
                    outline=(ImagePoint(0.1, 0.2), ImagePoint(1 / 3, 5e-324), ImagePoint(2560.0, 3328.0)),
                    specks=(Speck(center=ImagePoint(0.5, 0.5), score=0.1 + 0.2, diameter_mm=0.4),),
                    detection=0.9,
                    suspicion=0.7,
                    assessment=FindingAssessment.SUSPICIOUS,
                    morphology=Morphology.FINE_LINEAR,
                ),
            ),
        ),
        ImageReading(sop_instance_uid="1.2.4", view=None, status=ReadStatus.NOT_READ, reason="It is torn."),
    ),
)


@settings(deadline=None)
@given(assessments)
def test_every_assessment_survives_json(assessment: Assessment) -> None:
    stored = json.dumps(assessment_to_json(assessment), allow_nan=False)
    brought_back = assessment_from_json(json.loads(stored))
    assert brought_back == assessment
    assert brought_back.read_at.utcoffset() == assessment.read_at.utcoffset()


def test_an_assessment_stored_before_kinds_and_correspondences_were_known_still_reads() -> None:
    stored = assessment_to_json(ASSESSMENT)
    del stored["correspondences"], stored["breasts"]
    for image in stored["images"]:
        del image["remarks"], image["non_lesions"]
        for finding in image["findings"]:
            del finding["kind"]
    assert assessment_from_json(json.loads(json.dumps(stored))) == ASSESSMENT


def test_an_assessment_survives_the_ledger(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        store_assessment(session, STUDY, revision=1, assessment=ASSESSMENT)
    with ledger.read() as session:
        assert assessment_of(session, STUDY, 1) == ASSESSMENT
        assert assessment_of(session, STUDY, 2) is None


def test_a_second_reading_of_one_revision_takes_the_place_of_the_first(ledger: Ledger) -> None:
    second = replace(ASSESSMENT, images=())
    with ledger.begin() as session:
        queued(session)
        store_assessment(session, STUDY, revision=1, assessment=ASSESSMENT)
    with ledger.begin() as session:
        store_assessment(session, STUDY, revision=1, assessment=second)
        store_assessment(session, STUDY, revision=2, assessment=ASSESSMENT)
    with ledger.read() as session:
        assert assessment_of(session, STUDY, 1) == second
        assert assessment_of(session, STUDY, 2) == ASSESSMENT
