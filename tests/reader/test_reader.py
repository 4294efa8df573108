"""The shipped reader on images whose truth is known."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from lab.phantom.lesions import plan_lesion
from lab.phantom.scene import make_scene
from mammography.coordinates import inside
from mammography.finding import FindingAssessment, Morphology, ReadStatus
from mammography.mammogram import FOR_PRESENTATION, FOR_PROCESSING, Mammogram
from mammography.reader.quality import STRANGE_REMARK
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights
from mammography.view import Laterality, View, ViewPosition
from tests.reader.conftest import mammogram_file

READ_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def easy_reading(reader, easy_scene):
    """What the shipped reader says of the easy scene."""
    return reader.read_image(_mammogram(easy_scene.pixels))


def test_the_easy_cluster_lies_inside_a_mark(easy_reading, easy_scene):
    assert easy_reading.status is ReadStatus.READ
    assert max(_share_inside(easy_scene, finding) for finding in easy_reading.findings) == 1.0


def test_a_mark_is_a_simple_polygon_on_the_image_around_its_specks(reader, easy_reading):
    for finding in easy_reading.findings:
        assert len(finding.outline) >= 3
        assert len(set(finding.outline)) == len(finding.outline)
        assert all(0 <= point.column <= 1280 and 0 <= point.row <= 1664 for point in finding.outline)
        assert all(inside(speck.center, finding.outline) for speck in finding.specks)
        assert finding.detection >= reader.plan.detection_score


def test_the_same_image_gets_the_same_answer_on_one_thread_and_on_two(easy_scene, easy_reading):
    threads, answers = torch.get_num_threads(), [easy_reading]
    for count in (1, 2):
        torch.set_num_threads(count)
        answers.append(Reader.load().read_image(_mammogram(easy_scene.pixels)))
    torch.set_num_threads(threads)
    assert answers[0] == answers[1] == answers[2]


def test_a_mirrored_image_has_mirrored_findings(reader, easy_scene, easy_reading):
    left = easy_reading
    right = reader.read_image(_mammogram(np.ascontiguousarray(easy_scene.pixels[:, ::-1])))
    assert len(left.findings) == len(right.findings) > 0
    for one, other in zip(left.findings, right.findings, strict=True):
        assert (one.detection, one.suspicion, one.morphology) == (
            other.detection,
            other.suspicion,
            other.morphology,
        )
        assert one.center.column == pytest.approx(1280 - other.center.column)


def test_an_inverted_image_has_the_same_findings(reader, easy_scene, easy_reading):
    assert reader.read_image(_mammogram(4095 - easy_scene.pixels, inverted=True)) == easy_reading


def test_an_image_of_another_kind_is_read_with_a_remark(easy_scene, easy_reading):
    opened = open_weights(SHIPPED_WEIGHTS)
    bounds = opened.plan.quality.model_copy(update={"familiar_beta": (0.0, 0.1)})
    plan = opened.plan.model_copy(update={"quality": bounds})
    reading = Reader(opened._replace(plan=plan)).read_image(_mammogram(easy_scene.pixels))
    assert STRANGE_REMARK not in easy_reading.remarks
    assert STRANGE_REMARK in reading.remarks
    assert reading.findings == easy_reading.findings


def test_a_breast_of_nothing_but_noise_is_withheld(reader):
    rows, columns = np.mgrid[:1664, :1280]
    noise = np.random.default_rng(0).normal(1500, 25.0, rows.shape)
    pixels = np.where(np.hypot(rows - 800, columns) < 700, noise, 0).astype(np.uint16)
    reading = reader.read_image(_mammogram(pixels))
    assert (reading.status, reading.findings) == (ReadStatus.NOT_READ, ())
    assert "is noise or sharpening" in (reading.reason or "")


def test_an_image_full_of_noise_is_withheld_with_the_number_of_points(reader, easy_scene):
    pixels = easy_scene.pixels.copy()
    pixels[(np.random.default_rng(0).random(pixels.shape) < 0.005) & (pixels > 300)] = 4095
    reading = reader.read_image(_mammogram(pixels))
    assert (reading.status, reading.findings) == (ReadStatus.NOT_READ, ())
    assert re.fullmatch(
        r"noise or artefact suspected: \d{3,} candidate points; result withheld", str(reading.reason)
    )


def test_an_assessment_has_an_entry_for_every_mammogram_in_the_order_given(reader, tmp_path):
    paths = [
        mammogram_file(tmp_path / "raw.dcm", SOPClassUID=FOR_PROCESSING, SOPInstanceUID="1.1"),
        mammogram_file(tmp_path / "shown.dcm", SOPInstanceUID="1.2"),
        mammogram_file(tmp_path / "ct.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID="1.3"),
        mammogram_file(tmp_path / "cut.dcm", SOPInstanceUID="1.4", ViewPosition="MLO"),
    ]
    paths[3].write_bytes(paths[3].read_bytes()[:9000])
    beats = []
    assessment = reader.read_study(paths, read_at=READ_AT, beat=lambda: beats.append(1))
    assert [image.sop_instance_uid for image in assessment.images] == ["1.1", "1.2", "1.4"]
    reasons = [image.reason for image in assessment.images]
    assert reasons[0] == "The study holds the L CC image For Presentation, which is read."
    assert str(reasons[2]).startswith("The pixel data holds ")
    assert assessment.images[0].status is assessment.images[2].status is ReadStatus.NOT_READ
    assert len(beats) == 3
    assert assessment.read_at == READ_AT


def test_a_lesion_in_two_views_is_one_lesion_and_makes_its_breast_suspicious(reader, easy_scene, tmp_path):
    paths = [
        mammogram_file(
            tmp_path / f"{view}.dcm",
            easy_scene.pixels,
            SOPInstanceUID=f"1.{place}",
            ViewPosition=view,
            ImagerPixelSpacing=[0.1, 0.1],
        )
        for place, view in enumerate(("CC", "MLO"), start=1)
    ]
    assessment = reader.read_study(paths, read_at=READ_AT)
    found = [len(image.findings) for image in assessment.images]
    assert found[0] == found[1] > 0
    assert ((0, 0), (1, 0)) in [(pair.first, pair.second) for pair in assessment.correspondences]
    assert all(pair.score > 0.75 for pair in assessment.correspondences)
    (breast,) = assessment.breasts
    assert breast.laterality is Laterality.LEFT
    assert breast.suspicion == max(f.suspicion for image in assessment.images for f in image.findings)


def test_a_raw_image_without_its_presentation_is_not_skipped(reader, tmp_path):
    raw = mammogram_file(tmp_path / "raw.dcm", SOPClassUID=FOR_PROCESSING)
    other = mammogram_file(tmp_path / "other.dcm", ViewPosition="MLO", SOPInstanceUID="1.5")
    reasons = [image.reason for image in reader.read_study([raw, other], read_at=READ_AT).images]
    assert not any("For Presentation" in str(reason) for reason in reasons)


def test_a_view_with_many_lesions_shows_the_most_suspicious_and_tells_of_the_others(reader):
    kinds = (Morphology.FINE_PLEOMORPHIC, Morphology.PUNCTATE, Morphology.ROUND, Morphology.FINE_PLEOMORPHIC)
    rng = np.random.default_rng(1)
    lesions = [plan_lesion(kind, number, rng, depth_mm=None, easy=True) for number, kind in enumerate(kinds)]
    left_cc = View(laterality=Laterality.LEFT, position=ViewPosition.CC)
    scene = make_scene(12, view=left_cc, rows=1664, columns=1280, spacing_mm=0.1, lesions=lesions, density=0)
    everything = reader.read_image(_mammogram(scene.pixels))
    few = Reader.load()
    few.plan = reader.plan.model_copy(update={"most_findings": 1})
    reading = few.read_image(_mammogram(scene.pixels))
    assert 1 < len(everything.findings) <= reader.plan.most_findings
    told = re.search(r"Only the 1 strongest of (\d+) marks", " ".join(reading.remarks))
    assert told
    assert int(told.group(1)) >= len(everything.findings)
    assert reading.findings[0].assessment is FindingAssessment.SUSPICIOUS
    assert reading.findings[0].detection == max(
        finding.detection
        for finding in everything.findings
        if finding.assessment is FindingAssessment.SUSPICIOUS
    )


def _mammogram(pixels, *, inverted=False):
    """Return pixels at 0.1 mm as an opened mammogram."""
    return Mammogram(
        path=Path("image.dcm"),
        sop_instance_uid="1.2.3",
        sop_class_uid=FOR_PRESENTATION,
        study_instance_uid="1.2",
        view=None,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        spacing_mm=0.1,
        inverted=inverted,
        pixels=pixels,
        header=Dataset(),
    )


def _share_inside(scene, finding):
    """Return how much of a scene's specks an outline holds."""
    return np.mean([inside(speck.center, finding.outline) for speck in scene.specks])
