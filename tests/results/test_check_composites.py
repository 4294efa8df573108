"""The last look at lesions of two views, at analyses, operating points, and at what is not to be shown."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from mammography.finding import Assessment, Correspondence, FindingAssessment, FindingPlace
from mammography.results import codes
from mammography.results.check import check
from mammography.results.codes import Code
from mammography.results.compose import compose
from mammography.results.composed import ComposedObject
from mammography.results.content import code_dataset
from mammography.results.options import ComposeOptions
from mammography.results.written_report import WrittenReport
from tests.results.mammograms import (
    STUDY,
    assessment,
    cluster,
    header_of,
    is_named,
    reading,
    screening_images,
)

HEADERS = [header_of(each) for each in screening_images()]
BENIGN = cluster(110, 150, call=FindingAssessment.BENIGN)


def matched() -> Assessment:
    """Return one lesion in R CC and R MLO, and a benign cluster in L CC."""
    findings = ((cluster(60, 80),), (BENIGN,), (cluster(70, 90),), ())
    made = assessment(*(reading(h, *f) for h, f in zip(HEADERS, findings, strict=True)))
    pair = Correspondence(first=FindingPlace(0, 0), second=FindingPlace(2, 0), score=0.8)
    return replace(made, correspondences=(pair,))


def composed(**options: object) -> list[ComposedObject]:
    return compose(
        headers=HEADERS,
        assessment=matched(),
        study_instance_uid=STUDY,
        revision=1,
        options=ComposeOptions(**options),
    )


@pytest.fixture
def objects() -> list[ComposedObject]:
    return composed()


def all_of(report: Dataset, concept: Code) -> list[Dataset]:
    return [item for _, item in WrittenReport(report).called(concept)]


def child(item: Dataset, concept: Code) -> Dataset:
    return next(each for each in item.ContentSequence if is_named(each, concept))


def composite(report: Dataset) -> Dataset:
    return all_of(report, codes.COMPOSITE_FEATURE)[0]


def value(item: Dataset, code: Code) -> None:
    item.ConceptCodeSequence = [code_dataset(code)]


def number(item: Dataset, text: str) -> None:
    item.MeasuredValueSequence[0].NumericValue = text


def drop_a_part(report: Dataset) -> None:
    whole = composite(report)
    parts = [each for each in whole.ContentSequence if is_named(each, codes.SINGLE_IMAGE_FINDING)]
    whole.ContentSequence = [each for each in whole.ContentSequence if each is not parts[1]]


def one_name(report: Dataset) -> None:
    first, second = [
        each for each in composite(report).ContentSequence if is_named(each, codes.SINGLE_IMAGE_FINDING)
    ]
    child(second, codes.TRACKING_UID).UID = child(first, codes.TRACKING_UID).UID


def analysis_images(report: Dataset) -> list[Dataset]:
    (analysis,) = all_of(report, codes.ANALYSIS_PERFORMED)[:1]
    return [each for each in analysis.ContentSequence if "ReferencedContentItemIdentifier" in each]


def other_images(report: Dataset) -> None:
    for analysis in all_of(report, codes.ANALYSIS_PERFORMED):
        references = [each for each in analysis.ContentSequence if "ReferencedContentItemIdentifier" in each]
        for each, place in zip(references, (2, 4), strict=True):
            each.ReferencedContentItemIdentifier = [1, 2, place]


DAMAGE: dict[str, tuple[Callable[[Dataset], object], str]] = {
    "a lesion of one view": (drop_a_part, "is not made of two findings or more"),
    "a lesion of two breasts": (
        lambda r: value(all_of(r, codes.IMAGE_LATERALITY)[2], Code("80248007", "SCT", "Left breast")),
        "joins findings of different breasts",
    ),
    "a lesion twice in one view": (
        lambda r: value(all_of(r, codes.IMAGE_VIEW)[2], Code("399162004", "SCT", "cranio-caudal")),
        "joins findings of the same view",
    ),
    "a lesion weaker than its parts": (
        lambda r: value(child(composite(r), codes.RENDERING_INTENT), codes.PRESENTATION_OPTIONAL),
        "has not the rendering intent of its strongest part",
    ),
    "a lesion without an intent": (
        lambda r: setattr(
            composite(r),
            "ContentSequence",
            [each for each in composite(r).ContentSequence if not is_named(each, codes.RENDERING_INTENT)],
        ),
        "has no Rendering Intent",
    ),
    "a certainty above certainty": (
        lambda r: number(all_of(r, codes.CERTAINTY_OF_FEATURE)[0], "140"),
        "is 140 percent",
    ),
    "two findings by one name": (one_name, "names two lesions"),
    "analyses that nobody attempted": (
        lambda r: value(all_of(r, codes.SUMMARY_OF_ANALYSES)[0], codes.NOT_ATTEMPTED),
        "The summary of analyses is not",
    ),
    "an analysis of one image": (
        lambda r: setattr(analysis_images(r)[1], "ReferencedContentItemIdentifier", [1, 2, 1]),
        "names fewer than two images",
    ),
    "an analysis of other images": (other_images, "follows from no analysis that succeeded"),
    "an analysis that is none": (
        lambda r: value(all_of(r, codes.ANALYSIS_PERFORMED)[0], codes.CALCIFICATION_CLUSTER),
        "which is not in CID 6043",
    ),
    "two schemes": (
        lambda r: value(all_of(r, codes.IMAGE_LATERALITY)[0], Code("T-04020", "SRT", "Right breast")),
        "mixes SNOMED CT with the codes that it replaced",
    ),
}


def test_what_is_whole_has_no_fault(objects):
    assert len(all_of(objects[0].dataset, codes.COMPOSITE_FEATURE)) == 1
    assert check(objects, HEADERS) == []


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(objects, name):
    damage, sentence = DAMAGE[name]
    damage(objects[0].dataset)
    assert any(sentence in fault for fault in check(objects, HEADERS)), check(objects, HEADERS)


def test_what_is_not_for_presentation_is_drawn_nowhere(objects):
    hidden = composed(benign=False)
    assert check(hidden, HEADERS) == []
    assert "Report and presentation states do not mark the same lesions." in check(
        [hidden[0], *objects[1:]], HEADERS
    )


def test_the_same_study_has_no_fault_in_legacy_codes():
    assert check(composed(scheme="SRT"), HEADERS) == []
