"""The picture as a DICOM object: what is drawn, for viewers that show nothing else, and nothing to measure on."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mammography.finding import FindingAssessment
from mammography.mammogram import open_mammogram
from mammography.results.compose import InvalidResult, compose
from mammography.results.options import ComposeOptions
from mammography.results.picture import COLOURS, NOTICE, draw
from tests.judges import dciodvfy, run
from tests.results.mammograms import (
    L_CC,
    R_CC,
    READER,
    STUDY,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    unread,
    written,
)

FINDINGS = (cluster(300, 400), cluster(500, 700, call=FindingAssessment.BENIGN))
SIZE = {"Rows": 1000, "Columns": 800}


@pytest.fixture
def study(tmp_path):
    """Two mammograms as files, by their UIDs; the second cannot be opened."""
    paths = {}
    for view in (R_CC, L_CC):
        dataset = image(view, **SIZE)
        paths[str(dataset.SOPInstanceUID)] = tmp_path / f"{view}.dcm"
        paths[str(dataset.SOPInstanceUID)].write_bytes(written(dataset))
    return paths


@pytest.fixture
def headers():
    return [header_of(image(view, **SIZE)) for view in (R_CC, L_CC)]


def pictures(study, headers, *readings, **options) -> list[Dataset]:
    objects = compose(
        headers=headers,
        assessment=assessment(*readings),
        study_instance_uid=STUDY,
        revision=1,
        options=ComposeOptions(kinds=frozenset({"picture"}), **options),
        open_image=lambda uid: open_mammogram(study[uid]),
    )
    assert {each.kind for each in objects} == {"picture"}
    return [each.dataset for each in objects]


def coloured(pixels: np.ndarray, call: FindingAssessment) -> int:
    return int((np.abs(pixels.astype(int) - COLOURS[call]).max(axis=2) < 40).sum())


def test_a_picture_is_what_is_drawn_pixel_by_pixel(study, headers):
    said = reading(headers[0], *FINDINGS)
    right, _ = pictures(study, headers, said, reading(headers[1]))
    mammogram = open_mammogram(study[str(headers[0].SOPInstanceUID)])
    assert (right.pixel_array == np.asarray(draw(mammogram, said, reader=READER))).all()
    assert (right.PhotometricInterpretation, right.BitsStored, right.SamplesPerPixel) == ("RGB", 8, 3)
    for call in FindingAssessment:
        assert coloured(right.pixel_array, call) > 200


def test_dcmtk_shows_the_same_pixels(study, headers, tmp_path):
    right, _ = pictures(study, headers, reading(headers[0], *FINDINGS), reading(headers[1]))
    right.save_as(tmp_path / "picture.dcm", enforce_file_format=True)
    run("dcm2pnm", tmp_path / "picture.dcm", tmp_path / "picture.ppm")
    *_, shown = (tmp_path / "picture.ppm").read_bytes().split(b"\n255\n", 1)
    assert shown == right.pixel_array.tobytes()


def test_a_picture_says_that_it_is_no_mammogram_and_which_it_was_made_of(study, headers):
    right, left = pictures(study, headers, reading(headers[0], *FINDINGS), reading(headers[1]))
    for picture, header in ((right, headers[0]), (left, headers[1])):
        assert picture.Modality == "OT"
        assert picture.BurnedInAnnotation == "YES"
        assert picture.SeriesDescription == NOTICE == "AI result - not for diagnosis"
        assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == header.SOPInstanceUID
        assert picture.ViewCodeSequence[0].CodeValue == header.ViewCodeSequence[0].CodeValue
        assert picture.ImageLaterality == header.ImageLaterality
        assert picture.PatientOrientation == header.PatientOrientation
        assert not {"PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"} & set(picture.dir())
    assert right.SeriesInstanceUID != left.SeriesInstanceUID
    assert right.SeriesInstanceUID not in {header.SeriesInstanceUID for header in headers}


def test_an_image_that_was_not_read_has_a_picture_that_says_why(study, headers):
    study[str(headers[1].SOPInstanceUID)].unlink()
    _, left = pictures(study, headers, reading(headers[0]), unread(headers[1], "It is broken."))
    _, other = pictures(study, headers, reading(headers[0]), unread(headers[1], "It is too dark to see."))
    assert (left.pixel_array > 100).sum() > 1000
    assert (left.pixel_array != other.pixel_array).any()


def test_benign_findings_are_not_drawn_where_they_are_not_to_be_shown(study, headers):
    said = reading(headers[0], *reversed(FINDINGS)), reading(headers[1])
    shown, hidden = (pictures(study, headers, *said, benign=benign)[0] for benign in (True, False))
    assert coloured(shown.pixel_array, FindingAssessment.BENIGN) > 200
    assert coloured(hidden.pixel_array, FindingAssessment.BENIGN) == 0
    assert coloured(hidden.pixel_array, FindingAssessment.SUSPICIOUS) == coloured(
        shown.pixel_array, FindingAssessment.SUSPICIOUS
    )
    assert shown.SOPInstanceUID != hidden.SOPInstanceUID


def test_a_picture_that_cannot_be_drawn_is_said_and_never_left_out(study, headers):
    study[str(headers[0].SOPInstanceUID)].write_bytes(b"nothing")
    with pytest.raises(InvalidResult, match="No picture can be made of R CC"):
        pictures(study, headers, reading(headers[0]), reading(headers[1]))


@pytest.mark.validators
def test_the_public_validators_find_nothing_wrong(study, headers, tmp_path):
    files = []
    for picture in pictures(study, headers, reading(headers[0], *FINDINGS), unread(headers[1])):
        files.append(tmp_path / f"{picture.SOPInstanceUID}.dcm")
        picture.save_as(files[-1], enforce_file_format=True)
        assert dciodvfy(files[-1]) == []
        assert "Warning" not in run("dciodvfy", "-new", files[-1])[1]
    code, said = run("dcentvfy", *study.values(), *files)
    assert (code, "Error" in said) == (0, False), said
