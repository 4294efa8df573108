"""The TID 1500 report in OHIF: it becomes measurements by itself, each drawn on its own image."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lab.demo.free_ports import free_port
from lab.demo.orthanc import orthanc_program
from tests.dicomweb import PLUGIN, PacsWithDicomWeb
from tests.viewers import ohif
from tests.viewers.browser import Page, page
from tests.viewers.delivered import MODALITY, store
from tests.viewers.pictures import hung, lacking, squares_in
from tests.viewers.shown_study import COLUMNS, ROWS, Outline, otherwise, squares_of

pytestmark = [pytest.mark.orthanc, pytest.mark.slow, pytest.mark.timeout(600)]

SCREEN_PIXELS = 2.0
MEASUREMENTS = "window.services.measurementService.getMeasurements()"
SHOWN_IMAGE = (
    "window.cornerstone.getRenderingEngines().flatMap(each => each.getViewports())[0].getCurrentImageId()"
)


@pytest.fixture(scope="module")
def chromium() -> str:
    if not ohif.BUILT.exists():
        pytest.skip(
            f"OHIF {ohif.VERSION} is not there: tests/install-servers brings it where npm is installed."
        )
    if orthanc_program() is None or not PLUGIN.exists():
        pytest.skip("`apt-get install orthanc orthanc-dicomweb` brings what OHIF asks for images.")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Debian's chromium is not installed: `apt-get install chromium` brings it.")
    return found


@pytest.fixture
def hydrated(shown_study, tmp_path, chromium):
    """Return the pictures of the images that a report's measurements lead to, each with the view that it is of."""

    def opened(pacs: PacsWithDicomWeb, report: Path, *files: Path) -> list[tuple[str, np.ndarray]]:
        stated = pydicom.dcmread(report)
        with pacs, ohif.served(pacs.url) as address, page(chromium, tmp_path / "browser") as browser:
            if files:
                store(files, called=pacs.ae_title, port=pacs.dicom_port)
            browser.command(
                "Page.navigate",
                url=f"{address}/viewer?StudyInstanceUIDs={stated.StudyInstanceUID}"
                f"&initialSeriesInstanceUID={stated.SeriesInstanceUID}",
            )
            count = browser.until(f"{MEASUREMENTS}.length")
            browser.click("[data-cy='trackedMeasurements-btn']")
            # whoever asks for another image before the first is drawn gets one outside the window, and keeps it
            browser.picture_that(shows_an_image)
            return [photographed(browser, row, shown_study) for row in range(count)]

    return opened


def photographed(browser: Page, row: int, study) -> tuple[str, np.ndarray]:
    """Click on a row of the table of measurements, and return which image is then shown, and its picture."""
    browser.click(f"[data-cy='measurement-table-row-{row}'] [data-cy='data-row-title']")
    browser.until(f"{SHOWN_IMAGE} === {MEASUREMENTS}[{row}].referencedImageId")
    picture = browser.picture_that(lambda each: shows_an_image(each) and bool(strokes(each).any()))
    image = browser.evaluate(SHOWN_IMAGE)
    view = next(name for name, each in study.images.items() if f"/{each.SOPInstanceUID}/" in image)
    return view, picture


def shows_an_image(picture: np.ndarray) -> bool:
    """Return whether all four squares of an image are seen."""
    return len(squares_in(picture)) == 4


def strokes(picture: np.ndarray) -> np.ndarray:
    """Return where OHIF has drawn: its colour for measurements is green."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (green > 150) & (blue < 110) & (red < 110)


def box_around(outline: Outline, *, shifted: float = 0.0) -> Outline:
    """Return the box around an outline, which is the shape that OHIF takes for a measurement of its own."""
    (left, top), (right, bottom) = np.min(outline, axis=0) + shifted, np.max(outline, axis=0) + shifted
    return (left, top), (right, top), (right, bottom), (left, bottom)


def complaints(
    picture: np.ndarray, outlines: tuple[Outline, ...], *, expected_off_by: float = 0.0
) -> list[str]:
    """Return what is wrong with the boxes on an image."""
    boxes = [box_around(outline, shifted=expected_off_by) for outline in outlines]
    return lacking(strokes(picture), hung(picture, squares_of(COLUMNS, ROWS)), boxes, tolerance=SCREEN_PIXELS)


def as_many(outlines: Mapping[str, tuple[Outline, ...]]) -> list[str]:
    """Return the view of each outline, sorted."""
    return sorted(view for view, each in outlines.items() for _ in each)


def test_every_finding_that_the_node_delivers_becomes_a_measurement_on_its_image(delivered, hydrated):
    pacs = PacsWithDicomWeb(folder=delivered.pacs)
    pictures = hydrated(pacs, delivered.measurements)
    assert sorted(view for view, _ in pictures) == as_many(delivered.outlines)
    assert len({view for view, _ in pictures}) > 2
    for view, picture in pictures:
        assert complaints(picture, delivered.outlines[view]) == []
        for pixels in (-15.0, 15.0):
            assert complaints(picture, delivered.outlines[view], expected_off_by=pixels)


def test_a_shifted_mark_is_noticed_and_what_is_not_shown_becomes_no_measurement(
    shown_study, hydrated, tmp_path
):
    wrong = otherwise(shown_study.assessment, shifts={"R CC": 15.0}, left_out=["R MLO"])
    objects = shown_study.answer(
        tmp_path / "answer", "cad-sr", "gsps", "tid1500", assessment=wrong, benign=False
    )
    (report,) = (file for file in objects if file.name.startswith("tid1500"))
    pacs = PacsWithDicomWeb(folder=tmp_path / "pacs", modalities={MODALITY: free_port()})
    ((view, picture),) = hydrated(pacs, report, *shown_study.files.values(), *objects)
    assert view == "R CC"
    assert complaints(picture, shown_study.outlines[view]), "A mark that lies 15 pixels off is not noticed."
