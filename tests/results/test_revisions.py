"""A late image makes a new answer, and the old one can be told from it in every list."""

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset

from mammography.results.compose import compose
from mammography.results.composed import ComposedObject, Predecessor
from mammography.results.options import ComposeOptions
from tests.results.mammograms import (
    STUDY,
    TWO_VIEWS,
    answered,
    assessment,
    header_of,
    reading,
    screening_images,
)

IMAGES = screening_images()


def revised(revision: int = 2) -> list[ComposedObject]:
    """Return a later answer to the same study; its first one had no L MLO yet."""
    headers = [header_of(each) for each in IMAGES]
    return compose(
        headers=headers,
        assessment=assessment(*(reading(h, *f) for h, f in zip(headers, TWO_VIEWS, strict=True))),
        study_instance_uid=STUDY,
        revision=revision,
        predecessor=Predecessor.of(first_answer()[0].dataset),
        options=ComposeOptions(kinds=frozenset({"cad-sr", "gsps", "tid1500"})),
    )


def first_answer() -> list[ComposedObject]:
    return answered(IMAGES[:3], TWO_VIEWS[:3])


def read_back(objects: list[ComposedObject]) -> list[Dataset]:
    return [pydicom.dcmread(BytesIO(each.encode())) for each in objects]


def notice(state: Dataset) -> str:
    return state.GraphicAnnotationSequence[-1].TextObjectSequence[0].UnformattedTextValue


def test_the_new_report_names_the_one_that_it_replaces():
    earlier, later = read_back(first_answer())[0], read_back(revised())[0]
    (study,) = later.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert (
        study.StudyInstanceUID,
        series.SeriesInstanceUID,
        reference.ReferencedSOPClassUID,
        reference.ReferencedSOPInstanceUID,
    ) == (STUDY, earlier.SeriesInstanceUID, earlier.SOPClassUID, earlier.SOPInstanceUID)


def test_the_first_report_replaces_none():
    assert "PredecessorDocumentsSequence" not in read_back(first_answer())[0]


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"])
def test_no_object_of_one_revision_has_a_place_of_another(keyword):
    old, new = ({str(each[keyword].value) for each in read_back(o)} for o in (first_answer(), revised()))
    assert not old & new


def test_a_list_of_series_tells_later_revisions():
    told = {each.SeriesDescription.partition(" rev 2 - ")[0] for each in read_back(revised())}
    assert told == {"Mammocalc CAD SR", "Mammocalc marks R", "Mammocalc marks L", "Mammocalc findings"}
    assert all(" rev 2 - not for diagnosis" in each.SeriesDescription for each in read_back(revised()))
    assert not any(" rev " in each.SeriesDescription for each in read_back(first_answer()))


def test_a_series_description_holds_any_revision():
    assert all(len(each.SeriesDescription) <= 64 for each in read_back(revised(120)))


def test_later_marks_say_on_the_image_and_in_the_menu_which_revision_they_are():
    states = [each for each in read_back(revised()) if each.Modality == "PR"]
    assert {notice(state).rpartition(", ")[2] for state in states} == {"revision 2"}
    assert {state.ContentDescription for state in states} == {"Revision 2, marked by Mammocalc reader 1"}
    (_, *states) = read_back(first_answer())
    assert not any("revision" in notice(state) for state in states)
    assert {state.ContentDescription for state in states} == {"Marked by Mammocalc reader 1"}


def test_the_same_input_rebuilds_the_same_bytes():
    assert [each.encode() for each in revised()] == [each.encode() for each in revised()]
