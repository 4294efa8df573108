"""Each rule of the last look at a measurement report, against the damage that it guards from."""

from collections.abc import Callable, Iterator

import pytest
from pydicom.dataset import Dataset

from mammography.results.check import check
from mammography.results.compose import compose
from mammography.results.composed import ComposedObject
from mammography.results.options import ComposeOptions
from mammography.uid import UidRole, mint
from tests.results.mammograms import L_CC, R_CC, STUDY, assessment, cluster, header_of, image, reading

OTHER = mint(UidRole.PHANTOM, "another image")
HEADERS = [header_of(image(R_CC)), header_of(image(L_CC))]
REGION, TRACKING_UID, GROUP = "111030", "112040", "125007"


@pytest.fixture
def objects() -> list[ComposedObject]:
    """A CAD report, two presentation states, and last a measurement report of two clusters on the right image."""
    findings = (cluster(60, 80), cluster(110, 150))
    return compose(
        headers=HEADERS,
        assessment=assessment(reading(HEADERS[0], *findings), reading(HEADERS[1])),
        study_instance_uid=STUDY,
        revision=1,
        options=ComposeOptions(kinds=frozenset({"cad-sr", "gsps", "tid1500"})),
    )


def items(item: Dataset) -> Iterator[Dataset]:
    """Yield every content item below one, in document order."""
    for child in item.get("ContentSequence", ()):
        yield child
        yield from items(child)


def named(report: Dataset, concept: str) -> list[Dataset]:
    return [each for each in items(report) if concept_of(each) == concept]


def concept_of(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence", ())
    return str(names[0].CodeValue) if names else ""


def without(group: Dataset, concept: str) -> None:
    group.ContentSequence = [each for each in group.ContentSequence if concept_of(each) != concept]


def source_of(region: Dataset) -> Dataset:
    return region.ContentSequence[0].ReferencedSOPSequence[0]


def moved(report: Dataset, columns: float) -> None:
    """Move every coordinate of the first group, so that the group agrees with itself."""
    for each in items(named(report, GROUP)[0]):
        if each.ValueType == "SCOORD":
            numbers = list(each.GraphicData)
            each.GraphicData = [n + columns * (place % 2 == 0) for place, n in enumerate(numbers)]


DAMAGE: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "a region off the image": (
        lambda r: setattr(
            named(r, REGION)[0], "GraphicData", [1.0, 1.0, 161.0, 1.0, 161.0, 9.0, 1.0, 9.0, 1.0, 1.0]
        ),
        "that leave the image",
    ),
    "an open region": (
        lambda r: setattr(named(r, REGION)[0], "GraphicData", [1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 1.0, 9.0]),
        "that is not closed",
    ),
    "half a point": (
        lambda r: setattr(named(r, REGION)[0], "GraphicData", [1.0] * 9),
        "with 9 numbers",
    ),
    "an unknown shape": (
        lambda r: setattr(named(r, REGION)[0], "GraphicType", "MULTIPOINT"),
        "of the type 'MULTIPOINT'",
    ),
    "a region of a foreign image": (
        lambda r: setattr(source_of(named(r, REGION)[0]), "ReferencedSOPInstanceUID", OTHER),
        f"lies on {OTHER}, which is no image of the assessment",
    ),
    "a region of another image than its number's": (
        lambda r: setattr(
            source_of(named(r, REGION)[0]), "ReferencedSOPInstanceUID", str(HEADERS[1].SOPInstanceUID)
        ),
        "has coordinates on different images",
    ),
    "a region of no image": (
        lambda r: delattr(named(r, REGION)[0], "ContentSequence"),
        "that are not selected from one image",
    ),
    "a lesion without a region": (
        lambda r: without(named(r, GROUP)[0], REGION),
        "has 0 image regions, not 1",
    ),
    "a lesion that cannot be tracked": (
        lambda r: without(named(r, GROUP)[0], TRACKING_UID),
        "has no tracking UID",
    ),
    "two lesions by one name": (
        lambda r: setattr(named(r, TRACKING_UID)[1], "UID", named(r, TRACKING_UID)[0].UID),
        "of another group",
    ),
    "another lesion": (
        lambda r: setattr(named(r, TRACKING_UID)[0], "UID", OTHER),
        "Report and measurement reports do not mark the same lesions",
    ),
    "a mark that is shifted": (
        lambda r: moved(r, 0.02),
        "has different outlines in report and measurement report",
    ),
    "evidence that lacks an image": (
        lambda r: r.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence.pop(),
        "which is not in its evidence sequence",
    ),
    "evidence of a foreign image": (
        lambda r: setattr(
            r.CurrentRequestedProcedureEvidenceSequence[0]
            .ReferencedSeriesSequence[0]
            .ReferencedSOPSequence[0],
            "ReferencedSOPInstanceUID",
            OTHER,
        ),
        f"has the evidence {OTHER}, which is no image of the assessment",
    ),
    "another template": (
        lambda r: setattr(r.ContentTemplateSequence[0], "TemplateIdentifier", "4000"),
        "does not name the template 1500",
    ),
    "another title": (
        lambda r: setattr(r.ConceptNameCodeSequence[0], "CodeValue", "126001"),
        "is not titled Imaging Measurement Report",
    ),
    "another patient": (lambda r: setattr(r, "PatientID", "P2"), "PatientID of object"),
}


def test_what_is_whole_has_no_fault(objects):
    assert [each.kind for each in objects] == ["cad-sr", "gsps", "gsps", "tid1500"]
    assert check(objects, HEADERS) == []


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_to_a_measurement_report_is_named(objects, name):
    damage, sentence = DAMAGE[name]
    damage(objects[-1].dataset)
    assert any(sentence in fault for fault in check(objects, HEADERS)), check(objects, HEADERS)


def test_a_mark_that_is_shifted_by_less_than_the_tolerance_is_the_same(objects):
    moved(objects[-1].dataset, 0.005)
    assert check(objects, HEADERS) == []


def test_presentation_states_and_measurement_reports_agree_where_there_is_no_cad_report(objects):
    assert check(objects[1:], HEADERS) == []
    moved(objects[-1].dataset, 0.02)
    assert any(
        "has different outlines in presentation state and measurement report" in fault
        for fault in check(objects[1:], HEADERS)
    )


@pytest.mark.parametrize(
    "options",
    [{"benign": False}, {"tid1500_per_image": True}, {"tid1500": "comprehensive-3d"}, {"scheme": "SRT"}],
    ids=str,
)
def test_what_a_destination_may_ask_for_has_no_fault(options):
    from mammography.finding import FindingAssessment

    findings = (cluster(60, 80), cluster(110, 150, call=FindingAssessment.BENIGN))
    readings = [reading(header, *findings) for header in HEADERS]
    made = compose(
        headers=HEADERS,
        assessment=assessment(*readings),
        study_instance_uid=STUDY,
        revision=1,
        options=ComposeOptions(kinds=frozenset({"cad-sr", "gsps", "tid1500"}), **options),
    )
    assert check(made, HEADERS) == []
