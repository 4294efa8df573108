"""What is measured of a reader: which mark is whose, the figures that follow, and what is told of them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lab.evaluation.card import told
from lab.evaluation.figures import figures_of, lesions_of
from lab.evaluation.matching import Verdict, groups_asked_for, judge, match, visibility_of
from lab.evaluation.observation import Observer
from lab.evaluation.pictures import SIDE_PIXELS, picture, with_pictures
from lab.evaluation.records import (
    BreastRecord,
    ImageRecord,
    LargeRecord,
    LesionRecord,
    MarkRecord,
    StudyRecord,
)
from lab.evaluation.report import as_json, write_report
from lab.phantom.lesions import plan_lesion
from lab.phantom.scene import make_scene
from lab.phantom.truth import Scene
from lab.training.finishing import write_measured
from mammography.coordinates import ImagePoint
from mammography.finding import Distribution, Morphology
from mammography.reader.detection import Points
from mammography.reader.plan import CARD_FILE
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights
from mammography.view import Laterality, View, ViewPosition
from tests.reader.conftest import mammogram_file


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


def test_a_lesion_is_as_visible_as_its_third_best_speck_within_a_square_centimetre(easy_scene):
    first = easy_scene.specks[0]
    near = [first.center._replace(column=first.center.column + shift) for shift in (0, 20, 40)]
    far = first.center._replace(column=first.center.column + 70)
    places = zip([*near, far], (30.0, 9.0, 12.0, 50.0), strict=True)
    scene = replace(
        easy_scene,
        specks=tuple(replace(first, center=center, d_prime=d_prime) for center, d_prime in places),
    )
    assert visibility_of(scene, easy_scene.groups[0]) == 12.0
    assert visibility_of(replace(scene, specks=scene.specks[:3]), easy_scene.groups[0]) == 9.0
    assert visibility_of(replace(scene, specks=scene.specks[:2]), easy_scene.groups[0]) == 0.0


@pytest.fixture(scope="module")
def observed(easy_scene: Scene, tmp_path_factory):
    """What the shipped reader says of an easy scene, by the way of a DICOM file."""
    path = mammogram_file(
        tmp_path_factory.mktemp("scene") / "image.dcm", easy_scene.pixels, ImagerPixelSpacing=[0.1, 0.1]
    )
    return Observer(open_weights(SHIPPED_WEIGHTS)).observe(7, [easy_scene], [path])


def test_an_image_is_observed_beside_its_scene(observed, easy_scene: Scene):
    (image,) = observed.record.images
    (lesion,) = image.lesions
    plan = open_weights(SHIPPED_WEIGHTS).plan
    best = max(mark.detection for mark in image.marks if 0 in mark.lesions)
    assert lesion.outlined is not None
    assert lesion.outlined >= plan.detection_score
    assert best >= plan.detection_score
    assert lesion.visibility >= 25
    assert len(image.specks) == len([speck for speck in easy_scene.specks if speck.d_prime >= 5])
    assert image.points >= 5
    assert observed.record.seconds > 0
    assert [breast.suspicious for breast in observed.record.breasts] == [True]


def test_lesions_that_a_view_would_not_show_are_measured_too(tmp_path):
    kinds = (Morphology.FINE_PLEOMORPHIC, Morphology.PUNCTATE, Morphology.ROUND)
    rng = np.random.default_rng(1)
    lesions = [plan_lesion(kind, number, rng, depth_mm=None, easy=True) for number, kind in enumerate(kinds)]
    left_cc = View(laterality=Laterality.LEFT, position=ViewPosition.CC)
    scene = make_scene(12, view=left_cc, rows=1664, columns=1280, spacing_mm=0.1, lesions=lesions, density=0)
    path = mammogram_file(tmp_path / "image.dcm", scene.pixels, ImagerPixelSpacing=[0.1, 0.1])
    shipped = open_weights(SHIPPED_WEIGHTS)
    plan = shipped.plan.model_copy(update={"most_findings": 1})
    record = Observer(shipped._replace(plan=plan)).observe(12, [scene], [path]).record
    found = {lesion for mark in record.images[0].marks for lesion in mark.lesions}
    assert len(found) > plan.most_findings


def test_points_below_the_readers_threshold_are_remembered(observed):
    plan = open_weights(SHIPPED_WEIGHTS).plan
    (image,) = observed.record.images
    scores = [score for _, score in image.specks] + list(image.false_specks)
    assert any(0 < score < plan.point_score for score in scores)
    assert len(observed.findings[0]) == len(image.marks)


def test_misses_and_false_marks_are_drawn_beside_the_truth(observed, easy_scene: Scene, tmp_path):
    deaf = _plan().model_copy(update={"operating_points": {"standard": 1.1}})
    record = with_pictures(observed, [easy_scene], deaf, tmp_path)
    name = record.images[0].lesions[0].picture
    assert name is not None
    with Image.open(tmp_path / name) as drawn:
        assert drawn.size == (2 * SIDE_PIXELS + 4, SIDE_PIXELS)
        plain, marked = (
            np.asarray(drawn.crop((left, 0, left + SIDE_PIXELS, SIDE_PIXELS)), dtype=int)
            for left in (0, SIDE_PIXELS + 4)
        )
    assert np.ptp(plain, axis=2).max() < 12
    green = marked[..., 1] - marked[..., [0, 2]].max(axis=2)
    assert (green > 40).sum() > 200
    assert plain.std() > 20


def test_a_place_beside_the_image_is_drawn_black(easy_scene: Scene):
    corner = picture(easy_scene, ImagePoint(0.0, 0.0), [])
    assert np.asarray(corner)[: SIDE_PIXELS // 2 - 2, : SIDE_PIXELS // 2 - 2].max() == 0


def test_a_withheld_image_finds_nothing_and_is_counted(easy_scene: Scene, tmp_path):
    path = mammogram_file(tmp_path / "image.dcm", easy_scene.pixels, ImagerPixelSpacing=None)
    observation = Observer(open_weights(SHIPPED_WEIGHTS)).observe(7, [easy_scene], [path])
    figures = figures_of([observation.record], _plan())
    assert (figures.withheld.images, figures.withheld.lesions, figures.withheld.found) == (1, 1, 0)
    (reason,) = figures.reasons
    assert "spacing" in reason.lower()
    assert figures.reached["standard"].sensitivity.value == 0
    assert figures.asked[0].specks_at["10"].value == 0


def test_what_a_gate_keeps_back_counts_for_nothing_but_is_told():
    records = _measurement()
    first = replace(records[0].images[0], reason="The result is withheld: 7 marks, 1.2e-05 and 3 too many.")
    figures = figures_of([replace(records[0], images=(first, records[0].images[1])), *records[1:]], _plan())
    kept = figures.withheld
    assert (kept.images, kept.lesions, kept.found, kept.false_marks) == (1, 1, 1, 1)
    assert figures.reached["standard"].sensitivity.value == 1 / 3
    assert figures.reached["standard"].false_marks == 0
    assert figures.reasons == {"The result is withheld: n marks, n and n too many.": 1}
    assert "1 of 4; 1 lesions on them, of which 1 had been found, and 1 false marks" in told(figures, "")


def test_the_figures_of_a_hand_made_measurement():
    figures = figures_of(_measurement(), _plan())
    assert (figures.images, figures.studies, figures.not_drawn) == (4, 2, 1)
    assert figures.reached["standard"].sensitivity.value == 2 / 3
    assert figures.reached["standard"].false_marks == 1 / 4
    assert figures.reached["screening"].sensitivity.value == 1 / 3
    assert figures.asked[0].lesions_at["0.25"].value == 2 / 3
    assert figures.asked[0].lesions_at["0.1"].value == 1 / 3
    assert (figures.asked[0].lesions, figures.asked[1].lesions) == (3, 2)
    assert figures.asked[1].lesions_at["0.25"].value == 1.0
    assert figures.asked[0].specks_at["1"].value == 0.5
    assert figures.easy_outlined.value == 2 / 3
    assert figures.grading.area.value == 1.0
    assert figures.morphology == {"fine-pleomorphic": {"punctate": 1}, "punctate": {"not stated": 1}}
    assert figures.distribution == {"grouped": {"grouped": 2}}
    assert figures.large == {"vascular": (1, 1, 0)}
    assert figures.normal_breasts == 1
    assert figures.reached["standard"].unmarked.value == 1.0
    assert figures.tables["morphology"][1].found.value == 0.5
    assert [(row.name, row.images) for row in figures.tables["view"]] == [("CC", 4)]


def test_the_order_in_which_studies_are_measured_changes_no_figure():
    records = _measurement()
    command = "mammocalc evaluate"
    assert as_json(figures_of(records, _plan()), command) == as_json(
        figures_of(records[::-1], _plan()), command
    )


def test_the_card_tells_figures_with_their_command():
    text = told(figures_of(_measurement(), _plan()), "mammocalc evaluate --studies 2 --seed 1")
    assert text.startswith("`mammocalc evaluate --studies 2 --seed 1`: 4 synthetic images of 2 studies")
    assert "standard (0.5000, in use) | 0.667 [0.208, 0.939], 0.25 false marks per image" in text
    assert "1 studies could not be drawn" in text
    assert "vascular 1/1, 0 by name" in text


def test_figures_are_plain_json():
    plain = json.loads(as_json(figures_of(_measurement(), _plan()), "mammocalc evaluate"))
    assert plain["command"] == "mammocalc evaluate"
    assert plain["figures"]["reached"]["standard"]["sensitivity"]["value"] == pytest.approx(2 / 3, abs=1e-6)


def test_a_measurement_without_any_lesion_is_told_without_figures_that_are_none():
    empty = [replace(record, images=()) for record in _measurement()]
    figures = figures_of(empty, _plan())
    text = told(figures, "mammocalc evaluate")
    assert "nan" not in text
    assert "not measured" not in text
    assert "area under the curve" not in text
    assert json.loads(as_json(figures, ""))["figures"]["grading"]["area"]["value"] is None
    assert math.isnan(figures.seconds_per_study)


def test_the_report_is_one_file_that_needs_no_other(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "miss.jpg").write_bytes(b"picture of a miss")
    records = _measurement()
    path = tmp_path / "report.html"
    write_report(figures_of(records, _plan()), records, _plan(), "mammocalc evaluate <x>", path)
    page = path.read_text()
    assert page.count("<svg") >= 7
    assert "mammocalc evaluate &lt;x&gt;" in page
    assert "data:image/jpeg;base64,cGljdHVyZSBvZiBhIG1pc3M=" in page
    assert 'src="http' not in page
    assert "0.667 [0.208, 0.939]" in page


def test_a_card_keeps_the_latest_figures_of_every_command(tmp_path):
    card = tmp_path / CARD_FILE
    card.write_text("# Card\n\n## Measured\n\nNot yet: nothing.\n")
    for command, figures in (("a --seed 1", "one"), ("b", "two"), ("a --seed 1", "three")):
        write_measured(tmp_path, f"`{command}`: {figures}\n\n| | |")
    assert (
        card.read_text()
        == "# Card\n\n## Measured\n\n`b`: two\n\n| | |\n\n---\n\n`a --seed 1`: three\n\n| | |\n"
    )


def test_lesions_are_asked_for_from_a_visibility_on():
    assert len(lesions_of(_measurement(), d_prime=5.0)) == 3
    assert len(lesions_of(_measurement(), d_prime=8.0)) == 2


def _plan():
    """Return the shipped plan with operating points that are easy to count with."""
    plan = open_weights(SHIPPED_WEIGHTS).plan
    return plan.model_copy(
        update={
            "operating_point": "standard",
            "operating_points": {"screening": 0.98, "standard": 0.5, "sensitive": 0.1},
        }
    )


def _measurement():
    """Return three studies: three lesions of which two are found, one false mark, one breast without lesion."""
    found = _mark(0.99, 0.9, Verdict.LESION, morphology=Morphology.PUNCTATE)
    return [
        _study(
            4,
            [
                _image(
                    Laterality.RIGHT, [_lesion(suspicious=True)], [found, _mark(0.985, 0.5, Verdict.FALSE)]
                ),
                _image(Laterality.LEFT, [_lesion(visibility=6.0, outlined=None, picture="miss.jpg")], []),
            ],
        ),
        _study(
            5,
            [
                _image(
                    Laterality.RIGHT,
                    [_lesion()],
                    [_mark(0.97, 0.1, Verdict.LESION)],
                    large=(LargeRecord(kind=Morphology.VASCULAR, marked=True, called=None),),
                ),
                _image(Laterality.LEFT, [], [_mark(0.2, 0.5, Verdict.NEITHER)]),
            ],
        ),
        _study(6, []),
    ]


def _study(number, images):
    breasts = tuple(
        BreastRecord(laterality=image.laterality, suspicion=0.5, suspicious=False) for image in images
    )
    return StudyRecord(
        study=number, seconds=4.0, images=tuple(images), breasts=breasts, pairs=1, right_pairs=1
    )


def _image(side, lesions, marks, *, large=()):
    return ImageRecord(
        laterality=side,
        position=ViewPosition.CC,
        vendor="alpha",
        density=1,
        spacing_mm=0.07,
        empty=not lesions,
        reason=None,
        points=5,
        lesions=tuple(lesions),
        marks=tuple(marks),
        specks=((9.0, 0.7), (9.0, 0.0)),
        false_specks=(0.6,),
        large=large,
        false_large=(),
    )


def _lesion(*, suspicious=False, visibility=30.0, outlined=0.97, picture=None):
    return LesionRecord(
        number=0,
        morphology=Morphology.FINE_PLEOMORPHIC if suspicious else Morphology.PUNCTATE,
        distribution=Distribution.GROUPED,
        suspicious=suspicious,
        easy=True,
        visibility=visibility,
        specks=7,
        diameter_mm=0.3,
        extent_mm=8.0,
        outlined=outlined,
        picture=picture,
    )


def _mark(detection, suspicion, verdict, *, morphology=None):
    return MarkRecord(
        detection=detection,
        suspicion=suspicion,
        morphology=morphology,
        distribution=Distribution.GROUPED,
        specks=5,
        column=100.0,
        row=100.0,
        verdict=verdict,
        lesions=(0,) if verdict is Verdict.LESION else (),
        near=None,
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
