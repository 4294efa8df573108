from collections.abc import Iterator

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from mammography.finding import Distribution, Morphology
from mammography.results import codes
from mammography.results.codes import Code
from mammography.view import ViewPosition


def all_codes() -> Iterator[Code]:
    for value in vars(codes).values():
        if isinstance(value, Code):
            yield value
        elif isinstance(value, dict):
            yield from (code for code in value.values() if isinstance(code, Code))


IN_PYDICOM = sorted({code for code in all_codes() if code.scheme in {"DCM", "SCT"}})

WORDING_OF_CID_4014 = {"399260004": "medial-lateral", "399196006": "caudo-cranial"}
"""Where pydicom has the wording of another group, for meanings that CID 4014 words as we do."""


def meanings(scheme: str, value: str) -> set[str]:
    """Return the meanings that pydicom's dictionary, made from PS3.16, has for a code."""
    return {entry[value][0].replace("\u200b", "") for entry in concepts[scheme].values() if value in entry}


@pytest.mark.parametrize("code", IN_PYDICOM, ids=lambda code: code.value)
def test_a_code_means_what_the_standard_says(code):
    known = {meaning.casefold() for meaning in meanings(code.scheme, code.value)}
    assert WORDING_OF_CID_4014.get(code.value, code.meaning.casefold()) in known


@pytest.mark.parametrize("code", sorted(set(all_codes())), ids=lambda code: code.value)
def test_a_code_fits_its_attributes(code):
    assert 0 < len(code.value) <= 16
    assert 0 < len(code.meaning) <= 64
    assert code.meaning.isascii()


def in_context_group(cid: int, code: Code) -> bool:
    return any(
        code.value in concepts[code.scheme].get(keyword, ())
        for keyword in cid_concepts[cid].get(code.scheme, ())
    )


@pytest.mark.parametrize(
    ("cid", "group"),
    [
        (6010, [*codes.TYPES.values(), codes.MICROCALCIFICATIONS]),
        (6012, codes.DISTRIBUTIONS.values()),
        (6014, [codes.CALCIFICATION_CLUSTER, codes.INDIVIDUAL_CALCIFICATION]),
        (6022, codes.SIDES.values()),
        (4014, codes.VIEWS.values()),
        (4015, codes.VIEW_MODIFIERS.values()),
        (6034, [codes.PRESENTATION_REQUIRED, codes.PRESENTATION_OPTIONAL, codes.NOT_FOR_PRESENTATION]),
        (6042, [codes.SUCCEEDED, codes.PARTIALLY_SUCCEEDED, codes.FAILED, codes.NOT_ATTEMPTED]),
        (7470, [codes.DIAMETER]),
        (6014, [codes.NON_LESION]),
        (6035, [codes.RELATED_SPATIALLY]),
        (6036, [codes.ON_MULTIPLE_IMAGES]),
        (6040, codes.OBJECT_TYPES.values()),
        (6043, [codes.SPATIAL_COLLOCATION]),
    ],
)
def test_codes_stand_in_their_context_group(cid, group):
    assert [code for code in group if not in_context_group(cid, code)] == []


def test_every_morphology_distribution_and_view_has_its_own_code():
    assert set(codes.TYPES) == set(Morphology)
    assert set(codes.DISTRIBUTIONS) == set(Distribution)
    assert set(codes.VIEWS) == set(ViewPosition)
    for table in (codes.TYPES, codes.DISTRIBUTIONS, codes.VIEWS):
        assert len(set(table.values())) == len(table)


def test_legacy_view_modifiers_become_the_snomed_ct_ones():
    assert codes.VIEW_MODIFIERS["R-102D5"] == codes.VIEW_MODIFIERS["399209000"]
    assert codes.VIEW_MODIFIERS["R-102D5"].scheme == "SCT"


@pytest.mark.parametrize(
    "code", sorted({code for code in all_codes() if code.scheme == "SCT"}), ids=lambda code: code.value
)
def test_every_snomed_ct_code_has_the_legacy_value_that_the_standard_maps_it_to(code):
    legacy = codes.in_scheme(code, "SRT")
    assert (legacy.scheme, legacy.value) == ("SRT", mapping["SCT"][code.value])
    assert legacy.meaning == code.meaning
    assert codes.current(legacy.value, "SRT") == (code.value, "SCT")
    assert codes.in_scheme(code, "SCT") == code


def test_codes_of_other_schemes_have_no_legacy_value():
    assert codes.in_scheme(codes.CAD_REPORT, "SRT") == codes.CAD_REPORT
    assert codes.current("111036", "DCM") == ("111036", "DCM")
