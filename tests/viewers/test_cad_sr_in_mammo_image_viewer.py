"""The Mammography CAD SR in PixelMed's MammoImageViewer: which marks it draws, and where."""

import shutil

import pytest

from tests.judges import JARS
from tests.viewers.mammo_image_viewer import shown_with, yellow
from tests.viewers.pictures import complaints, hung
from tests.viewers.shown_study import COLUMNS, ROWS, otherwise, squares_of

pytestmark = [pytest.mark.validators, pytest.mark.slow, pytest.mark.timeout(300)]

SCREEN_PIXELS = 3.0


@pytest.fixture
def seen(shown_study, tmp_path, mammo_image_viewer):
    """Return what is wrong with the marks of each view that a report draws, beside these outlines."""

    def judged(report, outlines) -> dict[str, list[str]]:
        pictures = shown_with(report, list(shown_study.files.values()), tmp_path / "screen")
        return {
            view: complaints(
                yellow(picture),
                hung(picture, squares_of(COLUMNS, ROWS)),
                outlines[view],
                tolerance=SCREEN_PIXELS,
                filled=True,
            )
            for view, picture in pictures.items()
        }

    return judged


@pytest.fixture(scope="module")
def mammo_image_viewer():
    for program, package in (("Xvfb", "xvfb"), ("java", "default-jre")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: `apt-get install {package}` brings it.")
    missing = [jar.name for jar in JARS if not jar.exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: `apt-get install libpixelmed-java` brings it.")


def test_every_finding_that_the_node_delivers_is_drawn_where_it_lies(delivered, seen):
    assert all(delivered.outlines.values())
    assert seen(delivered.report, delivered.outlines) == {"R MLO": [], "L MLO": [], "R CC": [], "L CC": []}


def test_a_shifted_mark_a_missing_one_and_one_not_for_presentation_are_noticed(shown_study, seen, tmp_path):
    assert [len(shown_study.outlines[view]) for view in ("R CC", "R MLO", "L CC", "L MLO")] == [1, 1, 0, 1]
    wrong = otherwise(shown_study.assessment, shifts={"R CC": 15.0}, left_out=["R MLO"])
    (report,) = shown_study.answer(tmp_path / "answer", "cad-sr", assessment=wrong, benign=False)
    said = seen(report, shown_study.outlines)
    nothing = "Outline 1 is not drawn."
    assert said["R CC"], "A mark that lies 15 pixels off is not noticed."
    assert said["R MLO"] == [nothing]
    assert said["L MLO"] == [nothing], "A finding that is not for presentation is drawn."
    assert said["L CC"] == [], "What is no lesion is drawn."
