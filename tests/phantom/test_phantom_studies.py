"""Synthetic studies: the same seed the same bytes, truth where the pixels are bright, and a mammogram's texture."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.phantom.commands import write_study
from lab.phantom.presentation import VENDORS
from lab.phantom.realism import BETA, FALL, POWER, measure_texture, noise_by_brightness
from lab.phantom.scene import make_scene
from lab.phantom.study import draw_study
from mammography.mammogram import open_mammogram
from mammography.view import SCREENING_SET, Laterality, View, ViewPosition
from tests.judges import dciodvfy

SMALL = {"rows": 1664, "columns": 1280}
L_CC = View(laterality=Laterality.LEFT, position=ViewPosition.CC)
R_CC = View(laterality=Laterality.RIGHT, position=ViewPosition.CC)


@pytest.fixture(scope="module")
def easy_study():
    return list(draw_study(11, easy=True, **SMALL))


def test_the_same_seed_writes_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        write_study(tmp_path / name, seed=seed, rows=640, columns=512)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["L_CC.dcm", "L_MLO.dcm", "R_CC.dcm", "R_MLO.dcm", "truth.json"]
    for name in names:
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "again" / name).read_bytes()
        assert first != (tmp_path / "other" / name).read_bytes()


def test_a_study_is_a_screening_set_with_the_chest_wall_where_it_belongs(easy_study):
    assert {scene.view for scene in easy_study} == SCREENING_SET
    for scene in easy_study:
        left, right = scene.breast[:, :8].mean(), scene.breast[:, -8:].mean()
        assert (left < right) == (scene.view.laterality is Laterality.RIGHT)


def test_a_lesion_has_the_same_specks_in_both_views_at_the_same_depth(easy_study):
    by_view = {scene.view: scene for scene in easy_study}
    for side in (Laterality.RIGHT, Laterality.LEFT):
        cc, mlo = (by_view[View(laterality=side, position=p)] for p in (ViewPosition.CC, ViewPosition.MLO))
        assert [g.morphology for g in cc.groups] == [g.morphology for g in mlo.groups]
        assert len(cc.specks) == len(mlo.specks) > 4
        depths = [
            abs(np.mean([s.center.column for s in scene.specks]) - scene.nipple.column) * scene.spacing_mm
            for scene in (cc, mlo)
        ]
        assert abs(depths[0] - depths[1]) < 5


def test_every_breast_of_an_easy_study_holds_one_easy_cluster_in_both_views(easy_study):
    for scene in easy_study:
        assert [group.easy for group in scene.groups] == [True]
        assert scene.groups[0].suspicious == (scene.view.laterality is Laterality.RIGHT)


def test_truth_lies_where_the_pixels_are_bright(easy_study):
    rng = np.random.default_rng(0)
    for scene in easy_study:
        at_truth = [contrast(scene, speck.center.column, speck.center.row) for speck in scene.specks]
        inside = np.argwhere(scene.breast)[rng.integers(0, scene.breast.sum(), 200)] * 4.0
        elsewhere = [contrast(scene, column, row) for row, column in inside]
        assert np.median(at_truth) > np.quantile(elsewhere, 0.95)


def contrast(scene, column, row):
    """Return how much brighter a 3 x 3 patch is than its surroundings."""
    r, c = (
        int(np.clip(row, 12, scene.pixels.shape[0] - 13)),
        int(np.clip(column, 12, scene.pixels.shape[1] - 13)),
    )
    around = scene.pixels[r - 12 : r + 13, c - 12 : c + 13].astype(float)
    return scene.pixels[r - 1 : r + 2, c - 1 : c + 2].mean() - np.median(around)


def test_texture_and_noise_are_those_of_a_mammogram():
    scenes = [
        make_scene(
            200 + number,
            view=L_CC,
            rows=2304,
            columns=1792,
            lesions=(),
            density=number % 3,
            vendor=VENDORS[number % len(VENDORS)],
        )
        for number in range(5)
    ]
    textures = [measure_texture(scene.pixels, scene.breast, scene.spacing_mm) for scene in scenes]
    for name, (low, high) in {"beta": BETA, "power": POWER, "fall": FALL}.items():
        assert low <= np.median([getattr(texture, name) for texture in textures]) <= high
    noise = np.median([noise_by_brightness(scene.pixels, scene.breast) for scene in scenes], axis=0)
    assert noise[0] < noise[1] < noise[2]


@pytest.mark.validators
@pytest.mark.parametrize("seed", [1, 2, 3, 5])
def test_the_files_are_valid_mammograms_and_name_their_truth(tmp_path, seed):
    write_study(tmp_path, seed=seed, rows=640, columns=512)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["synthetic"] is True
    for image in truth["images"]:
        path = tmp_path / image["file"]
        assert dciodvfy(path) == []
        opened = open_mammogram(path)
        assert opened.sop_instance_uid == image["sop_instance_uid"]
        assert opened.study_instance_uid == truth["study_instance_uid"]
        assert str(opened.view) == f"{image['laterality']} {image['view']}"
        dense_is_high = opened.header.PhotometricInterpretation == "MONOCHROME2"
        assert opened.header.PixelIntensityRelationshipSign == (-1 if dense_is_high else 1)
        for speck in image["specks"]:
            assert 0 <= speck["center"][0] <= opened.columns
            assert 0 <= speck["center"][1] <= opened.rows


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    from mammography.command_line import command_line

    (tmp_path / "mine.txt").write_text("keep")
    done = CliRunner().invoke(command_line(), ["phantom", str(tmp_path)])
    assert done.exit_code == 2
    assert "not an empty folder" in done.output
    assert (tmp_path / "mine.txt").read_text() == "keep"
