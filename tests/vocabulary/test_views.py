"""A header's laterality and view, as modern and as older objects state them."""

import pytest
from pydicom.dataset import Dataset

from mammography.view import SCREENING_SET, VIEW_CODES, Laterality, View, ViewModifier, ViewPosition, view_of


def header(code=None, modifiers=(), **attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if code:
        item = Dataset()
        item.CodeValue = code
        item.ViewModifierCodeSequence = []
        for value in modifiers:
            modifier = Dataset()
            modifier.CodeValue = value
            item.ViewModifierCodeSequence.append(modifier)
        dataset.ViewCodeSequence = [item]
    return dataset


@pytest.mark.parametrize("position", VIEW_CODES)
def test_both_code_schemes_name_the_same_view(position):
    sct, srt, _ = VIEW_CODES[position]
    expected = View(laterality=Laterality.LEFT, position=position)
    assert view_of(header(sct, ImageLaterality="L")) == expected
    assert view_of(header(srt, ImageLaterality="L")) == expected


def test_an_older_object_states_it_in_plain_attributes():
    assert view_of(header(Laterality="R", ViewPosition="MLO")) == View(
        laterality=Laterality.RIGHT, position=ViewPosition.MLO
    )


def test_the_code_wins_over_the_plain_attribute():
    stated = view_of(header("399162004", ImageLaterality="R", ViewPosition="MLO"))
    assert stated.position is ViewPosition.CC


def test_a_view_that_is_not_stated_is_none():
    assert view_of(header(ImageLaterality="R")) is None
    assert view_of(header("399162004")) is None
    assert view_of(header("0815", ImageLaterality="R")) is None


def test_modifiers_are_kept_and_unknown_ones_are_other():
    view = view_of(header("399162004", ["399163009", "999"], ImageLaterality="R"))
    assert view.modifiers == {ViewModifier.MAGNIFICATION, ViewModifier.OTHER}
    assert view not in SCREENING_SET


def test_codes_are_those_of_the_standard():
    from pydicom.sr.codedict import codes

    published = {concept.value for concept in codes.cid4014.concepts.values()}
    assert {sct for sct, _, _ in VIEW_CODES.values()} <= published
