"""Each rule of the last look, against the damage that it guards from."""

from collections.abc import Callable, Iterator

import pytest
from pydicom.dataset import Dataset

from mammography.results import codes
from mammography.results.check import check
from mammography.results.codes import Code
from mammography.results.composed import MAMMOGRAPHY_CAD_SR, ComposedObject
from mammography.results.content import code_dataset
from mammography.results.source import evidence_of
from mammography.results.written_report import WrittenReport
from mammography.uid import UidRole, mint
from tests.results.mammograms import L_CC, R_CC, STUDY, answered, cluster, header_of, image, is_named

OTHER = mint(UidRole.PHANTOM, "another image")
IMAGES = [
    image(
        R_CC,
        PhotometricInterpretation="MONOCHROME1",
        PresentationLUTShape="INVERSE",
        ImagerPixelSpacing=[0.07, 0.0702],
    ),
    image(L_CC),
]


@pytest.fixture
def objects() -> list[ComposedObject]:
    """A report, and the states of a right image with one suspicious cluster and a left image with none."""
    return answered(IMAGES, [(cluster(60, 80),), ()])


def items(report: Dataset, concept: Code) -> Iterator[Dataset]:
    """Yield the content items of a concept in document order."""
    yield from (item for _, item in WrittenReport(report).called(concept))


def first(report: Dataset, concept: Code) -> Dataset:
    return next(items(report, concept))


def drawing(state: Dataset) -> Dataset:
    return state.GraphicAnnotationSequence[0].GraphicObjectSequence[0]


def set_value(item: Dataset, code: Code) -> None:
    item.ConceptCodeSequence = [code_dataset(code)]


def image_by_value() -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "SELECTED FROM", "IMAGE"
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
        IMAGES[0].SOPClassUID,
        IMAGES[0].SOPInstanceUID,
    )
    item.ReferencedSOPSequence = [reference]
    return item


def numbered(item: Dataset, value: str) -> None:
    item.MeasuredValueSequence[0].NumericValue = value


def claim(report: Dataset, concept: Code) -> None:
    item = Dataset()
    item.RelationshipType, item.ValueType = "HAS PROPERTIES", "CODE"
    item.ConceptNameCodeSequence, item.ConceptCodeSequence = (
        [code_dataset(concept)],
        [code_dataset(codes.FAILED)],
    )
    first(report, codes.SINGLE_IMAGE_FINDING).ContentSequence.append(item)


def unlike_center(report: Dataset) -> None:
    first(report, codes.CENTER).ContentSequence[0].ReferencedContentItemIdentifier = [1, 2, 2]


def drop_tracking(report: Dataset) -> None:
    finding = first(report, codes.SINGLE_IMAGE_FINDING)
    finding.ContentSequence = [
        item for item in finding.ContentSequence if not is_named(item, codes.TRACKING_UID)
    ]


def finding_on_unread_image(report: Dataset) -> None:
    first(report, codes.SUCCESSFUL_DETECTIONS).ConceptNameCodeSequence = [
        code_dataset(codes.FAILED_DETECTIONS)
    ]


def forget_last_image(detection: Dataset) -> None:
    *_, last = (each for each in detection.ContentSequence if "ReferencedContentItemIdentifier" in each)
    detection.ContentSequence = [each for each in detection.ContentSequence if each is not last]


def drop(report: Dataset, concept: Code, below: Code | None = None) -> None:
    """Take away the first item of a concept below the root, or below the first item of another."""
    holder = report if below is None else first(report, below)
    gone = next(item for item in holder.ContentSequence if is_named(item, concept))
    holder.ContentSequence = [item for item in holder.ContentSequence if item is not gone]


def replaces(report: Dataset, uid: str, *, study: str = STUDY, sop_class: str = MAMMOGRAPHY_CAD_SR) -> None:
    earlier = Dataset()
    earlier.SOPClassUID, earlier.SOPInstanceUID, earlier.SeriesInstanceUID = sop_class, uid, OTHER
    report.PredecessorDocumentsSequence = [evidence_of([earlier], study)]


def swap_spacing(report: Dataset) -> None:
    numbered(first(report, codes.VERTICAL_PIXEL_SPACING), "0.0702")
    numbered(first(report, codes.HORIZONTAL_PIXEL_SPACING), "0.07")


def drop_evidence(report: Dataset) -> None:
    report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence.pop()


REPORT_DAMAGE: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "a reference into nowhere": (
        lambda r: setattr(
            first(r, codes.OUTLINE).ContentSequence[0], "ReferencedContentItemIdentifier", [1, 2, 9]
        ),
        "points at 1.2.9, which is no image of the library",
    ),
    "a reference to the library itself": (
        lambda r: setattr(
            first(r, codes.OUTLINE).ContentSequence[0], "ReferencedContentItemIdentifier", [1, 2]
        ),
        "points at 1.2, which is no image of the library",
    ),
    "an image by value": (
        lambda r: setattr(first(r, codes.CENTER), "ContentSequence", [image_by_value()]),
        "holds an image by value outside the library",
    ),
    "coordinates selected from nothing": (
        lambda r: delattr(first(r, codes.CENTER), "ContentSequence"),
        "is not selected from an image by reference",
    ),
    "centre and outline on different images": (unlike_center, "lie on different images"),
    "a centre off the image": (
        lambda r: setattr(first(r, codes.CENTER), "GraphicData", [161.0, 80.0]),
        "The centre of finding 1.3.8.2 leaves the image",
    ),
    "a centre outside its outline": (
        lambda r: setattr(first(r, codes.CENTER), "GraphicData", [150.0, 190.0]),
        "lies outside its outline",
    ),
    "no centre": (
        lambda r: setattr(first(r, codes.CENTER), "ConceptNameCodeSequence", [code_dataset(codes.OUTLINE)]),
        "has no centre",
    ),
    "an outline off the image": (
        lambda r: setattr(first(r, codes.OUTLINE), "GraphicData", [0, 0, 161, 0, 161, 200, 0, 200, 0, 0]),
        "The outline of finding 1.3.8.2 leaves the image",
    ),
    "an open outline": (
        lambda r: setattr(first(r, codes.OUTLINE), "GraphicData", [0, 0, 160, 0, 160, 200, 0, 200]),
        "is not closed",
    ),
    "another number of calcifications": (
        lambda r: numbered(first(r, codes.NUMBER_OF_CALCIFICATIONS), "6"),
        "states 6 calcifications and lists 5",
    ),
    "a certainty above certainty": (
        lambda r: numbered(first(r, codes.CERTAINTY_OF_FINDING), "140"),
        "certainty of finding 1.3.8.2 is 140.0 percent",
    ),
    "a cluster that cannot be tracked": (drop_tracking, "has no tracking UID"),
    "a probability of cancer": (
        lambda r: claim(r, codes.PROBABILITY_OF_CANCER),
        "states Probability of cancer",
    ),
    "an assessment category": (lambda r: claim(r, codes.ASSESSMENT_CATEGORY), "states Assessment Category"),
    "a container weaker than its finding": (
        lambda r: set_value(first(r, codes.RENDERING_INTENT), codes.NOT_FOR_PRESENTATION),
        "has a stronger rendering intent",
    ),
    "a summary without the findings": (
        lambda r: set_value(first(r, codes.FINDINGS_SUMMARY), codes.ALL_SUCCEEDED_WITHOUT_FINDINGS),
        "The findings summary is not 'All algorithms succeeded; with findings'",
    ),
    "detections that failed and succeeded": (
        lambda r: set_value(first(r, codes.SUMMARY_OF_DETECTIONS), codes.PARTIALLY_SUCCEEDED),
        "The summary of detections is not 'Succeeded'",
    ),
    "a detection that forgets an image": (
        lambda r: [forget_last_image(item) for item in items(r, codes.DETECTION_PERFORMED)],
        "do not divide the image library",
    ),
    "a finding on an image that was not read": (
        finding_on_unread_image,
        "lies on an image that was not read",
    ),
    "evidence that lacks an image": (drop_evidence, "The evidence sequence is not the set of images"),
    "a library that lacks an image": (
        lambda r: first(r, codes.IMAGE_LIBRARY).ContentSequence.pop(),
        "The image library is not the set of images",
    ),
    "spacings swapped": (swap_spacing, "Vertical Pixel Spacing of library entry 1.2.1 is 0.0702"),
    "another size": (
        lambda r: numbered(first(r, codes.PIXEL_DATA_COLUMNS), "161"),
        "Pixel Data Columns of library entry 1.2.1 is 161",
    ),
    "both breasts by mistake": (
        lambda r: set_value(first(r, codes.IMAGE_LATERALITY), Code("63762007", "SCT", "Both breasts")),
        "Image Laterality of library entry 1.2.1",
    ),
    "an invisible character": (
        lambda r: set_value(
            first(r, codes.SUMMARY_OF_ANALYSES), Code("111225", "DCM", "Not Attempted\u00a0")
        ),
        "which is no clean LO",
    ),
    "an overlong code": (
        lambda r: set_value(first(r, codes.SUMMARY_OF_ANALYSES), Code("1" * 17, "DCM", "Not Attempted")),
        "a code value that is no SH",
    ),
    "no Image Library": (
        lambda r: drop(r, codes.IMAGE_LIBRARY),
        "has 0 items Image Library",
    ),
    "a mass, which is no Single Image Finding": (
        lambda r: set_value(first(r, codes.SINGLE_IMAGE_FINDING), Code("4147007", "SCT", "Mass")),
        "has the value 'Mass', which is not in CID 6014",
    ),
    "a side that is none of a breast": (
        lambda r: set_value(first(r, codes.IMAGE_LATERALITY), Code("24028007", "SCT", "Right")),
        "has the value 'Right', which is not in CID 6022",
    ),
    "a relationship that the IOD forbids": (
        lambda r: setattr(first(r, codes.CENTER), "RelationshipType", "CONTAINS"),
        "has the relationship 'CONTAINS' from CODE to SCOORD",
    ),
    "a reference that may not be one": (
        lambda r: setattr(first(r, codes.CENTER).ContentSequence[0], "RelationshipType", "CONTAINS"),
        "has the relationship 'CONTAINS' from SCOORD to a reference",
    ),
    "a finding without intent": (
        lambda r: drop(r, codes.RENDERING_INTENT, codes.SINGLE_IMAGE_FINDING),
        "Item 1.3.8.2 has no Rendering Intent",
    ),
    "an impression without intent": (
        lambda r: drop(r, codes.RENDERING_INTENT, codes.INDIVIDUAL_IMPRESSION),
        "Item 1.3.8 has no Rendering Intent",
    ),
    "a finding without algorithm": (
        lambda r: drop(r, codes.ALGORITHM_NAME, codes.SINGLE_IMAGE_FINDING),
        "Item 1.3.8.2 has no Algorithm Name",
    ),
    "a detection without algorithm": (
        lambda r: drop(r, codes.ALGORITHM_VERSION, codes.DETECTION_PERFORMED),
        "has no Algorithm Version",
    ),
    "a number of two values": (
        lambda r: first(r, codes.CERTAINTY_OF_FINDING).MeasuredValueSequence.append(
            first(r, codes.CERTAINTY_OF_FINDING).MeasuredValueSequence[0]
        ),
        "is a number without exactly one value and unit",
    ),
    "a code without value": (
        lambda r: setattr(first(r, codes.IMAGE_VIEW), "ConceptCodeSequence", []),
        "Item 1.2.1.2 is a code without exactly one value",
    ),
    "a finding without value": (
        lambda r: delattr(first(r, codes.SINGLE_IMAGE_FINDING), "ConceptCodeSequence"),
        "has a content item that lacks its value",
    ),
    "no evidence": (
        lambda r: delattr(r, "CurrentRequestedProcedureEvidenceSequence"),
        "The evidence sequence is not the set of images",
    ),
    "no template": (
        lambda r: delattr(r, "ContentTemplateSequence"),
        "does not name the template 4000",
    ),
    "no performed procedure step": (
        lambda r: delattr(r, "ReferencedPerformedProcedureStepSequence"),
        "ReferencedPerformedProcedureStepSequence is missing",
    ),
    "an unknown completion": (
        lambda r: setattr(r, "CompletionFlag", "DONE"),
        "CompletionFlag is 'DONE'",
    ),
    "no time": (lambda r: delattr(r, "ContentTime"), "ContentTime is ''"),
    "its own predecessor": (lambda r: replaces(r, r.SOPInstanceUID), "replaces itself"),
    "a predecessor in another study": (
        lambda r: replaces(r, OTHER, study=OTHER),
        "replaces a report of another study",
    ),
    "a predecessor that is no report": (
        lambda r: replaces(r, OTHER, sop_class="1.2.840.10008.5.1.4.1.1.11.1"),
        "replaces an object that is no such report",
    ),
    "another patient": (lambda r: setattr(r, "PatientID", "P2"), "PatientID of object"),
}

STATE_DAMAGE: dict[str, tuple[Callable[[Dataset], None], str]] = {
    "a foreign image": (
        lambda s: setattr(
            s.ReferencedSeriesSequence[0].ReferencedImageSequence[0], "ReferencedSOPInstanceUID", OTHER
        ),
        "does not refer to exactly one image",
    ),
    "another series": (
        lambda s: setattr(s.ReferencedSeriesSequence[0], "SeriesInstanceUID", OTHER),
        "names another series than its image's",
    ),
    "an annotation of a foreign image": (
        lambda s: setattr(
            s.GraphicAnnotationSequence[0].ReferencedImageSequence[0], "ReferencedSOPInstanceUID", OTHER
        ),
        "an item of GraphicAnnotationSequence refers to another image",
    ),
    "an unknown layer": (
        lambda s: setattr(s.GraphicAnnotationSequence[0], "GraphicLayer", "CALCS"),
        "lies on the layer CALCS, which does not exist",
    ),
    "no layers": (lambda s: delattr(s, "GraphicLayerSequence"), "which does not exist"),
    "a wrong number of points": (
        lambda s: setattr(drawing(s), "NumberOfGraphicPoints", 4),
        "states another number of points",
    ),
    "a graphic off the image": (
        lambda s: setattr(drawing(s), "GraphicData", [46, 68, 74, 69, 161, 92, 47, 92, 46, 68]),
        "a graphic leaves the image",
    ),
    "an open graphic": (
        lambda s: setattr(drawing(s), "GraphicData", [46, 68, 74, 69, 75, 92, 47, 92, 46, 69]),
        "an outline is not closed",
    ),
    "display units": (
        lambda s: setattr(drawing(s), "GraphicAnnotationUnits", "DISPLAY"),
        "a graphic is not in pixels",
    ),
    "a label off the image": (
        lambda s: setattr(
            s.GraphicAnnotationSequence[0].TextObjectSequence[0],
            "BoundingBoxBottomRightHandCorner",
            [161, 90],
        ),
        "the text '1 suspicious' leaves the image",
    ),
    "a part of the image": (
        lambda s: setattr(
            s.DisplayedAreaSelectionSequence[0], "DisplayedAreaBottomRightHandCorner", [100, 100]
        ),
        "the displayed area is not the whole image",
    ),
    "a whole slide's attribute": (
        lambda s: setattr(s.DisplayedAreaSelectionSequence[0], "PixelOriginInterpretation", "VOLUME"),
        "Pixel Origin Interpretation",
    ),
    "a flip": (lambda s: setattr(s, "ImageHorizontalFlip", "Y"), "the image is turned"),
    "a turn": (lambda s: setattr(s, "ImageRotation", 90), "the image is turned"),
    "a negative": (
        lambda s: setattr(s, "PresentationLUTShape", "IDENTITY"),
        "the Presentation LUT Shape is not INVERSE",
    ),
    "another window": (
        lambda s: setattr(s.SoftcopyVOILUTSequence[0], "WindowWidth", "400"),
        "the VOI is not the image's",
    ),
    "no VOI": (lambda s: delattr(s, "SoftcopyVOILUTSequence"), "the VOI is not the image's"),
    "the other side": (lambda s: setattr(s, "Laterality", "L"), "the Laterality is 'L', the image's is 'R'"),
    "no side": (lambda s: delattr(s, "Laterality"), "the Laterality is None, the image's is 'R'"),
    "no instance number": (lambda s: delattr(s, "InstanceNumber"), "InstanceNumber is missing"),
    "no displayed area": (
        lambda s: delattr(s, "DisplayedAreaSelectionSequence"),
        "DisplayedAreaSelectionSequence is missing",
    ),
    "no presentation LUT": (
        lambda s: delattr(s, "PresentationLUTShape"),
        "the Presentation LUT Shape is not INVERSE",
    ),
    "a label in small letters": (
        lambda s: setattr(s, "ContentLabel", "mammocalc"),
        "the Content Label is 'mammocalc', which is no CS",
    ),
    "corners of a flipped image": (
        lambda s: (
            setattr(s.DisplayedAreaSelectionSequence[0], "DisplayedAreaTopLeftHandCorner", [160, 1]),
            setattr(s.DisplayedAreaSelectionSequence[0], "DisplayedAreaBottomRightHandCorner", [1, 200]),
        ),
        "the displayed area is not the whole image",
    ),
    "a layer less": (
        lambda s: s.GraphicLayerSequence.pop(),
        "the layers are not those that a radiologist can switch",
    ),
    "an outline without words": (
        lambda s: delattr(s.GraphicAnnotationSequence[0], "TextObjectSequence"),
        "the layer CALC_SUSPICIOUS has 1 outlines and 0 texts",
    ),
    "an outline that cannot be tracked": (
        lambda s: delattr(drawing(s), "TrackingUID"),
        "an outline has no tracking UID",
    ),
    "an outline without points": (
        lambda s: setattr(drawing(s), "GraphicData", []),
        "an outline is not closed",
    ),
    "a graphic that says nothing": (
        lambda s: delattr(drawing(s), "GraphicAnnotationUnits"),
        "lacks what every such object has",
    ),
    "another rescaling": (
        lambda s: setattr(s, "RescaleSlope", 2),
        "the rescaling is (2.0, 0.0), the image's is (1.0, 0.0)",
    ),
    "a modality LUT": (
        lambda s: setattr(s, "ModalityLUTSequence", [Dataset()]),
        "the modality LUT is not the image's",
    ),
    "another modality": (lambda s: setattr(s, "Modality", "MG"), "the Modality is 'MG'"),
    "an outline elsewhere": (
        lambda s: setattr(drawing(s), "GraphicData", [46.02, 68, 74, 69, 75, 92, 47, 92, 46.02, 68]),
        "has different outlines in report and presentation state",
    ),
    "another lesion": (lambda s: setattr(drawing(s), "TrackingUID", OTHER), "do not mark the same lesions"),
    "the benign layer": (
        lambda s: setattr(s.GraphicAnnotationSequence[0], "GraphicLayer", "CALC_BENIGN"),
        "is drawn on CALC_BENIGN, which is not its rendering intent",
    ),
}


def sentences(objects: list[ComposedObject]) -> list[str]:
    return check(objects, [header_of(each) for each in IMAGES])


def test_what_is_whole_has_no_fault(objects):
    assert sentences(objects) == []


@pytest.mark.parametrize("name", REPORT_DAMAGE)
def test_damage_to_the_report_is_named(objects, name):
    damage, sentence = REPORT_DAMAGE[name]
    damage(objects[0].dataset)
    assert any(sentence in fault for fault in sentences(objects)), sentences(objects)


@pytest.mark.parametrize("name", STATE_DAMAGE)
def test_damage_to_a_presentation_state_is_named(objects, name):
    damage, sentence = STATE_DAMAGE[name]
    damage(objects[1].dataset)
    assert any(sentence in fault for fault in sentences(objects)), sentences(objects)


def test_a_missing_presentation_state_is_named(objects):
    assert "There is not one presentation state for each image that was read." in sentences(objects[:-1])


def test_a_lesion_drawn_twice_is_named(objects):
    annotation = objects[1].dataset.GraphicAnnotationSequence[0]
    annotation.GraphicObjectSequence.append(annotation.GraphicObjectSequence[0])
    assert any("is drawn twice" in fault for fault in sentences(objects))


def test_a_mark_of_the_other_image_is_named(objects):
    right, left = (each.dataset for each in objects[1:])
    moved = right.GraphicAnnotationSequence.pop(0)
    moved.ReferencedImageSequence = left.GraphicAnnotationSequence[0].ReferencedImageSequence
    left.GraphicAnnotationSequence.append(moved)
    assert any(
        "lies on different images in report and presentation state" in fault for fault in sentences(objects)
    )


def test_two_reports_are_one_too_many(objects):
    assert "There are 2 reports, not one." in sentences([objects[0], *objects])
