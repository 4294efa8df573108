"""The parser of our own report: what was written is read, and what is not ours is refused."""

import dataclasses
import struct
from io import BytesIO
from random import Random

import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.finding import Assessment, Finding, ImageReading, NonLesion, Speck
from mammography.results.cad_sr import compose_cad_sr
from mammography.results.check import check
from mammography.results.compose import compose
from mammography.results.marks import answered_images, closed_outline
from mammography.results.options import ComposeOptions
from mammography.results.read_back import ForeignReport, assessment_of
from mammography.results.source import plain
from mammography.results.text import report_text
from tests.results.generated import COLUMNS, ROWS, generated_study
from tests.results.mammograms import R_CC, STUDY, TWO_VIEWS, answered, header_of, image, screening_images


def single(point: ImagePoint) -> ImagePoint:
    """Return a point as Graphic Data (FL) holds it."""
    return ImagePoint(*struct.unpack("<2f", struct.pack("<2f", *point)))


def outline(points: tuple[ImagePoint, ...]) -> tuple[ImagePoint, ...]:
    return tuple(single(point) for point in closed_outline(points, columns=COLUMNS, rows=ROWS))[:-1]


def score(number: float) -> float:
    return round(round(100 * number, 1) / 100, 3)


def carried_finding(finding: Finding) -> Finding:
    specks = tuple(
        Speck(
            center=single(speck.center),
            score=score(speck.score),
            diameter_mm=float(f"{speck.diameter_mm:.6g}"),
        )
        for speck in finding.specks
    )
    return dataclasses.replace(
        finding,
        outline=outline(finding.outline),
        specks=specks,
        detection=score(finding.detection),
        suspicion=round(finding.suspicion, 4),
    )


def carried_image(reading: ImageReading) -> ImageReading:
    return dataclasses.replace(
        reading,
        reason=None if reading.reason is None else plain(reading.reason),
        findings=tuple(map(carried_finding, reading.findings)),
        non_lesions=tuple(
            NonLesion(kind=thing.kind, outline=outline(thing.outline)) for thing in reading.non_lesions
        ),
    )


def carried(assessment: Assessment) -> Assessment:
    """Return an assessment with the roundings that `assessment_of` states, and no others."""
    return dataclasses.replace(
        assessment,
        images=tuple(map(carried_image, assessment.images)),
        correspondences=tuple(
            dataclasses.replace(pair, score=score(pair.score)) for pair in assessment.correspondences
        ),
        breasts=tuple(
            dataclasses.replace(breast, suspicion=round(breast.suspicion, 4)) for breast in assessment.breasts
        ),
    )


def written_and_read(headers: list[Dataset], assessment: Assessment, options: ComposeOptions) -> Assessment:
    study = str(headers[0].StudyInstanceUID)
    images = answered_images(headers, assessment, study_instance_uid=study, revision=1)
    report = compose_cad_sr(
        images, assessment, study_instance_uid=study, revision=1, predecessor=None, options=options
    )
    assert (sentences := check([report], headers)) == [], sentences
    return assessment_of(pydicom.dcmread(BytesIO(report.encode())))


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(0, 2**32), st.sampled_from(["SCT", "SRT"]), st.booleans())
def test_what_is_written_is_read(seed, scheme, benign):
    _, headers, assessment = generated_study(Random(seed), "read-back")
    options = ComposeOptions(scheme=scheme, benign=benign)
    assert written_and_read(headers, assessment, options) == carried(assessment)


def test_what_was_read_is_written_again_to_the_same_bytes():
    objects = answered(screening_images())
    first = pydicom.dcmread(BytesIO(objects[0].encode()))
    headers = [header_of(each) for each in screening_images()]
    again = compose(headers=headers, assessment=assessment_of(first), study_instance_uid=STUDY, revision=1)
    assert again[0].encode() == objects[0].encode()


def test_a_console_can_tell_in_words_what_a_report_says():
    objects = answered(screening_images())
    headers = [header_of(each) for each in screening_images()]
    said = report_text(assessment_of(pydicom.dcmread(BytesIO(objects[0].encode()))), headers)
    assert "1. suspicious (detection 0.93, suspicion 0.81), 5 calcifications" in said
    assert "fine-pleomorphic, segmental" in said
    assert said.count("Image ") == len(TWO_VIEWS)


def test_another_object_is_no_report_of_ours():
    with pytest.raises(ForeignReport, match="no Mammography CAD SR"):
        assessment_of(header_of(image(R_CC)))


@pytest.mark.parametrize("section", [0, 1, 2, 3])
def test_a_report_that_lacks_what_ours_hold_is_refused_by_a_sentence(section):
    report = pydicom.dcmread(BytesIO(answered(screening_images())[0].encode()))
    if section:
        del report.ContentSequence[section]
    else:
        report.ContentSequence[2].ContentSequence = report.ContentSequence[2].ContentSequence[:2]
    with pytest.raises(ForeignReport, match="was not written by this software"):
        assessment_of(report)
