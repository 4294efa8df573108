"""The report: one Mammography CAD SR per study (PS3.3 A.35.5, PS3.16 TID 4000).

Rendering Intent: a suspicious finding is Presentation Required, a benign one Presentation Optional; the single
calcifications of a finding are always optional. Certainty of Finding is the score of detection, in percent. We
write neither Probability of cancer nor a BI-RADS category: the reader claims neither.
"""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from mammography.finding import Assessment, FindingAssessment, ReaderIdentity, Speck
from mammography.results import codes
from mammography.results.codes import Code
from mammography.results.composed import MAMMOGRAPHY_CAD_SR, ComposedObject, Predecessor, finished
from mammography.results.content import (
    Graphic,
    GraphicType,
    Item,
    Quantity,
    Reference,
    Relationship,
    Section,
    Words,
    WordType,
    document_content,
)
from mammography.results.image_library import library_entry
from mammography.results.marks import AnsweredImage, Mark
from mammography.results.source import (
    add_creation,
    add_equipment,
    evidence_of,
    identity_of,
    local_date_and_time,
    plain,
    requests_of,
)
from mammography.results.text import impression
from mammography.uid import UidRole, mint

SERIES_NUMBER = 9901
"""Of the first revision's report; each revision adds ten."""
SERIES_DESCRIPTION = "Mammocalc CAD SR - not for diagnosis, research use only"

_INFERRED, _PROPERTY, _CONTAINED = (
    Relationship.INFERRED_FROM,
    Relationship.HAS_PROPERTIES,
    Relationship.CONTAINS,
)


def compose_cad_sr(
    images: Sequence[AnsweredImage],
    assessment: Assessment,
    *,
    study_instance_uid: str,
    revision: int,
    predecessor: Predecessor | None,
) -> ComposedObject:
    """Return the report on a study's images; `predecessor` is the report that it replaces."""
    headers = [image.header for image in images]
    identity = (study_instance_uid, str(revision), assessment.reader.weights_sha256)
    dataset = identity_of(headers[0])
    dataset.SOPClassUID = MAMMOGRAPHY_CAD_SR
    dataset.SOPInstanceUID = mint(UidRole.CAD_SR, *identity)
    dataset.SeriesInstanceUID = mint(UidRole.CAD_SR_SERIES, *identity)
    dataset.Modality = "SR"
    dataset.SeriesNumber = SERIES_NUMBER + 10 * (revision - 1)
    dataset.SeriesDescription = SERIES_DESCRIPTION
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.InstanceNumber = revision
    add_equipment(dataset, assessment.reader)
    date, time = local_date_and_time(assessment.read_at, headers[0])
    add_creation(dataset, date, time)
    dataset.ContentDate, dataset.ContentTime = date, time
    _add_document_general(dataset, headers, study_instance_uid, predecessor)
    dataset.update(document_content(document(images, assessment), "4000"))
    return finished("cad-sr", dataset)


def _add_document_general(
    dataset: Dataset, headers: Sequence[Dataset], study_instance_uid: str, predecessor: Predecessor | None
) -> None:
    """Write the SR Document General module (PS3.3 C.17.2)."""
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "FINAL"
    dataset.PerformedProcedureCodeSequence = []
    dataset.CurrentRequestedProcedureEvidenceSequence = [evidence_of(headers, study_instance_uid)]
    requests = requests_of(headers, study_instance_uid)
    if requests:
        dataset.ReferencedRequestSequence = requests
    if predecessor is not None:
        earlier = Dataset()
        earlier.SOPClassUID, earlier.SOPInstanceUID, earlier.SeriesInstanceUID, earlier.StudyInstanceUID = (
            predecessor
        )
        replaced = evidence_of([earlier], predecessor.study_instance_uid)
        dataset.PredecessorDocumentsSequence = [replaced]


def document(images: Sequence[AnsweredImage], assessment: Assessment) -> Item:
    """Return the whole content tree (TID 4000)."""
    library = [library_entry(image) for image in images]
    succeeded = [entry for entry, image in zip(library, images, strict=True) if image.read]
    failed = [entry for entry, image in zip(library, images, strict=True) if not image.read]
    status = codes.SUCCEEDED if not failed else codes.PARTIALLY_SUCCEEDED if succeeded else codes.FAILED
    impressions = [
        _individual_impression(mark, entry, assessment.reader)
        for entry, image in zip(library, images, strict=True)
        for mark in image.marks
    ]
    return Item(
        relationship=None,
        concept=codes.CAD_REPORT,
        value=Section(),
        children=(
            _language(),
            Item(
                relationship=_CONTAINED,
                concept=codes.IMAGE_LIBRARY,
                value=Section(),
                children=tuple(library),
            ),
            Item(
                relationship=_CONTAINED,
                concept=codes.FINDINGS_SUMMARY,
                value=outcome(succeeded=bool(succeeded), failed=bool(failed), findings=bool(impressions)),
                children=(*_overall_impression(images, assessment.reader), *impressions),
            ),
            Item(
                relationship=_CONTAINED,
                concept=codes.SUMMARY_OF_DETECTIONS,
                value=status,
                children=_detections(succeeded, failed, assessment.reader),
            ),
            Item(relationship=_CONTAINED, concept=codes.SUMMARY_OF_ANALYSES, value=codes.NOT_ATTEMPTED),
        ),
    )


def _overall_impression(images: Sequence[AnsweredImage], reader: ReaderIdentity) -> tuple[Item, ...]:
    """Return the answer in words, and whose it is (TID 4002)."""
    words = _text(_PROPERTY, codes.IMPRESSION_DESCRIPTION, impression(images, reader))
    return (words, *_algorithm(reader, with_parameters=True))


def outcome(*, succeeded: bool, failed: bool, findings: bool) -> Code:
    """Return the value of CAD Processing and Findings Summary (CID 6047).

    A finding counts whatever its rendering intent is: one that stands in the tree is a finding.
    """
    if not succeeded:
        return codes.NONE_SUCCEEDED
    if failed:
        return codes.SOME_SUCCEEDED_WITH_FINDINGS if findings else codes.SOME_SUCCEEDED_WITHOUT_FINDINGS
    return codes.ALL_SUCCEEDED_WITH_FINDINGS if findings else codes.ALL_SUCCEEDED_WITHOUT_FINDINGS


def intent_of(assessment: FindingAssessment) -> Code:
    """Return the Rendering Intent (CID 6034) of a finding."""
    suspicious = assessment is FindingAssessment.SUSPICIOUS
    return codes.PRESENTATION_REQUIRED if suspicious else codes.PRESENTATION_OPTIONAL


def _language() -> Item:
    """Return the language of the document (TID 1204)."""
    country = Item(
        relationship=Relationship.HAS_CONCEPT_MOD, concept=codes.COUNTRY, value=codes.UNITED_STATES
    )
    return Item(
        relationship=Relationship.HAS_CONCEPT_MOD,
        concept=codes.LANGUAGE,
        value=codes.ENGLISH,
        children=(country,),
    )


def _text(relationship: Relationship, concept: Code, text: str) -> Item:
    """Return a TEXT item."""
    return Item(
        relationship=relationship, concept=concept, value=Words(value_type=WordType.TEXT, text=plain(text))
    )


def _property(concept: Code, value: Code | Quantity) -> Item:
    """Return a coded or measured property."""
    return Item(relationship=_PROPERTY, concept=concept, value=value)


def _intent(intent: Code) -> Item:
    """Return a Rendering Intent item."""
    return Item(relationship=Relationship.HAS_CONCEPT_MOD, concept=codes.RENDERING_INTENT, value=intent)


def _algorithm(reader: ReaderIdentity, *, with_parameters: bool = False) -> tuple[Item, ...]:
    """Return the algorithm's identification (TID 4019); its parameters trace weights and operating point."""
    parameters = (
        f"weights sha256 {reader.weights_sha256}",
        f"operating point {reader.operating_point}",
        f"trained on {reader.trained_on}",
    )
    return (
        _text(_PROPERTY, codes.ALGORITHM_NAME, reader.name),
        _text(_PROPERTY, codes.ALGORITHM_VERSION, reader.version),
        *(
            _text(_PROPERTY, codes.ALGORITHM_PARAMETERS, parameter)
            for parameter in parameters
            if with_parameters
        ),
    )


def _certainty(score: float) -> Item:
    """Return the Certainty of Finding of a detection score, in percent with one decimal."""
    return _property(codes.CERTAINTY_OF_FINDING, Quantity(number=round(100 * score, 1), unit=codes.PERCENT))


def _graphic(concept: Code, graphic: Graphic, entry: Item) -> Item:
    """Return coordinates on an image of the library, which they select by reference (TID 4021)."""
    return Item(
        relationship=_PROPERTY,
        concept=concept,
        value=graphic,
        children=(Reference(relationship=Relationship.SELECTED_FROM, target=entry),),
    )


def _individual_impression(mark: Mark, entry: Item, reader: ReaderIdentity) -> Item:
    """Return one finding in its container (TID 4003), whose intent is as strong as the finding's."""
    intent = intent_of(mark.finding.assessment)
    return Item(
        relationship=_INFERRED,
        concept=codes.INDIVIDUAL_IMPRESSION,
        value=Section(),
        children=(_intent(intent), _marked_finding(mark, entry, reader, intent)),
    )


def _marked_finding(mark: Mark, entry: Item, reader: ReaderIdentity, intent: Code) -> Item:
    """Return a finding (TID 4006): a cluster, or one calcification where it holds no more."""
    specks = mark.finding.specks
    single = len(specks) == 1
    body = _calcification_body(mark, specks[0]) if single else _cluster_body(mark)
    inner = () if single else tuple(_calcification(speck, entry, reader) for speck in specks)
    tracking_uid = Words(value_type=WordType.UIDREF, text=mark.tracking_uid)
    return Item(
        relationship=_CONTAINED,
        concept=codes.SINGLE_IMAGE_FINDING,
        value=codes.INDIVIDUAL_CALCIFICATION if single else codes.CALCIFICATION_CLUSTER,
        children=(
            _intent(intent),
            _text(Relationship.HAS_OBS_CONTEXT, codes.TRACKING_IDENTIFIER, mark.tracking_identifier),
            Item(relationship=Relationship.HAS_OBS_CONTEXT, concept=codes.TRACKING_UID, value=tracking_uid),
            *_algorithm(reader, with_parameters=True),
            _certainty(mark.finding.detection),
            _graphic(codes.CENTER, Graphic(graphic_type=GraphicType.POINT, points=(mark.center,)), entry),
            _graphic(codes.OUTLINE, Graphic(graphic_type=GraphicType.POLYLINE, points=mark.outline), entry),
            *body,
            *inner,
        ),
    )


def _types(mark: Mark) -> tuple[Item, ...]:
    """Return the Calcification Type, where the reader states a morphology."""
    if mark.finding.morphology is None:
        return ()
    return (_property(codes.CALCIFICATION_TYPE, codes.TYPES[mark.finding.morphology]),)


def _cluster_body(mark: Mark) -> tuple[Item, ...]:
    """Return type and distribution where they are stated, and the number of calcifications (TID 4010)."""
    distribution = mark.finding.distribution
    stated = (
        ()
        if distribution is None
        else (_property(codes.CALCIFICATION_DISTRIBUTION, codes.DISTRIBUTIONS[distribution]),)
    )
    number = Quantity(number=len(mark.finding.specks), unit=codes.NO_UNITS)
    return (*_types(mark), *stated, _property(codes.NUMBER_OF_CALCIFICATIONS, number))


def _calcification_body(mark: Mark, speck: Speck) -> tuple[Item, ...]:
    """Return the type of a finding that is one calcification, or else its size (TID 4009)."""
    return _types(mark) or (_size(speck),)


def _calcification(speck: Speck, entry: Item, reader: ReaderIdentity) -> Item:
    """Return one calcification of a cluster (TID 4006 with TID 4009): its centre and size."""
    center = Graphic(graphic_type=GraphicType.POINT, points=(speck.center,))
    return Item(
        relationship=_INFERRED,
        concept=codes.SINGLE_IMAGE_FINDING,
        value=codes.INDIVIDUAL_CALCIFICATION,
        children=(
            _intent(codes.PRESENTATION_OPTIONAL),
            *_algorithm(reader),
            _certainty(speck.score),
            _graphic(codes.CENTER, center, entry),
            _size(speck),
        ),
    )


def _size(speck: Speck) -> Item:
    """Return the diameter at the detector plane (TID 1400), or the bare type where it was not measured."""
    if speck.diameter_mm > 0:
        return _property(codes.DIAMETER, Quantity(number=speck.diameter_mm, unit=codes.MILLIMETER))
    return _property(codes.CALCIFICATION_TYPE, codes.MICROCALCIFICATIONS)


def _detections(
    succeeded: Sequence[Item], failed: Sequence[Item], reader: ReaderIdentity
) -> tuple[Item, ...]:
    """Return which detection succeeded and failed on which images (TID 4015, 4017)."""
    containers: list[Item] = []
    for concept, entries in (
        (codes.SUCCESSFUL_DETECTIONS, succeeded),
        (codes.FAILED_DETECTIONS, failed),
    ):
        performed = tuple(
            Item(
                relationship=_CONTAINED,
                concept=codes.DETECTION_PERFORMED,
                value=kind,
                children=(
                    *_algorithm(reader, with_parameters=True),
                    *(Reference(relationship=_PROPERTY, target=entry) for entry in entries),
                ),
            )
            for kind in (codes.INDIVIDUAL_CALCIFICATION, codes.CALCIFICATION_CLUSTER)
        )
        if entries:
            containers.append(
                Item(relationship=_INFERRED, concept=concept, value=Section(), children=performed)
            )
    return tuple(containers)
