import dataclasses
from datetime import datetime, timedelta, timezone
from io import BytesIO

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.finding import (
    Distribution,
    Finding,
    FindingAssessment,
    FindingKind,
    Morphology,
    Speck,
)
from mammography.results import codes
from mammography.results.compose import InvalidResult, Predecessor, compose
from mammography.results.composed import MAMMOGRAPHY_CAD_SR
from mammography.results.written_report import WrittenReport
from mammography.uid import UidRole, mint
from mammography.view import Laterality, ViewPosition
from tests.results.mammograms import (
    COLUMNS,
    L_CC,
    R_CC,
    READER,
    ROWS,
    STUDY,
    TWO_VIEWS,
    answered,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    screening_images,
    unread,
)


def report_on(headers, *readings, **changes) -> WrittenReport:
    """Compose, and read the report back from its bytes."""
    arguments = {"study_instance_uid": STUDY, "revision": 1, **changes}
    objects = compose(headers=headers, assessment=assessment(*readings), **arguments)
    assert [each.kind for each in objects].count("cad-sr") == 1
    return WrittenReport(pydicom.dcmread(BytesIO(objects[0].encode())))


def code_at(report: WrittenReport, concept) -> str:
    return report.value_below((1,), concept)


def impression_of(report: WrittenReport) -> str:
    ((place, _),) = report.named(codes.FINDINGS_SUMMARY)
    return report.value_below(place, codes.IMPRESSION_DESCRIPTION)


@pytest.mark.parametrize(
    ("findings", "failed", "summary", "detections"),
    [
        (0, 0, codes.ALL_SUCCEEDED_WITHOUT_FINDINGS, codes.SUCCEEDED),
        (1, 0, codes.ALL_SUCCEEDED_WITH_FINDINGS, codes.SUCCEEDED),
        (0, 1, codes.SOME_SUCCEEDED_WITHOUT_FINDINGS, codes.PARTIALLY_SUCCEEDED),
        (1, 1, codes.SOME_SUCCEEDED_WITH_FINDINGS, codes.PARTIALLY_SUCCEEDED),
        (0, 2, codes.NONE_SUCCEEDED, codes.FAILED),
    ],
)
def test_the_summaries_say_what_succeeded_and_whether_anything_was_found(
    findings, failed, summary, detections
):
    headers = [header_of(image(view)) for view in (R_CC, L_CC)]
    readings = [reading(headers[0], *[cluster(60, 80)] * findings), reading(headers[1])]
    readings = [
        unread(header) if place < failed else given
        for place, (header, given) in enumerate(zip(headers[::-1], readings[::-1], strict=True))
    ]
    report = report_on(headers, *readings)
    assert code_at(report, codes.FINDINGS_SUMMARY) == summary.value
    assert code_at(report, codes.SUMMARY_OF_DETECTIONS) == detections.value
    assert code_at(report, codes.SUMMARY_OF_ANALYSES) == codes.NOT_ATTEMPTED.value
    assert len(report.findings) == (6 if findings else 0)


def test_an_image_that_was_not_read_is_in_the_library_and_among_the_failed_detections():
    headers = [header_of(image(view)) for view in (R_CC, L_CC)]
    report = report_on(headers, reading(headers[0]), unread(headers[1], "Pixel data holds 3 of 64 bytes"))
    library = report.library()
    assert list(library.values()) == [str(header.SOPInstanceUID) for header in headers]
    assert [library[place] for place in report.detected(codes.SUCCESSFUL_DETECTIONS)] == [
        headers[0].SOPInstanceUID
    ] * 2
    assert [library[place] for place in report.detected(codes.FAILED_DETECTIONS)] == [
        headers[1].SOPInstanceUID
    ] * 2
    assert "Not read: L CC: Pixel data holds 3 of 64 bytes." in impression_of(report)


def test_the_impression_says_what_was_marked_and_what_the_weights_were_trained_on():
    objects = answered(screening_images())
    report = WrittenReport(pydicom.dcmread(BytesIO(objects[0].encode())))
    assert impression_of(report) == (
        "Mammocalc read 4 of 4 images and marked 2 suspicious findings and 2 benign findings of calcifications. "
        "Weights trained on: Synthetic images (phantom) alone. "
        "Research use only. Not a medical device, not for diagnosis."
    )


def test_our_own_words_are_ascii_whatever_a_reason_holds():
    headers = [header_of(image(R_CC))]
    report = report_on(headers, unread(headers[0], "Gr\u00f6\u00dfe 3\u00d74 \u2013 \u7121"))
    assert "Not read: R CC: Grosse 3x4 - ?." in impression_of(report)


def test_a_suspicious_finding_must_be_presented_and_a_benign_one_may_be():
    headers = [header_of(image(R_CC))]
    report = report_on(
        headers, reading(headers[0], cluster(40, 40), cluster(100, 100, call=FindingAssessment.BENIGN))
    )
    clusters = [found for found in report.findings if found.kind == codes.CALCIFICATION_CLUSTER.value]
    assert [found.intent for found in clusters] == [
        codes.PRESENTATION_REQUIRED.value,
        codes.PRESENTATION_OPTIONAL.value,
    ]
    assert {inner.intent for found in clusters for inner in report.inner(found)} == {
        codes.PRESENTATION_OPTIONAL.value
    }


def test_type_and_distribution_are_stated_only_where_the_reader_states_them():
    headers = [header_of(image(R_CC))]
    stated = cluster(40, 40, morphology=Morphology.AMORPHOUS, distribution=Distribution.LINEAR)
    report = report_on(headers, reading(headers[0], stated, cluster(100, 100)))
    first, second = (
        found.place for found in report.findings if found.kind == codes.CALCIFICATION_CLUSTER.value
    )
    assert report.value_below(first, codes.CALCIFICATION_TYPE) == codes.TYPES[Morphology.AMORPHOUS].value
    assert (
        report.value_below(first, codes.CALCIFICATION_DISTRIBUTION)
        == codes.DISTRIBUTIONS[Distribution.LINEAR].value
    )
    assert report.value_below(second, codes.CALCIFICATION_TYPE) is None
    assert report.value_below(second, codes.CALCIFICATION_DISTRIBUTION) is None


def test_a_finding_of_one_calcification_is_an_individual_calcification():
    headers = [header_of(image(R_CC))]
    report = report_on(headers, reading(headers[0], cluster(60, 60, specks=1)))
    (found,) = report.findings
    assert found.kind == codes.INDIVIDUAL_CALCIFICATION.value
    assert found.number is None
    assert found.tracking_uid is not None
    assert float(report.value_below(found.place, codes.DIAMETER)) == pytest.approx(0.21)


def test_a_large_calcification_is_an_individual_calcification_of_its_type_and_optional_to_show():
    headers = [header_of(image(R_CC))]
    large = cluster(
        60,
        60,
        specks=1,
        call=FindingAssessment.BENIGN,
        kind=FindingKind.LARGE,
        morphology=Morphology.VASCULAR,
    )
    report = report_on(headers, reading(headers[0], large))
    (found,) = report.findings
    assert found.kind == codes.INDIVIDUAL_CALCIFICATION.value
    assert found.outline is not None
    assert report.value_below(found.place, codes.CALCIFICATION_TYPE) == codes.TYPES[Morphology.VASCULAR].value
    assert report.value_below(found.place, codes.RENDERING_INTENT) == codes.PRESENTATION_OPTIONAL.value
    assert "marked 1 large benign calcification." in impression_of(report)


def test_neither_probability_of_cancer_nor_an_assessment_category_is_written():
    objects = answered(screening_images())
    content = objects[0].encode()
    assert b"111047" not in content
    assert b"111005" not in content


def test_every_finding_names_algorithm_weights_and_operating_point():
    objects = answered(screening_images())
    report = WrittenReport(pydicom.dcmread(BytesIO(objects[0].encode())))
    tracked = [found for found in report.findings if found.tracking_uid]
    assert len(tracked) == 4
    for found in tracked:
        parameters = [item.TextValue for _, item in report.named(codes.ALGORITHM_PARAMETERS, found.place)]
        assert parameters[0] == f"weights sha256 {READER.weights_sha256}"
        assert parameters[1] == f"operating point {READER.operating_point}"


points = st.builds(ImagePoint, st.floats(0.5, COLUMNS - 0.5, width=32), st.floats(0.5, ROWS - 0.5, width=32))
specks = st.builds(
    Speck, center=points, score=st.floats(0, 1), diameter_mm=st.one_of(st.just(0.0), st.floats(0.05, 3))
)
whole_image = tuple(ImagePoint(c, r) for c, r in ((0.0, 0.0), (COLUMNS, 0.0), (COLUMNS, ROWS), (0.0, ROWS)))
found = st.builds(
    Finding,
    outline=st.just(whole_image),
    specks=st.lists(specks, min_size=1, max_size=5).map(tuple),
    detection=st.floats(0, 1),
    suspicion=st.floats(0, 1),
    assessment=st.sampled_from(FindingAssessment),
    morphology=st.none() | st.sampled_from(Morphology),
    distribution=st.none() | st.sampled_from(Distribution),
    kind=st.sampled_from(FindingKind),
)
HEADERS = [header_of(image(view)) for view in (R_CC, L_CC)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(found, max_size=2), min_size=2, max_size=2))
def test_what_was_found_is_read_back_from_the_report(per_image):
    report = report_on(HEADERS, *(reading(h, *f) for h, f in zip(HEADERS, per_image, strict=True)))
    tracked = [each for each in report.findings if each.tracking_uid]
    expected = [
        (header, finding) for header, found in zip(HEADERS, per_image, strict=True) for finding in found
    ]
    assert len(tracked) == len(expected)
    for written, (header, finding) in zip(tracked, expected, strict=True):
        assert report.library()[written.center.image] == header.SOPInstanceUID
        assert written.certainty == pytest.approx(100 * finding.detection, abs=0.051)
        inner = report.inner(written) or [written]
        assert len(inner) == len(finding.specks)
        for one, speck in zip(inner, finding.specks, strict=True):
            assert one.center.points[0] == pytest.approx(tuple(speck.center), abs=0.01)


def test_the_same_input_gives_the_same_bytes():
    first, second = answered(screening_images()), answered(screening_images())
    assert [each.encode() for each in first] == [each.encode() for each in second]
    assert first[0].encode() == first[0].encode()


def test_headers_that_were_looked_at_before_give_the_same_bytes():
    headers = [header_of(image(R_CC, PatientName="M\u00fcller^\u00c4nne"))]
    arguments = {
        "headers": headers,
        "assessment": assessment(reading(headers[0])),
        "study_instance_uid": STUDY,
        "revision": 1,
    }
    before = [each.encode() for each in compose(**arguments)]
    str(headers[0])
    assert [each.encode() for each in compose(**arguments)] == before


def test_a_revision_has_other_uids_and_names_the_report_that_it_replaces():
    headers = [header_of(image(R_CC))]
    given = {
        "headers": headers,
        "assessment": assessment(reading(headers[0], cluster(60, 60))),
        "study_instance_uid": STUDY,
    }
    first = compose(**given, revision=1)
    second = compose(**given, revision=2, predecessor=Predecessor.of(first[0].dataset))
    uids = [{each.sop_instance_uid for each in objects} for objects in (first, second)]
    assert not uids[0] & uids[1]
    (study,) = second[0].dataset.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert (document.ReferencedSOPClassUID, document.ReferencedSOPInstanceUID) == (
        MAMMOGRAPHY_CAD_SR,
        first[0].sop_instance_uid,
    )
    assert (series.SeriesInstanceUID, study.StudyInstanceUID) == (first[0].dataset.SeriesInstanceUID, STUDY)
    assert "PredecessorDocumentsSequence" not in first[0].dataset


def test_other_weights_make_another_object():
    headers = [header_of(image(R_CC))]
    other = dataclasses.replace(READER, weights_sha256="cd" * 32)
    uids = {
        each.sop_instance_uid
        for reader in (READER, other)
        for each in compose(
            headers=headers,
            assessment=assessment(reading(headers[0]), reader=reader),
            study_instance_uid=STUDY,
            revision=1,
        )
    }
    assert len(uids) == 4


NAMES = [
    ("ISO_IR 100", "M\u00fcller^\u00c4nne"),
    ("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"),
    ("ISO_IR 192", "\u0394\u03ad\u03bb\u03c4\u03b1^\u5c71"),
]


@pytest.mark.parametrize(("character_set", "name"), NAMES, ids=["Latin-1", "GB18030", "Japanese", "UTF-8"])
def test_names_survive_byte_for_byte_in_the_character_set_of_the_image(character_set, name):
    headers = [
        header_of(
            image(
                R_CC,
                SpecificCharacterSet=character_set,
                PatientName=name,
                StudyDescription=name.split("=")[-1],
            )
        )
    ]
    original = {
        tag: headers[0].get_item(tag).value
        for tag in ("PatientName", "StudyDescription", "SpecificCharacterSet")
    }
    objects = compose(
        headers=headers,
        assessment=assessment(reading(headers[0], cluster(60, 60))),
        study_instance_uid=STUDY,
        revision=1,
    )
    for each in objects:
        written = pydicom.dcmread(BytesIO(each.encode()))
        assert {tag: written.get_item(tag).value for tag in original} == original
        assert str(written.PatientName) == name


def test_bytes_that_no_character_set_explains_survive_too():
    header = header_of(image(R_CC))
    raw = header.get_item("PatientName")
    header["PatientName"] = raw._replace(value=b"M\xfcller^\x80\xff", length=9)
    del header.SpecificCharacterSet
    objects = compose(
        headers=[header], assessment=assessment(reading(header)), study_instance_uid=STUDY, revision=1
    )
    assert all(b"M\xfcller^\x80\xff" in each.encode() for each in objects)


def test_the_request_of_the_images_is_the_request_of_the_report():
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    request.RequestedProcedureDescription = "Screening"
    headers = [header_of(image(view, RequestAttributesSequence=[request])) for view in (R_CC, L_CC)]
    report = report_on(headers, *map(reading, headers))
    (written,) = report.dataset.ReferencedRequestSequence
    assert (written.AccessionNumber, written.RequestedProcedureID, written.StudyInstanceUID) == (
        "A1",
        "RP1",
        STUDY,
    )
    assert written.PlacerOrderNumberImagingServiceRequest == ""
    assert "ReferencedRequestSequence" not in report_on([header_of(image(R_CC))], reading(headers[0])).dataset


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [("+0530", "20261123", "010005"), ("-0800", "20261122", "113005"), ("+0000", "20261122", "193005")],
)
def test_content_date_and_time_are_in_the_offset_of_the_images(offset, date, time):
    headers = [header_of(image(R_CC, TimezoneOffsetFromUTC=offset))]
    for each in compose(
        headers=headers, assessment=assessment(reading(headers[0])), study_instance_uid=STUDY, revision=1
    ):
        assert each.dataset["TimezoneOffsetFromUTC"].value == offset
        assert (each.dataset.InstanceCreationDate, each.dataset.InstanceCreationTime) == (date, time)


def test_without_an_offset_the_time_is_that_of_the_clock_it_was_read_by_and_no_offset_is_claimed():
    headers = [header_of(image(R_CC))]
    in_seoul = datetime(2026, 11, 23, 4, 30, 5, tzinfo=timezone(timedelta(hours=9)))
    read = dataclasses.replace(assessment(reading(headers[0])), read_at=in_seoul)
    for each in compose(headers=headers, assessment=read, study_instance_uid=STUDY, revision=1):
        said = each.dataset.InstanceCreationDate, each.dataset.InstanceCreationTime
        assert said == ("20261123", "043005")
        assert "TimezoneOffsetFromUTC" not in each.dataset


def test_legacy_view_codes_are_translated_and_modifiers_kept():
    displaced, unknown = Dataset(), Dataset()
    displaced.CodeValue, displaced.CodingSchemeDesignator, displaced.CodeMeaning = (
        "R-102D5",
        "SRT",
        "Implant Displaced",
    )
    unknown.CodeValue, unknown.CodingSchemeDesignator, unknown.CodeMeaning = "X1", "99VENDOR", "Own"
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "R-10242", "SRT", "cranio-caudal"
    view.ViewModifierCodeSequence = [displaced, unknown]
    headers = [header_of(image(R_CC, ViewCodeSequence=[view]))]
    report = report_on(headers, reading(headers[0]))
    (entry,) = report.library()
    ((place, item),) = report.named(codes.IMAGE_VIEW, entry)
    assert item.ConceptCodeSequence[0].CodeValue == codes.VIEWS[ViewPosition.CC].value
    modifiers = [
        each.ConceptCodeSequence[0].CodeValue for _, each in report.named(codes.IMAGE_VIEW_MODIFIER, place)
    ]
    assert modifiers == ["399209000"]


def test_spacing_between_rows_is_vertical():
    headers = [header_of(image(R_CC, ImagerPixelSpacing=[0.07, 0.0702]))]
    report = report_on(headers, reading(headers[0]))
    (entry,) = report.library()
    assert report.value_below(entry, codes.VERTICAL_PIXEL_SPACING) == "0.07"
    assert report.value_below(entry, codes.HORIZONTAL_PIXEL_SPACING) == "0.0702"


def test_a_damaged_image_is_answered_with_what_its_header_still_says():
    header = header_of(image(R_CC))
    for keyword in ("ImagerPixelSpacing", "PatientOrientation", "StudyDate", "Rows"):
        raw = header.get_item(keyword)
        header[keyword] = (
            raw._replace(value=b"junk", length=4) if keyword != "Rows" else raw._replace(value=b"", length=0)
        )
    report = report_on([header], unread(header))
    assert code_at(report, codes.FINDINGS_SUMMARY) == codes.NONE_SUCCEEDED.value
    (entry,) = report.library()
    assert report.value_below(entry, codes.VERTICAL_PIXEL_SPACING) is None


def test_an_image_without_a_series_cannot_be_referred_to():
    header = header_of(image(R_CC))
    del header.SeriesInstanceUID
    with pytest.raises(InvalidResult, match="lacks SeriesInstanceUID"):
        report_on([header], unread(header))


def test_an_assessment_of_an_image_without_a_header_is_refused():
    with pytest.raises(InvalidResult, match="has no header"):
        report_on([header_of(image(L_CC))], reading(header_of(image(R_CC))))


def test_no_mammogram_no_objects():
    assert compose(headers=[], assessment=assessment(), study_instance_uid=STUDY, revision=1) == []


def test_a_speck_outside_the_image_is_never_returned():
    headers = [header_of(image(R_CC))]
    finding = cluster(60, 60)
    stray = Speck(center=ImagePoint(COLUMNS + 3.0, 60.0), score=0.5, diameter_mm=0.2)
    with pytest.raises(InvalidResult, match="leaves the image"):
        report_on(
            headers, reading(headers[0], dataclasses.replace(finding, specks=(*finding.specks[:4], stray)))
        )


def test_where_the_mean_lies_outside_a_bent_outline_the_nearest_speck_is_the_centre():
    horseshoe = tuple(
        ImagePoint(float(c), float(r))
        for c, r in ((20, 20), (100, 20), (100, 100), (80, 100), (80, 40), (40, 40), (40, 100), (20, 100))
    )
    specks = tuple(
        Speck(center=ImagePoint(c, r), score=0.9, diameter_mm=0.3)
        for c, r in ((30.0, 90.0), (90.0, 90.0), (30.0, 60.0), (60.0, 30.0))
    )
    finding = dataclasses.replace(cluster(60, 60), outline=horseshoe, specks=specks)
    headers = [header_of(image(R_CC))]
    report = report_on(headers, reading(headers[0], finding))
    assert report.findings[0].center.points[0] == ImagePoint(30.0, 60.0)


def test_two_images_of_one_view_are_told_apart():
    again = header_of(image(R_CC, SOPInstanceUID=mint(UidRole.PHANTOM, "again")))
    first = header_of(image(R_CC))
    report = report_on([first, again], *(reading(h, *TWO_VIEWS[0]) for h in (first, again)))
    tracked = [found.tracking_uid for found in report.findings if found.tracking_uid]
    assert len(set(tracked)) == len(tracked) == 4


def test_a_view_of_both_breasts_says_both():
    header = header_of(image(R_CC, ImageLaterality="B"))
    report = report_on([header], reading(header))
    (entry,) = report.library()
    assert report.value_below(entry, codes.IMAGE_LATERALITY) == codes.SIDES[Laterality.BOTH].value
