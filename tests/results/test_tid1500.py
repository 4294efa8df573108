"""The TID 1500 report: the same lesions as the other objects, in the shape that OHIF takes."""

import os
import subprocess
import sys
from hashlib import sha256

import pytest
from pydicom.dataset import Dataset

from mammography.finding import Distribution, FindingAssessment, Morphology
from mammography.results.compose import compose
from mammography.results.options import ComposeOptions
from tests.judges import dciodvfy, dsrdump, pixelmed, run
from tests.results.mammograms import (
    L_CC,
    R_CC,
    STUDY,
    TWO_VIEWS,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    screening_images,
    unread,
    written,
)

IMAGES = screening_images()
HEADERS = [header_of(each) for each in IMAGES]
FOUND = [reading(header, *findings) for header, findings in zip(HEADERS, TWO_VIEWS, strict=True)]
EVERYTHING = frozenset({"cad-sr", "gsps", "tid1500"})


def objects(readings=FOUND, *, headers=HEADERS, revision=1, **options):
    options.setdefault("kinds", EVERYTHING)
    return compose(
        headers=headers,
        assessment=assessment(*readings),
        study_instance_uid=STUDY,
        revision=revision,
        options=ComposeOptions(**options),
    )


def reports(readings=FOUND, **options) -> list[Dataset]:
    return [each.dataset for each in objects(readings, **options) if each.kind == "tid1500"]


def named(item: Dataset, concept: str) -> list[Dataset]:
    """Return the children of an item that have this concept."""
    return [
        child
        for child in item.get("ContentSequence", ())
        if child.ConceptNameCodeSequence[0].CodeValue == concept
    ]


def groups(report: Dataset) -> list[Dataset]:
    (measurements,) = named(report, "126010")
    return list(measurements.ContentSequence)


def only(item: Dataset, concept: str) -> Dataset:
    (child,) = named(item, concept)
    return child


def region(group: Dataset) -> tuple[str, list[float]]:
    """Return the image and the points of a group's region."""
    place = only(group, "111030")
    return str(place.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID), place.GraphicData


def drawn(states) -> dict[str, tuple[str, list[float]]]:
    """Return image and outline of each graphic of presentation states, by tracking UID."""
    return {
        str(graphic.TrackingUID): (
            str(annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID),
            graphic.GraphicData,
        )
        for state in states
        for annotation in state.GraphicAnnotationSequence
        for graphic in annotation.get("GraphicObjectSequence", ())
    }


def test_each_lesion_of_the_presentation_states_is_one_region_with_its_tracking_uid():
    composed = objects()
    marks = drawn(each.dataset for each in composed if each.kind == "gsps")
    (report,) = [each.dataset for each in composed if each.kind == "tid1500"]
    regions = {str(only(group, "112040").UID): region(group) for group in groups(report)}
    assert set(regions) == set(marks)
    assert len(marks) == 4
    for uid, (image_uid, outline) in marks.items():
        across, down = outline[0::2], outline[1::2]
        left, right, top, bottom = min(across), max(across), min(down), max(down)
        box = [left, top, right, top, right, bottom, left, bottom, left, top]
        assert regions[uid] == (image_uid, pytest.approx(box, abs=1e-3))


def test_every_number_is_inferred_from_coordinates_of_its_own():
    (report,) = reports()
    for group in groups(report):
        numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        assert len(numbers) == 1
        (again,) = numbers[0].ContentSequence
        assert (again.RelationshipType, again.ValueType) == ("INFERRED FROM", "SCOORD")
        assert again.GraphicType == "POLYLINE"
        assert again.GraphicData == region(group)[1]
        source = again.ContentSequence[0]
        assert source.RelationshipType == "SELECTED FROM"
        assert str(source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) == region(group)[0]


def test_no_group_is_without_a_region_where_there_are_regions():
    readings = [reading(HEADERS[0], cluster(60, 80)), *map(unread, HEADERS[1:])]
    (report,) = reports(readings)
    assert len(groups(report)) == 1
    assert region(groups(report)[0])[0] == HEADERS[0].SOPInstanceUID


def test_a_finding_says_certainty_call_type_and_distribution_and_claims_no_more():
    said = cluster(60, 80, morphology=Morphology.AMORPHOUS, distribution=Distribution.LINEAR)
    single = cluster(120, 150, call=FindingAssessment.BENIGN, specks=1)
    (report,) = reports([reading(HEADERS[0], said, single)], headers=HEADERS[:1])
    first, second = groups(report)
    assert only(first, "111012").MeasuredValueSequence[0].NumericValue == 93.4
    assert only(first, "121071").ConceptCodeSequence[0].CodeValue == "129769006"
    assert only(second, "121071").ConceptCodeSequence[0].CodeValue == "129770007"
    assert only(first, "111056").ConceptCodeSequence[0].CodeValue == "111150"
    assert only(second, "111056").ConceptCodeSequence[0].CodeValue == "111151"
    assert only(first, "111009").ConceptCodeSequence[0].CodeValue == "129760005"
    assert only(first, "111008").ConceptCodeSequence[0].CodeValue == "129765000"
    assert named(second, "111009") == named(second, "111008") == []
    assert "111047" not in report.to_json()


def test_a_study_without_findings_says_of_each_image_what_was_seen_and_why_one_was_not_read():
    readings = [*map(reading, HEADERS[:3]), unread(HEADERS[3], "The pixel data is truncated.")]
    (report,) = reports(readings)
    said = [only(group, "129769006").ConceptCodeSequence[0].CodeMeaning for group in groups(report)]
    assert said == ["Absent", "Absent", "Absent", "Undetermined"]
    words = only(only(report, "C0034375"), "111033").TextValue
    assert "The pixel data is truncated." in words
    assert "no calcifications" in words


def test_benign_findings_are_left_out_where_they_are_not_to_be_shown_and_the_words_say_so():
    (report,) = reports(benign=False)
    calls = [only(group, "111056").ConceptCodeSequence[0].CodeValue for group in groups(report)]
    assert calls == ["111150", "111150"]
    assert "benign are not marked here" in only(only(report, "C0034375"), "111033").TextValue


def test_one_report_for_each_image_stands_in_its_own_series_and_names_that_image_alone():
    parts = reports([*FOUND[:3], unread(HEADERS[3])], tid1500_per_image=True)
    assert len({part.SeriesInstanceUID for part in parts}) == len(parts) == 3
    for part, header in zip(parts, HEADERS, strict=False):
        (series,) = part.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        assert series.SeriesInstanceUID == header.SeriesInstanceUID
        assert {region(group)[0] for group in groups(part) if named(group, "111030")} <= {
            header.SOPInstanceUID
        }
        assert "The pixel data is truncated." in only(only(part, "C0034375"), "111033").TextValue
    whole = reports(tid1500_per_image=False)
    assert whole[0].SOPInstanceUID not in {part.SOPInstanceUID for part in parts}


def test_the_3d_form_is_another_object_that_names_the_breast():
    (plain,), (spatial,) = reports(), reports(tid1500="comprehensive-3d")
    assert plain.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert spatial.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert plain.SOPInstanceUID != spatial.SOPInstanceUID
    assert plain.SeriesInstanceUID != spatial.SeriesInstanceUID
    sides = [
        only(only(group, "363698007"), "272741003").ConceptCodeSequence[0].CodeMeaning
        for group in groups(spatial)
    ]
    assert sides == ["Right", "Right", "Right", "Right"]
    assert named(groups(plain)[0], "363698007") == []


def test_patient_and_study_are_the_bytes_of_the_image():
    name = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"
    header = header_of(image(R_CC, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name))
    raw = header.get_item("PatientName").value
    report = objects([reading(header, cluster(60, 80))], headers=[header])[-1]
    assert report.kind == "tid1500"
    assert raw in report.encode()
    assert report.dataset.PatientName == name


REBUILD = """
from hashlib import sha256
from tests.results.test_tid1500 import objects
print(*[sha256(each.encode()).hexdigest() for each in objects()])
"""


def test_another_process_on_the_other_side_of_the_world_writes_the_same_bytes():
    environment = {**os.environ, "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"}
    zoned = [header_of(image(view, TimezoneOffsetFromUTC="+0100")) for view in (R_CC, L_CC)]
    assert reports([reading(zoned[0], cluster(60, 80)), reading(zoned[1])], headers=zoned)
    script = REBUILD.replace("objects()", "objects(headers=zoned, readings=found)").replace(
        "print",
        "from tests.results.mammograms import *\n"
        "zoned = [header_of(image(view, TimezoneOffsetFromUTC='+0100')) for view in (R_CC, L_CC)]\n"
        "found = [reading(zoned[0], cluster(60, 80)), reading(zoned[1])]\nprint",
        1,
    )
    there = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    here = objects([reading(zoned[0], cluster(60, 80)), reading(zoned[1])], headers=zoned)
    assert there.stdout.split() == [sha256(each.encode()).hexdigest() for each in here]


@pytest.mark.validators
def test_the_public_validators_find_no_error(tmp_path):
    some = [reading(HEADERS[0], *TWO_VIEWS[0]), reading(HEADERS[1]), unread(HEADERS[2]), FOUND[3]]
    answers = {
        "findings": reports(some),
        "spatial": reports(tid1500="comprehensive-3d"),
        "nothing": reports([*map(reading, HEADERS[:3]), unread(HEADERS[3])]),
        "parts": reports(tid1500_per_image=True, manufacturer="Somebody Else"),
    }
    images = [tmp_path / f"image-{place}.dcm" for place in range(len(IMAGES))]
    for path, each in zip(images, IMAGES, strict=True):
        path.write_bytes(written(each))
    files = []
    for name, datasets in answers.items():
        for place, dataset in enumerate(datasets):
            files.append(tmp_path / f"{name}-{place}.dcm")
            dataset.save_as(files[-1], enforce_file_format=True)
    for path in files:
        assert dciodvfy(path) == []
        assert dsrdump(path) == []
        code, said = run("dcentvfy", *images, path)
        assert (code, "Error" in said) == (0, False), said
    for said in pixelmed(files[1:3], tmp_path):
        assert [line for line in said if "Error" in line or "illegal" in line] == []
        assert "Root Template Validation Complete" in said
