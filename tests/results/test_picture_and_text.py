import dataclasses

import numpy as np
import pytest

from mammography.finding import (
    BreastScore,
    Correspondence,
    Distribution,
    FindingAssessment,
    FindingKind,
    FindingPlace,
    Morphology,
)
from mammography.mammogram import Mammogram, open_mammogram
from mammography.results.marks import label_of
from mammography.results.picture import COLOURS, draw
from mammography.results.text import report_text
from mammography.view import Laterality
from tests.results.mammograms import (
    L_CC,
    R_CC,
    READER,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    unread,
    written,
)

HEIGHT, STRIP = 1400, 79
ROWS, COLUMNS = 1000, 800
SCALE = (HEIGHT - STRIP) / ROWS


@pytest.fixture
def mammogram(tmp_path) -> Mammogram:
    path = tmp_path / "image.dcm"
    path.write_bytes(written(image(R_CC, Rows=ROWS, Columns=COLUMNS)))
    return open_mammogram(path)


def coloured(picture: np.ndarray, call: FindingAssessment) -> np.ndarray:
    """Return which pixels have about the colour of a call."""
    return np.abs(picture.astype(int) - COLOURS[call]).max(axis=2) < 40


def test_a_picture_is_as_high_as_asked_and_keeps_the_aspect(mammogram):
    picture = draw(mammogram, reading(mammogram.header), height=HEIGHT)
    assert (picture.mode, picture.size) == ("RGB", (round(COLUMNS * SCALE), HEIGHT))
    assert draw(mammogram, reading(mammogram.header), height=500).height == 500


def test_outlines_and_specks_lie_where_the_finding_is_in_the_colour_of_its_call(mammogram):
    suspicious = cluster(300, 400)
    benign = cluster(500, 700, call=FindingAssessment.BENIGN)
    picture = np.asarray(draw(mammogram, reading(mammogram.header, suspicious, benign), height=HEIGHT))
    for finding, other in ((suspicious, benign), (benign, suspicious)):
        mine = coloured(picture, finding.assessment)
        for point in (*finding.outline, *(speck.center for speck in finding.specks)):
            column, row = round(point.column * SCALE), round(point.row * SCALE)
            assert mine[row - 3 : row + 4, column - 3 : column + 4].any()
        for point in other.outline:
            column, row = round(point.column * SCALE), round(point.row * SCALE)
            assert not mine[row - 3 : row + 4, column - 3 : column + 4].any()


def test_every_picture_says_in_its_footer_what_it_is(mammogram):
    with_reader = np.asarray(draw(mammogram, reading(mammogram.header), reader=READER))
    without = np.asarray(draw(mammogram, reading(mammogram.header)))
    footer = slice(HEIGHT - STRIP, HEIGHT)
    assert (without[footer] > 100).sum() > 1000
    assert (with_reader[footer] > 100).sum() > 1.2 * (without[footer] > 100).sum()
    assert not (without[: HEIGHT - STRIP] > 100).any()


def test_a_finding_at_the_edge_has_its_label_on_the_picture(mammogram):
    corner = cluster(COLUMNS - 16, ROWS - 13)
    picture = np.asarray(draw(mammogram, reading(mammogram.header, corner), height=HEIGHT))
    mine = coloured(picture, FindingAssessment.SUSPICIOUS)
    left_of_outline = mine[:, : round((COLUMNS - 16 - 15) * SCALE) - 6]
    assert left_of_outline.sum() > 200
    assert not mine[HEIGHT - STRIP + 1 :].any()


def test_the_same_reading_gives_the_same_picture(mammogram):
    pictures = [draw(mammogram, reading(mammogram.header, cluster(300, 400))).tobytes() for _ in range(2)]
    assert pictures[0] == pictures[1]


def test_the_text_says_all_that_the_reader_says():
    headers = [header_of(image(view)) for view in (R_CC, L_CC)]
    stated = cluster(60, 80, morphology=Morphology.AMORPHOUS, distribution=Distribution.LINEAR)
    text = report_text(
        assessment(reading(headers[0], stated), unread(headers[1], "The pixel data is truncated.")), headers
    )
    assert "Research use only. Not a medical device, not for diagnosis." in text
    assert "Read at: 2026-11-22 19:30:05 UTC" in text
    assert f"Weights: sha256 {READER.weights_sha256}" in text
    assert "Weights trained on: Synthetic images (phantom) alone." in text
    assert "Image 1: R CC, 160 columns x 200 rows" in text
    assert "  Marked: 1 suspicious finding of calcifications." in text
    assert (
        "  1. suspicious (detection 0.93, suspicion 0.81), 5 calcifications around column 60, row 80, amorphous, linear"
        in text
    )
    assert "Image 2: L CC, 160 columns x 200 rows" in text
    assert "  Not read: The pixel data is truncated." in text


def test_the_text_says_what_a_large_calcification_is_and_every_remark():
    header = header_of(image(R_CC))
    benign = {"call": FindingAssessment.BENIGN, "specks": 1, "kind": FindingKind.LARGE}
    vascular, unclear = cluster(60, 80, morphology=Morphology.VASCULAR, **benign), cluster(90, 90, **benign)
    said = dataclasses.replace(
        reading(header, cluster(30, 30), vascular, unclear), remarks=("It is blurred",)
    )
    text = report_text(assessment(said), [header])
    assert "  Marked: 1 suspicious finding of calcifications and 2 large benign calcifications." in text
    assert "  Remark: It is blurred." in text
    assert (
        "  2. large benign calcification (vascular) (detection 0.93), as large as a disc of 0.2 mm"
        " around column 54, row 78" in text
    )
    assert "  3. large benign calcification (detection 0.93)" in text
    assert label_of(2, vascular) == "2 large benign calcification (vascular)"


def test_the_text_says_which_findings_are_one_lesion_and_how_suspicious_a_breast_is():
    headers = [header_of(image(view)) for view in (R_CC, L_CC)]
    said = dataclasses.replace(
        assessment(*(reading(header, cluster(60, 80)) for header in headers)),
        correspondences=(Correspondence(first=FindingPlace(0, 0), second=FindingPlace(1, 0), score=0.6),),
        breasts=(
            BreastScore(laterality=Laterality.RIGHT, suspicion=0.81),
            BreastScore(laterality=Laterality.LEFT, suspicion=0.0),
        ),
    )
    text = report_text(said, headers)
    assert "  Probably one lesion: finding 1 of image 1 and finding 1 of image 2 (likeness 0.60)." in text
    assert "  Breast R: highest suspicion 0.81." in text
    assert "  Breast L: nothing marked." in text
    assert "never a probability of cancer" in text


def test_the_text_names_an_image_without_a_view_and_one_without_findings():
    header = header_of(image(R_CC))
    text = report_text(assessment(dataclasses.replace(reading(header), view=None)), [])
    assert "Image 1: view not stated\n" in text
    assert "  Marked: no calcifications." in text
