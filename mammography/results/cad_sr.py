"""The report: one Mammography CAD SR per study (PS3.3 A.35.5, PS3.16 TID 4000).

Certainty of Finding is the score of detection, in percent. We write neither Probability of cancer nor a BI-RADS
category: the reader claims neither. `read_back` brings the assessment back from the report.
"""

from collections.abc import Iterator, Sequence

from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset

from mammography.finding import Assessment
from mammography.results import codes
from mammography.results.cad_sr_findings import impressions
from mammography.results.cad_sr_items import algorithm, text_item
from mammography.results.cad_sr_summaries import analyses, detections, outcome
from mammography.results.composed import MAMMOGRAPHY_CAD_SR, ComposedObject, Predecessor, finished
from mammography.results.content import Item, Relationship, Section, document_content
from mammography.results.image_library import library_entry
from mammography.results.marks import AnsweredImage
from mammography.results.options import USUAL, ComposeOptions
from mammography.results.parameters import Parameter, identity_lines, line
from mammography.results.source import (
    add_creation,
    add_equipment,
    evidence_of,
    identity_of,
    local_date_and_time,
    requests_of,
    series_description,
)
from mammography.results.text import impression
from mammography.uid import UidRole, mint

SERIES_NUMBER = 9901
"""Of the first revision's report; each revision adds ten."""


def compose_cad_sr(
    images: Sequence[AnsweredImage],
    assessment: Assessment,
    *,
    study_instance_uid: str,
    revision: int,
    predecessor: Predecessor | None,
    options: ComposeOptions = USUAL,
) -> ComposedObject:
    """Return the report on a study's images; `predecessor` is the report that it replaces.

    Of `options`, the code scheme and whether benign findings may be shown matter here.
    """
    headers = [image.header for image in images]
    identity = (study_instance_uid, str(revision), assessment.reader.weights_sha256)
    dataset = identity_of(headers[0])
    dataset.SOPClassUID = MAMMOGRAPHY_CAD_SR
    dataset.SOPInstanceUID = mint(UidRole.CAD_SR, *identity)
    dataset.SeriesInstanceUID = mint(UidRole.CAD_SR_SERIES, *identity)
    dataset.Modality = "SR"
    dataset.SeriesNumber = SERIES_NUMBER + 10 * (revision - 1)
    dataset.SeriesDescription = series_description("Mammocalc CAD SR", revision)
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.InstanceNumber = revision
    add_equipment(dataset, assessment.reader)
    date, time = local_date_and_time(assessment.read_at, headers[0])
    add_creation(dataset, date, time)
    dataset.ContentDate, dataset.ContentTime = date, time
    _add_document_general(dataset, headers, study_instance_uid, predecessor)
    tree = document(images, assessment, benign=options.benign)
    dataset.update(document_content(tree, "4000", options.scheme))
    encodings = convert_encodings(dataset.get("SpecificCharacterSet"))
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=encodings)
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


def document(images: Sequence[AnsweredImage], assessment: Assessment, *, benign: bool = True) -> Item:
    """Return the whole content tree (TID 4000); without `benign`, benign findings are not for presentation."""
    library = [library_entry(image) for image in images]
    entries = list(zip(images, library, strict=True))
    succeeded, failed = any(image.read for image in images), not all(image.read for image in images)
    found = tuple(impressions(images, library, assessment, benign=benign))
    return Item(
        relationship=None,
        concept=codes.CAD_REPORT,
        value=Section(),
        children=(
            _language(),
            Item(
                relationship=Relationship.CONTAINS,
                concept=codes.IMAGE_LIBRARY,
                value=Section(),
                children=tuple(library),
            ),
            Item(
                relationship=Relationship.CONTAINS,
                concept=codes.FINDINGS_SUMMARY,
                value=outcome(succeeded=succeeded, failed=failed, findings=bool(found)),
                children=(*_overall_impression(images, assessment), *found),
            ),
            detections(entries, assessment.reader, benign=benign),
            analyses(entries, assessment),
        ),
    )


def _overall_impression(images: Sequence[AnsweredImage], assessment: Assessment) -> Iterator[Item]:
    """Yield the answer in words, whose it is, when it was given, and how suspicious each breast is (TID 4002)."""
    reader = assessment.reader
    yield text_item(Relationship.HAS_PROPERTIES, codes.IMPRESSION_DESCRIPTION, impression(images, reader))
    parameters = (
        *identity_lines(reader),
        line(Parameter.READ_AT, assessment.read_at.isoformat()),
        *(
            line(Parameter.BREAST, f"{breast.laterality} {breast.suspicion:.4f}")
            for breast in assessment.breasts
        ),
    )
    yield from algorithm(reader.name, reader, parameters)


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
