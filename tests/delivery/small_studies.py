"""Studies of small images, taken as far as READ or REPORTED by the functions that the node itself uses."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import xxhash
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
from mammography.ledger.deliveries import deliveries_of
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import store_assessment
from mammography.ledger.studies import ArrivedInstance, advance, claim, record_instance, study
from mammography.ledger.tables import DeliveryRow, StudyRow
from mammography.mammogram import FOR_PRESENTATION
from mammography.study import StudyEvent, StudyState
from mammography.uid import UidRole, mint
from mammography.view import SCREENING_SET, VIEW_CODES, View
from node.parcels import Destination
from node.reporting import Reporting

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
ROWS, COLUMNS = 480, 440
VIEWS = sorted(SCREENING_SET, key=str)

_numbers = itertools.count(1)


def uid(*identity: str) -> str:
    return mint(UidRole.PHANTOM, "delivery", *identity)


def mammogram_file(study_instance_uid: str, view: View, sop_instance_uid: str) -> Dataset:
    """A small mammogram with everything that a modality's header has and our objects take over."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = FOR_PRESENTATION, sop_instance_uid
    dataset.PatientName, dataset.PatientID = "Test^Delivery", "D-1"
    dataset.PatientBirthDate, dataset.PatientSex = "19600101", "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        study_instance_uid,
        uid(study_instance_uid, "series"),
    )
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20261122", "073000", "A-1"
    dataset.ContentDate, dataset.ContentTime = "20261122", "073100"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20261122", "073100"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", "1", "1"
    dataset.ReferringPhysicianName, dataset.Modality, dataset.Manufacturer = "", "MG", "Tests"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality, dataset.ViewPosition = view.laterality.value, view.position.value
    dataset.PatientOrientation = ["A", "R"] if view.laterality == "L" else ["P", "L"]
    code, _, meaning = VIEW_CODES[view.position]
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", meaning
    item.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [item]
    dataset.BodyPartExamined, dataset.BurnedInAnnotation = "BREAST", "NO"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.ImagerPixelSpacing = [0.07, 0.07]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
    dataset.PixelData = ((rows * 17 + columns * 11) % 4096).astype("<u2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = FOR_PRESENTATION
    dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def finding() -> Finding:
    centers = [ImagePoint(40.5, 50.5), ImagePoint(46.5, 55.5), ImagePoint(43.5, 60.5)]
    return Finding(
        outline=(
            ImagePoint(36.0, 46.0),
            ImagePoint(52.0, 46.0),
            ImagePoint(52.0, 66.0),
            ImagePoint(36.0, 66.0),
        ),
        specks=tuple(Speck(center=center, score=0.9, diameter_mm=0.3) for center in centers),
        detection=0.93,
        suspicion=0.71,
        assessment=FindingAssessment.SUSPICIOUS,
        morphology=Morphology.FINE_PLEOMORPHIC,
        distribution=Distribution.GROUPED,
    )


def assessment(images: dict[str, View]) -> Assessment:
    return Assessment(
        reader=ReaderIdentity(
            name="Mammocalc reader",
            version="0.1.0",
            weights_sha256="ab" * 32,
            operating_point="0.5 false marks per image",
            trained_on="Synthetic images (phantom) alone",
        ),
        read_at=NOW - timedelta(seconds=5),
        images=tuple(
            ImageReading(
                sop_instance_uid=image,
                view=view,
                status=ReadStatus.READ,
                findings=(finding(),) * (place == 0),
            )
            for place, (image, view) in enumerate(images.items())
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Node:
    """A ledger and a data folder, and the ways in which studies get on in them."""

    ledger: Ledger
    data_dir: Path
    destinations: list[Destination] = field(default_factory=list)

    def arrive(self, study_instance_uid: str, view: View, *, name: str = "") -> str:
        """Store one image, as reception does."""
        image = uid(study_instance_uid, str(view), name)
        path = Path("studies", study_instance_uid, "images", f"{image}.dcm")
        (self.data_dir / path).parent.mkdir(parents=True, exist_ok=True)
        mammogram_file(study_instance_uid, view, image).save_as(
            self.data_dir / path, enforce_file_format=True
        )
        with self.ledger.begin() as session:
            record_instance(
                session,
                ArrivedInstance(
                    sop_instance_uid=image,
                    study_instance_uid=study_instance_uid,
                    series_instance_uid=uid(study_instance_uid, "series"),
                    sop_class_uid=FOR_PRESENTATION,
                    transfer_syntax_uid=ExplicitVRLittleEndian,
                    modality="MG",
                    laterality=view.laterality.value,
                    view_position=view.position.value,
                    presentation_intent="FOR PRESENTATION",
                    path=str(path),
                    bytes=(self.data_dir / path).stat().st_size,
                    digest=xxhash.xxh3_128(image.encode()).hexdigest(),
                    calling_ae_title="MODALITY",
                    received_at=NOW - timedelta(seconds=20),
                ),
            )
        return image

    def read(self, study_instance_uid: str, said: Assessment) -> None:
        """Take a study from RECEIVING to READ, as completion and a worker do."""
        earlier = NOW - timedelta(seconds=10)
        with self.ledger.begin() as session:
            row = study(session, study_instance_uid)
            seen = StudyState.RECEIVING
            advance(
                session,
                study_instance_uid,
                seen=seen,
                event=StudyEvent.JUDGED_COMPLETE,
                now=earlier,
                reason="-",
            )
            claim(session, study_instance_uid, owner="worker", now=earlier, lease=timedelta(minutes=1))
            store_assessment(session, study_instance_uid, revision=row.revision, assessment=said)
            seen = StudyState.READING
            advance(
                session, study_instance_uid, seen=seen, event=StudyEvent.ASSESSED, now=earlier, reason="-"
            )

    def read_study(
        self, *, views: list[View] = VIEWS, change: Callable[[Assessment], Assessment] = lambda said: said
    ) -> str:
        """Make a study of these views that was read, and return its UID; `change` alters what is said of it."""
        study_instance_uid = uid("study", str(next(_numbers)))
        images = {self.arrive(study_instance_uid, view): view for view in views}
        self.read(study_instance_uid, change(assessment(images)))
        return study_instance_uid

    def reported_study(self, *, views: list[View] = VIEWS, now: datetime = NOW) -> str:
        """Make a study of these views whose objects are in the outbox, and return its UID."""
        study_instance_uid = self.read_study(views=views)
        self.reporting.sweep(now=now)
        return study_instance_uid

    @property
    def reporting(self) -> Reporting:
        return Reporting(ledger=self.ledger, data_dir=self.data_dir, destinations=self.destinations)

    def study(self, study_instance_uid: str) -> StudyRow:
        with self.ledger.read() as session:
            return study(session, study_instance_uid)

    def state(self, study_instance_uid: str) -> StudyState:
        return self.study(study_instance_uid).state

    def deliveries(self, study_instance_uid: str, destination: str | None = None) -> list[DeliveryRow]:
        with self.ledger.read() as session:
            rows = deliveries_of(session, study_instance_uid)
        return [row for row in rows if destination in (None, row.destination)]
