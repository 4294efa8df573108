"""The statistics of a measurement, on cases that can be done by hand."""

import math

import numpy as np
import pytest

from lab.evaluation.matching import Verdict, groups_asked_for, judge, match
from lab.evaluation.measurement import ImageResult, LesionResult, figures_of, measure_image, told
from lab.evaluation.statistics import area_under_curve, bootstrapped_area, threshold_at, wilson
from lab.phantom.truth import Scene
from lab.training.finishing import write_measured
from mammography.reader.detection import Points
from mammography.reader.plan import CARD_FILE
from tests.reader.conftest import mammogram_file


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_newcombe_1998(successes, trials, low, high):
    interval = wilson(successes, trials)
    assert interval.value == successes / trials
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_area_under_the_curve_counts_pairs_and_ties_half():
    assert area_under_curve([3.0, 2.0], [1.0, 2.0]) == (1 + 1 + 1 + 0.5) / 4
    assert area_under_curve([1.0], [0.0]) == 1.0
    assert math.isnan(area_under_curve([], [1.0]))


def test_a_bootstrap_draws_whole_studies():
    scores = np.array([0.9, 0.1, 0.8, 0.2])
    positive = np.array([True, False, True, False])
    together = bootstrapped_area(scores, positive, np.zeros(4, dtype=np.int64), np.random.default_rng(0))
    assert together == (1.0, 1.0, 1.0)
    mixed = bootstrapped_area(
        np.array([0.9, 0.1, 0.3, 0.5, 0.7, 0.2]),
        np.array([True, False, True, False, True, False]),
        np.array([0, 0, 1, 1, 2, 2]),
        np.random.default_rng(0),
    )
    assert mixed.low < mixed.value < mixed.high


def test_a_threshold_lets_through_only_as_many_false_marks_as_are_allowed():
    false_scores = [0.2, 0.9, 0.5, 0.7]
    assert sum(score > threshold_at(false_scores, 2) for score in false_scores) == 2
    assert threshold_at(false_scores, 4) == -math.inf


def test_marks_on_specks_are_hits_and_marks_beside_them_are_not(easy_scene):
    centers = np.array([speck.center for speck in easy_scene.specks])
    beside = centers + 100.0
    everything = np.concatenate([centers, beside])
    matching = match(easy_scene, _points(len(everything)), everything)
    count = len(centers)
    assert matching.hit[:count].all()
    assert not matching.hit[count:].any()
    assert judge(matching, np.arange(count)) == (Verdict.LESION, [0])
    assert judge(matching, np.arange(count, 2 * count)) == (Verdict.FALSE, [])
    assert (matching.best == 0.5).all()


def test_an_easy_lesion_is_asked_for(easy_scene):
    assert [group.number for group in groups_asked_for(easy_scene)] == [0]


def test_the_figures_of_a_hand_made_measurement(reader):
    results = [
        _image(0, [_lesion(detection=0.99, suspicion=0.9, suspicious=True)], false_marks=(0.98,)),
        _image(0, [_lesion(detection=-math.inf, suspicion=math.nan, suspicious=False)], false_marks=()),
        _image(1, [_lesion(detection=0.97, suspicion=0.1, suspicious=False)], false_marks=(0.0,)),
        _image(1, [], false_marks=()),
    ]
    figures = figures_of(results, reader, seed=0)
    assert (figures.images, figures.studies, figures.lesions) == (4, 2, 3)
    assert figures.sensitivity.value == 2 / 3
    assert figures.false_marks_per_image == 1 / 4
    assert figures.sensitivity_at["0.25"].value == 2 / 3
    assert figures.easy_found.value == 2 / 3
    assert figures.suspicion_area.value == 1.0
    assert figures.sensitivity_by_morphology == {"punctate": (2, 3)}
    assert figures.speck_sensitivity_at["1"] == 0.5
    text = told(figures, "mammocalc evaluate --studies 2 --seed 1")
    assert "4 synthetic images of 2 studies" in text
    assert "0.667 [0.208, 0.939]" in text


def test_an_image_is_measured_beside_its_scene(reader, easy_scene: Scene, tmp_path):
    path = mammogram_file(tmp_path / "image.dcm", easy_scene.pixels, ImagerPixelSpacing=[0.1, 0.1])
    result = measure_image(easy_scene, path, reader, study=0)
    (lesion,) = result.lesions
    assert lesion.inside_a_mark
    assert lesion.detection >= reader.plan.detection_score
    assert len(result.specks) == len([speck for speck in easy_scene.specks if speck.d_prime >= 5])


def test_a_card_keeps_the_latest_figures_of_every_command(tmp_path):
    card = tmp_path / CARD_FILE
    card.write_text("# Card\n\n## Measured\n\nNot yet: nothing.\n")
    for command, figures in (("a --seed 1", "one"), ("b", "two"), ("a --seed 1", "three")):
        write_measured(tmp_path, f"`{command}`: {figures}\n\n| | |")
    assert (
        card.read_text()
        == "# Card\n\n## Measured\n\n`b`: two\n\n| | |\n\n---\n\n`a --seed 1`: three\n\n| | |\n"
    )


def _points(count):
    """Return that many marks of score 0.5, whose own places do not matter."""
    zeros = np.zeros(count)
    return Points(
        rows=zeros,
        columns=zeros,
        scores=zeros + 0.5,
        diameters_mm=zeros,
        macro=zeros,
        morphology=zeros[:, None],
    )


def _lesion(*, detection, suspicion, suspicious):
    return LesionResult(
        morphology="punctate",
        easy=True,
        suspicious=suspicious,
        detection=detection,
        suspicion=suspicion,
        inside_a_mark=detection > 0,
    )


def _image(study, lesions, *, false_marks):
    return ImageResult(
        study=study,
        seconds=1.0,
        points=5,
        withheld=False,
        lesions=tuple(lesions),
        false_marks=false_marks,
        false_specks=(0.6,),
        specks=((9.0, 0.7), (9.0, 0.0)),
    )
