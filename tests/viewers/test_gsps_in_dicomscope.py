"""The presentation states in DICOMscope: the picture stays as it is, but for outlines and texts in their places."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.viewers.delivered import image_of
from tests.viewers.dicomscope import JAR, LIBRARIES, Asked, drawn
from tests.viewers.pictures import Hung, complaints
from tests.viewers.shown_study import Outline, otherwise

pytestmark = [pytest.mark.validators, pytest.mark.slow, pytest.mark.timeout(300)]

IMAGE_PIXELS = 1.0
AS_THE_IMAGE = Hung(1.0, 0.0, 0.0)


@pytest.fixture
def seen(shown_study, tmp_path, dicomscope):
    """Return what is wrong with the marks of views beside outlines, for each of several states."""

    def judged(*asked: tuple[str, Path, str | None, Sequence[Outline]]) -> list[list[str]]:
        views = sorted({view for view, *_ in asked})
        wanted = [Asked(shown_study.files[view], state, layer) for view, state, layer, _ in asked]
        pictures = drawn([*wanted, *(Asked(shown_study.files[view]) for view in views)], tmp_path / "drawn")
        plain = dict(zip(views, pictures[len(asked) :], strict=True))
        return [
            complaints(
                without_texts((picture != plain[view]).any(axis=2), state, layer),
                AS_THE_IMAGE,
                outlines,
                tolerance=IMAGE_PIXELS,
            )
            for (view, state, layer, outlines), picture in zip(asked, pictures[: len(asked)], strict=True)
        ]

    return judged


@pytest.fixture(scope="module")
def dicomscope():
    if not JAR.exists() or not LIBRARIES:
        pytest.skip("DICOMscope is not installed: `apt-get install dicomscope` brings it.")
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed: `apt-get install default-jdk-headless` brings it.")


def without_texts(changed: np.ndarray, state: Path, layer_off: str | None) -> np.ndarray:
    """Return changed pixels but for those in the boxes of texts that are to be drawn, which must not be empty."""
    left = changed.copy()
    for annotation in pydicom.dcmread(state).GraphicAnnotationSequence:
        for text in annotation.TextObjectSequence if annotation.GraphicLayer != layer_off else ():
            left_edge, top = np.floor(text.BoundingBoxTopLeftHandCorner).astype(int) - 1
            right_edge, bottom = np.ceil(text.BoundingBoxBottomRightHandCorner).astype(int) + 1
            box = left[top:bottom, left_edge:right_edge]
            assert box.any(), f"{text.UnformattedTextValue!r} is not drawn."
            box[:] = False
    return left


def by_view(study, states: list[Path]) -> dict[str, Path]:
    """Return the presentation state of each view."""
    return {study.view_of(image_of(pydicom.dcmread(state))): state for state in states}


def test_what_the_node_delivers_lies_on_the_pixel_and_a_layer_that_is_off_takes_its_own_with_it(
    shown_study, delivered, seen, tmp_path
):
    composed = by_view(shown_study, shown_study.answer(tmp_path / "answer", "gsps"))
    wrong = otherwise(shown_study.assessment, shifts={"R CC": 3.0}, left_out=["R MLO"])
    others = by_view(
        shown_study, shown_study.answer(tmp_path / "wrong", "gsps", assessment=wrong, benign=False)
    )
    outlines = shown_study.outlines
    assert all(delivered.outlines.values())
    said = seen(
        *((view, state, None, delivered.outlines[view]) for view, state in delivered.states.items()),
        *((view, state, None, outlines[view]) for view, state in composed.items()),
        *((view, others[view], None, outlines[view]) for view in ("R CC", "R MLO", "L MLO")),
        ("L MLO", composed["L MLO"], "CALC_BENIGN", outlines["L MLO"]),
    )
    nothing = ["Outline 1 is not drawn."]
    assert said[:8] == [[]] * 8
    shifted, left_out, not_shown, layer_off = said[8:]
    assert shifted, "A mark that lies 3 pixels off is not noticed."
    assert left_out == not_shown == layer_off == nothing
