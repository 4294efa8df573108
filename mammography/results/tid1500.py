"""The measurement report: TID 1500 for viewers and consumers of AI results that know no Mammography CAD SR.

Its shape is what OHIF turns into marks on all images at once: each finding is one planar region (TID 1410), a
closed box of five points, and its certainty is inferred from coordinates of its own. Tracking identifiers are
those of the CAD SR and the presentation states. The content is highdicom's; the header is ours, so that patient
and study stay the bytes that the images have.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.finding import Assessment, FindingAssessment
from mammography.results import codes
from mammography.results.codes import Code
from mammography.results.composed import ComposedObject, finished
from mammography.results.content import Item, Relationship, Section, code_dataset, document_content
from mammography.results.image_library import library_entry, side_of
from mammography.results.marks import AnsweredImage, Mark, shown
from mammography.results.options import ComposeOptions, Template1500
from mammography.results.source import (
    MANUFACTURER,
    MODEL_NAME,
    add_creation,
    add_equipment,
    evidence_of,
    identity_of,
    local_date_and_time,
    plain,
    requests_of,
    required,
    series_description,
)
from mammography.results.text import impression
from mammography.uid import UidRole, mint
from mammography.view import Laterality

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        CodedConcept,
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
    )

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SOP_CLASSES: dict[Template1500, str] = {
    "comprehensive": COMPREHENSIVE_SR,
    "comprehensive-3d": COMPREHENSIVE_3D_SR,
}
SERIES_NUMBER = 9905
"""Of the first revision's report; each revision adds ten."""

_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
_IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
_BREAST = Code("76752008", "SCT", "Breast")
_SIDES = {
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
    Laterality.BOTH: Code("51440002", "SCT", "Right and left"),
}
_ABSENT, _PRESENT = Code("2667000", "SCT", "Absent"), Code("52101004", "SCT", "Present")
_UNDETERMINED = Code("373068000", "SCT", "Undetermined")


def compose_tid1500(
    images: Sequence[AnsweredImage],
    assessment: Assessment,
    *,
    study_instance_uid: str,
    revision: int,
    options: ComposeOptions,
) -> list[ComposedObject]:
    """Return one report on a study's images, or one for each image that was read, as `options` say.

    `images` have all their marks; those that `options` do not show are left out here. SNOMED CT stays whatever
    scheme is asked for: who reads TID 1500 knows no other.
    """
    words = impression(images, assessment.reader)
    if not options.benign:
        words = f"{words} Findings that are called benign are not marked here."
    one_by_one = options.tid1500_per_image and any(image.read for image in images)
    reports = []
    for image in images if one_by_one else images[:1]:
        if one_by_one and not image.read:
            continue
        part = [image] if one_by_one else images
        identity = [study_instance_uid, str(revision), assessment.reader.weights_sha256]
        if one_by_one:
            identity.append(image.reading.sop_instance_uid)
        dataset = _header(part, assessment, study_instance_uid, options)
        dataset.SOPInstanceUID = mint(UidRole.TID1500, *identity)
        dataset.SeriesInstanceUID = mint(UidRole.TID1500_SERIES, *identity)
        dataset.SeriesNumber = SERIES_NUMBER + 10 * (revision - 1)
        dataset.SeriesDescription = series_description("Mammocalc findings", revision)
        dataset.InstanceNumber = revision
        dataset.update(_content(part, assessment, options, words))
        reports.append(finished("tid1500", dataset))
    return reports


def _header(
    images: Sequence[AnsweredImage], assessment: Assessment, study_instance_uid: str, options: ComposeOptions
) -> Dataset:
    """Return all modules but the content (PS3.3 A.35.3, A.35.13), without the UIDs and numbers of one report."""
    headers = [image.header for image in images]
    dataset = identity_of(headers[0])
    dataset.SOPClassUID = SOP_CLASSES[options.tid1500]
    dataset.Modality = "SR"
    dataset.ReferencedPerformedProcedureStepSequence = []
    add_equipment(dataset, assessment.reader)
    date, time = local_date_and_time(assessment.read_at, headers[0])
    add_creation(dataset, date, time)
    dataset.ContentDate, dataset.ContentTime = date, time
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "FINAL"
    dataset.PerformedProcedureCodeSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = [evidence_of(headers, study_instance_uid)]
    requests = requests_of(headers, study_instance_uid)
    if requests:
        dataset.ReferencedRequestSequence = requests
    return dataset


def _content(
    images: Sequence[AnsweredImage], assessment: Assessment, options: ComposeOptions, words: str
) -> Dataset:
    """Return the SR Document Content module (PS3.3 C.17.3): highdicom's tree, the images' library, and the words.

    highdicom's own library refuses images whose headers lack anything, and it has no Qualitative Evaluations.
    """
    from highdicom.sr import (
        AlgorithmIdentification,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes as dictionary

    reader = assessment.reader
    algorithm = AlgorithmIdentification(
        name=plain(reader.name),
        version=plain(reader.version),
        parameters=[
            plain(f"weights sha256 {reader.weights_sha256}"),
            plain(f"operating point {reader.operating_point}"),
            plain(f"trained on {reader.trained_on}"),
        ],
    )
    device = DeviceObserverIdentifyingAttributes(
        uid=mint(UidRole.DEVICE, "mammocalc", reader.weights_sha256),
        name=MODEL_NAME,
        manufacturer_name=options.manufacturer or MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=plain(reader.weights_sha256),
    )
    observer = ObserverContext(observer_type=dictionary.DCM.Device, observer_identifying_attributes=device)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=_coded(_IMAGING_PROCEDURE),
        imaging_measurements=_groups(images, options, algorithm),
    )[0]
    *before, measurements = report.ContentSequence
    content = Dataset()
    content.update({element.tag: element for element in report})
    content.ContentSequence = [*before, _library(images), measurements, _evaluations(words)]
    return content


def _coded(code: Code) -> "CodedConcept":
    """Return a code as highdicom takes it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def _library(images: Sequence[AnsweredImage]) -> Dataset:
    """Return the images with what their headers state (TID 1600, TID 1601)."""
    group = Item(
        relationship=Relationship.CONTAINS,
        concept=_LIBRARY_GROUP,
        value=Section(),
        children=tuple(_entry(image) for image in images),
    )
    library = Item(
        relationship=Relationship.CONTAINS, concept=codes.IMAGE_LIBRARY, value=Section(), children=(group,)
    )
    return document_content(library, "1600")


def _entry(image: AnsweredImage) -> Item:
    """Return one image of the library; TID 1602 says the side in other words than TID 4020 (CID 244, not 6022)."""
    entry = library_entry(image)
    side = side_of(image.header)
    children = tuple(
        replace(child, value=_SIDES[side])
        if side is not None and isinstance(child, Item) and child.concept == codes.IMAGE_LATERALITY
        else child
        for child in entry.children
    )
    return replace(entry, children=children)


def _evaluations(words: str) -> Dataset:
    """Return the answer in words, as the report's qualitative evaluation (TID 1500 row 12)."""
    text = Dataset()
    text.RelationshipType, text.ValueType = Relationship.CONTAINS.value, "TEXT"
    text.ConceptNameCodeSequence = [code_dataset(codes.IMPRESSION_DESCRIPTION)]
    text.TextValue = plain(words)
    section = Dataset()
    section.RelationshipType, section.ValueType = Relationship.CONTAINS.value, "CONTAINER"
    section.ConceptNameCodeSequence = [code_dataset(_QUALITATIVE_EVALUATIONS)]
    section.ContinuityOfContent = "SEPARATE"
    section.ContentSequence = [text]
    return section


def _groups(
    images: Sequence[AnsweredImage], options: ComposeOptions, algorithm: "AlgorithmIdentification"
) -> "list[PlanarROIMeasurementsAndQualitativeEvaluations] | list[MeasurementsAndQualitativeEvaluations]":
    """Return a group for each mark that is shown; without any, one for each image that says what was seen.

    OHIF takes no report in which regions stand beside groups without any, so that the two are never mixed.
    """
    marked = [
        _region_group(image, mark, options, algorithm)
        for image in images
        for mark in shown(image, benign=options.benign).marks
    ]
    return marked or [_image_group(image, algorithm) for image in images]


def box_of(outline: Sequence[ImagePoint]) -> tuple[ImagePoint, ...]:
    """Return the smallest upright box around an outline, closed: five points, from the top left clockwise."""
    across, down = [point.column for point in outline], [point.row for point in outline]
    left, right, top, bottom = min(across), max(across), min(down), max(down)
    corners = (left, top), (right, top), (right, bottom), (left, bottom), (left, top)
    return tuple(ImagePoint(column, row) for column, row in corners)


def _region_group(
    image: AnsweredImage, mark: Mark, options: ComposeOptions, algorithm: "AlgorithmIdentification"
) -> "PlanarROIMeasurementsAndQualitativeEvaluations":
    """Return one finding as a planar region (TID 1410) with certainty, call, type and distribution.

    The certainty is inferred from the region once more (TID 1419), which highdicom refuses here: without
    coordinates of its own, a number stops OHIF from taking any mark of the report.
    """
    import numpy as np
    from highdicom.sr import (
        ImageRegion,
        Measurement,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        SourceImageForRegion,
        TrackingIdentifier,
    )

    source = SourceImageForRegion(
        required(image.header, "SOPClassUID"), required(image.header, "SOPInstanceUID")
    )
    region = ImageRegion("POLYLINE", np.array(box_of(mark.outline), np.float64), source)
    single = len(mark.finding.specks) == 1
    certainty = Measurement(
        name=_coded(codes.CERTAINTY_OF_FINDING),
        value=round(100 * mark.finding.detection, 1),
        unit=_coded(codes.PERCENT),
    )
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=mark.tracking_uid, identifier=mark.tracking_identifier),
        referenced_region=region,
        finding_type=_coded(codes.INDIVIDUAL_CALCIFICATION if single else codes.CALCIFICATION_CLUSTER),
        finding_sites=_sites(image) if options.tid1500 == "comprehensive-3d" else None,
        algorithm_id=algorithm,
        measurements=[certainty],
        qualitative_evaluations=_evaluations_of(mark),
    )
    for item in group[0].ContentSequence:
        if item.ValueType == "NUM":
            again = deepcopy(region)
            again.RelationshipType = Relationship.INFERRED_FROM.value
            item.ContentSequence = [*item.get("ContentSequence", ()), again]
    return group


def _sites(image: AnsweredImage) -> "list[FindingSite]":
    """Return the breast that the image shows; OHIF would print its codes into the label, so that it is spared it."""
    from highdicom.sr import FindingSite

    side = side_of(image.header)
    laterality = None if side is None else _coded(_SIDES[side])
    return [FindingSite(anatomic_location=_coded(_BREAST), laterality=laterality)]


def _evaluations_of(mark: Mark) -> "list[QualitativeEvaluation]":
    """Return the call, as the rendering intent that the CAD SR gives it, and type and distribution if stated."""
    from highdicom.sr import QualitativeEvaluation

    finding = mark.finding
    suspicious = finding.assessment is FindingAssessment.SUSPICIOUS
    said = [
        (codes.RENDERING_INTENT, codes.PRESENTATION_REQUIRED if suspicious else codes.PRESENTATION_OPTIONAL)
    ]
    if finding.morphology is not None:
        said.append((codes.CALCIFICATION_TYPE, codes.TYPES[finding.morphology]))
    if finding.distribution is not None:
        said.append((codes.CALCIFICATION_DISTRIBUTION, codes.DISTRIBUTIONS[finding.distribution]))
    return [QualitativeEvaluation(name=_coded(name), value=_coded(value)) for name, value in said]


def _image_group(
    image: AnsweredImage, algorithm: "AlgorithmIdentification"
) -> "MeasurementsAndQualitativeEvaluations":
    """Return one image without a region (TID 1501): whether calcifications were seen, undetermined if not read."""
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    uid = required(image.header, "SOPInstanceUID")
    seen = _UNDETERMINED if not image.read else _PRESENT if image.marks else _ABSENT
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=mint(UidRole.TRACKING, uid, "image"), identifier=f"Mammocalc {image.name}"
        ),
        algorithm_id=algorithm,
        qualitative_evaluations=[
            QualitativeEvaluation(name=_coded(codes.CALCIFICATION_CLUSTER), value=_coded(seen))
        ],
        source_images=[SourceImageForMeasurementGroup(required(image.header, "SOPClassUID"), uid)],
    )
