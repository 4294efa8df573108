"""What destinations may ask for: other kinds of objects, another signature; and what UIDs that gives."""

import pytest

from mammography.results.compose import InvalidResult, compose
from mammography.results.options import USUAL, ComposeOptions
from tests.results.mammograms import (
    STUDY,
    TWO_VIEWS,
    assessment,
    header_of,
    reading,
    screening_images,
)

HEADERS = [header_of(each) for each in screening_images()]
EVERY_REPORT = frozenset({"cad-sr", "gsps", "tid1500"})


def answer(options=USUAL, findings=TWO_VIEWS):
    readings = [reading(header, *found) for header, found in zip(HEADERS, findings, strict=True)]
    return compose(
        headers=HEADERS,
        assessment=assessment(*readings),
        study_instance_uid=STUDY,
        revision=1,
        options=options,
    )


def uids(objects):
    return {each.sop_instance_uid for each in objects}


def series(objects):
    return {str(each.dataset.SeriesInstanceUID) for each in objects}


@pytest.mark.parametrize("kind", sorted(EVERY_REPORT))
def test_only_the_kinds_that_are_wanted_are_returned(kind):
    objects = answer(ComposeOptions(kinds=frozenset({kind})))
    assert {each.kind for each in objects} == {kind}
    everything = answer(ComposeOptions(kinds=EVERY_REPORT))
    assert uids(objects) == uids(each for each in everything if each.kind == kind)


def test_another_manufacturer_signs_other_objects():
    usual, other = (
        answer(ComposeOptions(kinds=EVERY_REPORT, manufacturer=name)) for name in (None, "Somebody Else")
    )
    assert {each.dataset.Manufacturer for each in other} == {"Somebody Else"}
    assert not uids(usual) & uids(other)
    assert not series(usual) & series(other)
    for each in other:
        assert each.dataset.file_meta.MediaStorageSOPInstanceUID == each.dataset.SOPInstanceUID
        assert each.sop_instance_uid == each.dataset.SOPInstanceUID


def test_an_object_that_shows_no_difference_stays_the_same_object():
    usual, other = (answer(ComposeOptions(kinds=EVERY_REPORT, tid1500=form)) for form in
                    ("comprehensive", "comprehensive-3d"))  # fmt: skip
    same = uids(usual) & uids(other)
    assert {each.kind for each in usual if each.sop_instance_uid in same} == {"cad-sr", "gsps"}
    by_uid = {each.sop_instance_uid: each.encode() for each in usual}
    assert all(
        by_uid[each.sop_instance_uid] == each.encode() for each in other if each.sop_instance_uid in same
    )


def test_pictures_without_images_are_refused_in_a_sentence():
    with pytest.raises(InvalidResult, match="nothing opens the images"):
        answer(ComposeOptions(kinds=frozenset({"picture"})))
