"""The measurement of groups sees what was drawn: large dense specks stand out, faint ones do not."""

import numpy as np
from typer.testing import CliRunner

from lab.phantom.fields import generator
from lab.phantom.lesions import plan_lesion
from lab.phantom.presentation import VENDORS
from lab.phantom.scene import make_scene
from lab.phantom.visibility import measured_groups
from mammography.command_line import command_line
from mammography.finding import Morphology
from mammography.view import Laterality, View, ViewPosition

L_CC = View(laterality=Laterality.LEFT, position=ViewPosition.CC)


def test_round_specks_stand_out_and_amorphous_ones_hardly():
    contrasts = {}
    for kind in (Morphology.ROUND, Morphology.AMORPHOUS):
        found = []
        for seed in range(3):
            lesion = plan_lesion(kind, seed, generator(seed, "lesion"), easy=kind is Morphology.ROUND)
            scene = make_scene(
                seed, view=L_CC, rows=768, columns=640, lesions=(lesion,), vendor=VENDORS[0], window=True
            )
            found += list(measured_groups(scene))
        assert {group.morphology for group in found} == {kind}
        contrasts[kind] = np.median([group.contrast for group in found])
    assert contrasts[Morphology.ROUND] > 10
    assert 2 < contrasts[Morphology.AMORPHOUS] < 0.7 * contrasts[Morphology.ROUND]


def test_the_command_prints_a_table():
    done = CliRunner().invoke(command_line(), ["visibility", "--scenes", "3", "--seed", "700"])
    assert done.exit_code == 0, done.output
    assert "median contrast of a group" in done.output
    assert "| morphology | groups |" in done.output
