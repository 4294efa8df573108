"""Mammograms' headers as modalities write them, and assessments of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from mammography.coordinates import ImagePoint
from mammography.finding import (
    Assessment,
    Distribution,
    Finding,
    FindingAssessment,
    ImageReading,
    Morphology,
    ReaderIdentity,
    ReadStatus,
    Speck,
)
from mammography.results.codes import Code
from mammography.results.compose import compose
from mammography.results.composed import ComposedObject
from mammography.uid import UidRole, mint
from mammography.view import SCREENING_SET, VIEW_CODES, Laterality, View, ViewPosition, view_of

STUDY = mint(UidRole.PHANTOM, "results", "study")
READER = ReaderIdentity(
    name="Mammocalc reader",
    version="1",
    weights_sha256="ab" * 32,
    operating_point="0.5 false marks per image",
    trained_on="Synthetic images (phantom) alone",
)
READ_AT = datetime(2026, 11, 22, 19, 30, 5, tzinfo=UTC)
R_CC, L_CC, R_MLO, L_MLO = (
    View(laterality=side, position=position)
    for position in (ViewPosition.CC, ViewPosition.MLO)
    for side in (Laterality.RIGHT, Laterality.LEFT)
)
ORIENTATIONS = {R_CC: ["P", "L"], L_CC: ["A", "R"], R_MLO: ["P", "FL"], L_MLO: ["A", "FR"]}
"""Of the four screening views; other views of a side are given the oblique one's."""
ROWS, COLUMNS = 200, 160


def image(view: View, *, study: str = STUDY, **attributes: object) -> Dataset:
    """Return a valid For Presentation image with small pixels, as its file says it."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.SOPInstanceUID = mint(UidRole.PHANTOM, study, "image", str(view))
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = mint(UidRole.PHANTOM, study, "series", str(view))
    screening = view if view in ORIENTATIONS else R_MLO if view.laterality is Laterality.RIGHT else L_MLO
    dataset.SeriesNumber, dataset.InstanceNumber = 1 + list(ORIENTATIONS).index(screening), 1
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20261122"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101500.123"
    dataset.AccessionNumber, dataset.StudyID, dataset.ReferringPhysicianName = "A1", "S1", "House^Gregory"
    dataset.Modality, dataset.PresentationIntentType = "MG", "FOR PRESENTATION"
    dataset.Manufacturer, dataset.StudyDescription = "Phantom", "Screening"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "P1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "F"
    dataset.BodyPartExamined, dataset.ImageLaterality, dataset.OrganExposed = (
        "BREAST",
        str(view.laterality),
        "BREAST",
    )
    dataset.PatientOrientation, dataset.ViewPosition = ORIENTATIONS[screening], str(view.position)
    dataset.PositionerType, dataset.DetectorType = "MAMMOGRAPHIC", "DIRECT"
    dataset.ImagerPixelSpacing = [0.07, 0.07]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape, dataset.LossyImageCompression, dataset.BurnedInAnnotation = (
        "IDENTITY",
        "00",
        "NO",
    )
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.BreastImplantPresent = "NO"
    dataset.ViewCodeSequence = [_code(VIEW_CODES[view.position][0], "SCT", VIEW_CODES[view.position][2])]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    dataset.AcquisitionContextSequence = []
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.add_new("PixelData", "OW", bytes(2 * dataset.Rows * dataset.Columns))
    return dataset


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    dataset = Dataset()
    dataset.CodeValue, dataset.CodingSchemeDesignator, dataset.CodeMeaning = value, scheme, meaning
    return dataset


def written(dataset: Dataset) -> bytes:
    """Return the file of an image."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def header_of(dataset: Dataset) -> Dataset:
    """Return an image's header as it is read from its file: nothing decoded yet."""
    return pydicom.dcmread(BytesIO(written(dataset)), stop_before_pixels=True)


def screening_images(**attributes: object) -> list[Dataset]:
    """Return the four images of a screening study."""
    assert set(ORIENTATIONS) == SCREENING_SET
    return [image(view, **attributes) for view in ORIENTATIONS]


def cluster(
    column: float,
    row: float,
    *,
    call: FindingAssessment = FindingAssessment.SUSPICIOUS,
    specks: int = 5,
    **stated: object,
) -> Finding:
    """Return a cluster around a point, of specks at odd fractions of a pixel."""
    return Finding(
        outline=tuple(
            ImagePoint(column + 14 * across, row + 12 * down)
            for across, down in ((-1, -1), (1, -0.9), (1.1, 1), (-0.9, 1))
        ),
        specks=tuple(
            Speck(
                center=ImagePoint(column + 3.3 * place - 6.1, row + 2.7 * (place % 3) - 2.2),
                score=0.5 + place / 100,
                diameter_mm=0.21 + place / 50,
            )
            for place in range(specks)
        ),
        detection=0.934,
        suspicion=0.81 if call is FindingAssessment.SUSPICIOUS else 0.12,
        assessment=call,
        **stated,
    )


def reading(header: Dataset, *findings: Finding) -> ImageReading:
    """Return an image that was read."""
    return ImageReading(
        sop_instance_uid=str(header.SOPInstanceUID),
        view=view_of(header),
        status=ReadStatus.READ,
        findings=findings,
    )


def unread(header: Dataset, reason: str = "The pixel data is truncated.") -> ImageReading:
    """Return an image that was not read."""
    return ImageReading(
        sop_instance_uid=str(header.SOPInstanceUID),
        view=view_of(header),
        status=ReadStatus.NOT_READ,
        reason=reason,
    )


def assessment(*images: ImageReading, reader: ReaderIdentity = READER) -> Assessment:
    """Return an assessment of these images."""
    return Assessment(reader=reader, read_at=READ_AT, images=images)


TWO_VIEWS: tuple[tuple[Finding, ...], ...] = (
    (
        cluster(60, 80, morphology=Morphology.FINE_PLEOMORPHIC, distribution=Distribution.SEGMENTAL),
        cluster(120, 150, call=FindingAssessment.BENIGN, specks=1, morphology=Morphology.ROUND),
    ),
    (),
    (cluster(144, 20), cluster(16, 185, call=FindingAssessment.BENIGN)),
    (),
)
"""Findings of the four images in the order of ORIENTATIONS: at the image's edges too."""


def answered(
    images: Sequence[Dataset], findings: Sequence[Sequence[Finding]] = TWO_VIEWS
) -> list[ComposedObject]:
    """Return the objects that answer a study all of whose images were read."""
    headers = [header_of(item) for item in images]
    return compose(
        headers=headers,
        assessment=assessment(*(reading(h, *f) for h, f in zip(headers, findings, strict=True))),
        study_instance_uid=STUDY,
        revision=1,
    )


def is_named(item: Dataset, concept: Code) -> bool:
    """Return whether a content item's concept name is this code."""
    return any(name.CodeValue == concept.value for name in item.get("ConceptNameCodeSequence", []))
