"""What the report says of lesions in two views, of what is no lesion, and to whom it shows what."""

import dataclasses
from io import BytesIO

import pydicom
import pytest

from mammography.coordinates import ImagePoint
from mammography.finding import (
    BreastScore,
    Correspondence,
    FindingAssessment,
    FindingPlace,
    NonLesion,
    NonLesionKind,
)
from mammography.results import codes
from mammography.results.cad_sr import compose_cad_sr
from mammography.results.cad_sr_findings import point_within
from mammography.results.check import check
from mammography.results.compose import InvalidResult
from mammography.results.marks import answered_images
from mammography.results.options import ComposeOptions
from mammography.results.written_report import WrittenReport
from mammography.view import Laterality
from tests.results.mammograms import (
    L_CC,
    L_MLO,
    R_CC,
    R_MLO,
    STUDY,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    unread,
)

BENIGN = FindingAssessment.BENIGN
PAIR = Correspondence(first=FindingPlace(0, 0), second=FindingPlace(1, 0), score=0.77)
CLIP = NonLesion(
    kind=NonLesionKind.METAL, outline=(ImagePoint(10, 10), ImagePoint(20, 10), ImagePoint(15, 20))
)
FIRST, SECOND = cluster(60, 80), cluster(50, 90)
HEADERS = [header_of(image(view)) for view in (R_CC, R_MLO, L_CC, L_MLO)]


def report_on(*readings, correspondences=(), sides=("R", "L"), **options) -> WrittenReport:
    """Compose the report alone, look at it as before a send, and read it from its bytes."""
    given = dataclasses.replace(
        assessment(*readings),
        correspondences=correspondences,
        breasts=tuple(BreastScore(laterality=Laterality(side), suspicion=0.5) for side in sides),
    )
    headers = HEADERS[: len(readings)]
    images = answered_images(headers, given, study_instance_uid=STUDY, revision=1)
    report = compose_cad_sr(
        images,
        given,
        study_instance_uid=STUDY,
        revision=1,
        predecessor=None,
        options=ComposeOptions(**options),
    )
    assert check([report], headers) == []
    return WrittenReport(pydicom.dcmread(BytesIO(report.encode())))


def two_views(first=FIRST, second=SECOND, **arguments) -> WrittenReport:
    return report_on(
        reading(HEADERS[0], first), reading(HEADERS[1], second), correspondences=(PAIR,), **arguments
    )


def test_a_lesion_in_two_views_is_one_composite_feature_inferred_from_both():
    report = two_views()
    ((place, parts),) = report.composites()
    library = report.library()
    assert [library[part.center.image] for part in parts] == [h.SOPInstanceUID for h in HEADERS[:2]]
    assert report.value_below(place, codes.COMPOSITE_TYPE) == codes.RELATED_SPATIALLY.value
    assert report.value_below(place, codes.SCOPE_OF_FEATURE) == codes.ON_MULTIPLE_IMAGES.value
    assert float(report.value_below(place, codes.CERTAINTY_OF_FEATURE)) == pytest.approx(77)
    assert report.value_below(place, codes.ALGORITHM_NAME) == "Mammocalc reader: correspondence of views"
    uids = {report.value_below(place, codes.TRACKING_UID), *(part.tracking_uid for part in parts)}
    assert len(uids) == 3
    assert len([found for found in report.findings if found.tracking_uid]) == 2


@pytest.mark.parametrize("calls", [(BENIGN, BENIGN), (BENIGN, None), (None, BENIGN), (None, None)])
def test_a_lesion_in_two_views_is_shown_as_its_stronger_view_is(calls):
    clusters = [cluster(60, 80, **({} if call is None else {"call": call})) for call in calls]
    report = two_views(*clusters)
    ((place, _),) = report.composites()
    expected = codes.PRESENTATION_REQUIRED if None in calls else codes.PRESENTATION_OPTIONAL
    assert report.value_below(place, codes.RENDERING_INTENT) == expected.value
    assert report.value_below(place[:-1], codes.RENDERING_INTENT) == expected.value


def test_the_matching_of_each_two_views_of_a_breast_is_an_analysis():
    report = report_on(*map(reading, HEADERS))
    assert report.value_below((1,), codes.SUMMARY_OF_ANALYSES) == codes.SUCCEEDED.value
    analyses = report.performed(codes.SUMMARY_OF_ANALYSES, codes.SUCCESSFUL_ANALYSES)
    library = list(report.library())
    assert [set(each.images) for each in analyses] == [set(library[:2]), set(library[2:])]
    assert {each.kind for each in analyses} == {codes.SPATIAL_COLLOCATION.value}


def test_an_analysis_failed_where_one_view_was_not_read_and_was_not_attempted_where_none_was():
    one = report_on(reading(HEADERS[0]), unread(HEADERS[1]), reading(HEADERS[2]), reading(HEADERS[3]))
    assert one.value_below((1,), codes.SUMMARY_OF_ANALYSES) == codes.PARTIALLY_SUCCEEDED.value
    assert len(one.performed(codes.SUMMARY_OF_ANALYSES, codes.FAILED_ANALYSES)) == 1
    none = report_on(*map(unread, HEADERS[:2]), sides=())
    assert none.value_below((1,), codes.SUMMARY_OF_ANALYSES) == codes.NOT_ATTEMPTED.value


def test_a_correspondence_of_a_finding_that_is_not_there_is_refused():
    with pytest.raises(InvalidResult, match="Correspondence 1 names a finding that is not there"):
        report_on(reading(HEADERS[0]), reading(HEADERS[1], cluster(60, 80)), correspondences=(PAIR,))


def points_of_findings(report: WrittenReport) -> list[tuple[str, str | None]]:
    return [
        (found.intent, report.value_below(place, codes.OPERATING_POINT))
        for found in report.findings
        for place, _ in report.named(codes.RENDERING_INTENT, found.place)
    ]


REQUIRED, OPTIONAL, HIDDEN = (
    code.value
    for code in (codes.PRESENTATION_REQUIRED, codes.PRESENTATION_OPTIONAL, codes.NOT_FOR_PRESENTATION)
)


def test_operating_points_show_calcifications_first_and_benign_findings_second():
    report = report_on(
        reading(HEADERS[0], cluster(40, 60, specks=2), cluster(90, 120, specks=1, call=BENIGN))
    )
    assert points_of_findings(report) == [
        (REQUIRED, None),
        (OPTIONAL, "1"),
        (OPTIONAL, "1"),
        (OPTIONAL, "2"),
    ]
    performed = report.performed(codes.SUMMARY_OF_DETECTIONS, codes.SUCCESSFUL_DETECTIONS)
    assert {report.value_below(each.place, codes.MAXIMUM_OPERATING_POINT) for each in performed} == {"2"}


def test_benign_findings_are_not_for_presentation_where_a_receiver_wants_none():
    report = report_on(
        reading(HEADERS[0], cluster(40, 60, specks=2), cluster(90, 120, specks=2, call=BENIGN)),
        benign=False,
    )
    assert points_of_findings(report) == [
        (REQUIRED, None),
        (OPTIONAL, "1"),
        (OPTIONAL, "1"),
        *[(HIDDEN, None)] * 3,
    ]
    performed = report.performed(codes.SUMMARY_OF_DETECTIONS, codes.SUCCESSFUL_DETECTIONS)
    assert {report.value_below(each.place, codes.MAXIMUM_OPERATING_POINT) for each in performed} == {"1"}


def test_metal_is_a_non_lesion_not_for_presentation_and_said_in_words():
    report = report_on(dataclasses.replace(reading(HEADERS[0]), non_lesions=(CLIP,)))
    (found,) = report.findings
    assert (found.kind, found.intent, found.tracking_uid) == (codes.NON_LESION.value, HIDDEN, None)
    assert report.value_below(found.place, codes.OBJECT_TYPE) == "111176"
    assert found.outline.points[:-1] == CLIP.outline
    assert report.value_below((1,), codes.FINDINGS_SUMMARY) == codes.ALL_SUCCEEDED_WITH_FINDINGS.value
    ((summary, _),) = report.named(codes.FINDINGS_SUMMARY)
    said = report.value_below(summary, codes.IMPRESSION_DESCRIPTION)
    assert "marked no calcifications. 1 bright object is metal and no calcification." in said


def test_the_centre_of_a_bent_thing_lies_inside_it():
    bent = ((0, 0), (30, 0), (30, 30), (20, 30), (20, 10), (10, 10), (10, 30), (0, 30), (0, 0))
    outline = tuple(ImagePoint(float(column), float(row)) for column, row in bent)
    assert point_within(outline) == ImagePoint(5.0, 17.5)


def test_images_of_which_the_same_is_said_are_listed_together_with_reason_or_remark():
    reasons = "It is torn.", "It is torn.", "It is dark."
    report = report_on(
        dataclasses.replace(reading(HEADERS[0]), remarks=("It is cut off.",)),
        *(unread(header, reason) for header, reason in zip(HEADERS[1:], reasons, strict=True)),
    )
    library = list(report.library())
    failed = report.performed(codes.SUMMARY_OF_DETECTIONS, codes.FAILED_DETECTIONS)
    assert [list(each.images) for each in failed[::2]] == [library[1:3], library[3:]]
    assert [each.parameters[-1] for each in failed[::2]] == ["not read: It is torn.", "not read: It is dark."]
    (detected, *_) = report.performed(codes.SUMMARY_OF_DETECTIONS, codes.SUCCESSFUL_DETECTIONS)
    assert detected.parameters[-1] == "remark: It is cut off."


def schemes(report: WrittenReport) -> set[str]:
    return {
        str(code.CodingSchemeDesignator)
        for item in report.items.values()
        for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence")
        for code in item.get(keyword) or []
    }


def test_a_report_in_legacy_codes_says_the_same_without_snomed_ct():
    legacy, usual = two_views(scheme="SRT"), two_views()
    assert "SRT" in schemes(legacy)
    assert "SCT" not in schemes(legacy)
    assert "SRT" not in schemes(usual)
    assert legacy.findings == usual.findings
    assert (
        legacy.dataset.ContentSequence[1]
        .ContentSequence[0]
        .ContentSequence[0]
        .ConceptCodeSequence[0]
        .CodeValue
        == "T-04020"
    )


def test_what_pydicom_has_parsed_is_written_to_the_same_bytes():
    headers = HEADERS[:1]
    given = assessment(reading(headers[0], cluster(60, 80)))
    images = answered_images(headers, given, study_instance_uid=STUDY, revision=1)
    report = compose_cad_sr(images, given, study_instance_uid=STUDY, revision=1, predecessor=None)
    before = report.encode()
    parsed = pydicom.dcmread(BytesIO(before))
    list(parsed.iterall())
    list(report.dataset.iterall())
    again = BytesIO()
    pydicom.dcmwrite(again, parsed, enforce_file_format=True)
    assert report.encode() == before == again.getvalue()


def test_an_outline_of_ten_thousand_points_is_refused():
    outline = tuple(ImagePoint(60 + 20 * (n % 2) + n / 1e4, 30 + n / 200) for n in range(10_000))
    many = dataclasses.replace(cluster(70, 55), outline=(*outline, ImagePoint(120, 80), ImagePoint(120, 20)))
    with pytest.raises(InvalidResult, match="GraphicData of 80024 bytes is too long"):
        report_on(reading(HEADERS[0], many))
