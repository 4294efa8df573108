"""Assessments in the ledger: what a reading said, kept exactly."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from mammography.coordinates import ImagePoint
from mammography.finding import (
    Assessment,
    BreastScore,
    Correspondence,
    Distribution,
    Finding,
    FindingAssessment,
    FindingKind,
    FindingPlace,
    ImageReading,
    Morphology,
    NonLesion,
    NonLesionKind,
    ReaderIdentity,
    ReadStatus,
    Speck,
)
from mammography.ledger.tables import ReadingRow
from mammography.view import Laterality, View, ViewModifier, ViewPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class AssessmentSummary:
    """How much an assessment says, for lists of many studies."""

    trained_on: str
    calls: Mapping[FindingAssessment, int]
    """Findings per call; a call that was not made counts 0."""
    not_read: int
    """Images that were not read."""


def store_assessment(
    session: Session, study_instance_uid: str, *, revision: int, assessment: Assessment
) -> None:
    """Keep the assessment of one revision; it takes the place of an earlier one that was never reported."""
    session.merge(
        ReadingRow(
            study_instance_uid=study_instance_uid,
            revision=revision,
            read_at=assessment.read_at,
            assessment=assessment_to_json(assessment),
        )
    )


def assessment_of(session: Session, study_instance_uid: str, revision: int) -> Assessment | None:
    """Return the assessment of one revision, or None where it was not read."""
    row = session.get(ReadingRow, (study_instance_uid, revision), populate_existing=True)
    return None if row is None else assessment_from_json(row.assessment)


def assessment_to_json(assessment: Assessment) -> dict[str, Any]:
    """Return an assessment as JSON values; `assessment_from_json` brings it back, equal in every digit."""
    reader = assessment.reader
    return {
        "reader": {
            "name": reader.name,
            "version": reader.version,
            "weights_sha256": reader.weights_sha256,
            "operating_point": reader.operating_point,
            "trained_on": reader.trained_on,
        },
        "read_at": assessment.read_at.isoformat(),
        "images": [_image_to_json(image) for image in assessment.images],
        "correspondences": [[*pair.first, *pair.second, pair.score] for pair in assessment.correspondences],
        "breasts": [[breast.laterality.value, breast.suspicion] for breast in assessment.breasts],
    }


def assessment_from_json(stored: dict[str, Any]) -> Assessment:
    """Return the assessment that `assessment_to_json` wrote, today or before it knew all of its fields."""
    return Assessment(
        reader=ReaderIdentity(**stored["reader"]),
        read_at=datetime.fromisoformat(stored["read_at"]),
        images=tuple(_image_from_json(image) for image in stored["images"]),
        correspondences=tuple(
            Correspondence(
                first=FindingPlace(image, finding),
                second=FindingPlace(other_image, other_finding),
                score=score,
            )
            for image, finding, other_image, other_finding, score in stored.get("correspondences", ())
        ),
        breasts=tuple(
            BreastScore(laterality=Laterality(laterality), suspicion=suspicion)
            for laterality, suspicion in stored.get("breasts", ())
        ),
    )


def summary_from_json(stored: dict[str, Any]) -> AssessmentSummary:
    """Return how much the assessment that `assessment_to_json` wrote says, without building its points."""
    images = stored["images"]
    calls = Counter(finding["assessment"] for image in images for finding in image["findings"])
    return AssessmentSummary(
        trained_on=stored["reader"]["trained_on"],
        calls={call: calls[call.value] for call in FindingAssessment},
        not_read=sum(image["status"] == ReadStatus.NOT_READ for image in images),
    )


def _image_to_json(image: ImageReading) -> dict[str, Any]:
    return {
        "sop_instance_uid": image.sop_instance_uid,
        "view": None if image.view is None else _view_to_json(image.view),
        "status": image.status.value,
        "reason": image.reason,
        "findings": [_finding_to_json(finding) for finding in image.findings],
        "non_lesions": [
            {"kind": thing.kind.value, "outline": [list(point) for point in thing.outline]}
            for thing in image.non_lesions
        ],
        "remarks": list(image.remarks),
    }


def _image_from_json(stored: dict[str, Any]) -> ImageReading:
    return ImageReading(
        sop_instance_uid=stored["sop_instance_uid"],
        view=None if stored["view"] is None else _view_from_json(stored["view"]),
        status=ReadStatus(stored["status"]),
        reason=stored["reason"],
        findings=tuple(_finding_from_json(finding) for finding in stored["findings"]),
        non_lesions=tuple(
            NonLesion(kind=NonLesionKind(thing["kind"]), outline=_points(thing["outline"]))
            for thing in stored.get("non_lesions", ())
        ),
        remarks=tuple(stored.get("remarks", ())),
    )


def _view_to_json(view: View) -> dict[str, Any]:
    return {
        "laterality": view.laterality.value,
        "position": view.position.value,
        "modifiers": sorted(modifier.value for modifier in view.modifiers),
    }


def _view_from_json(stored: dict[str, Any]) -> View:
    return View(
        laterality=Laterality(stored["laterality"]),
        position=ViewPosition(stored["position"]),
        modifiers=frozenset(ViewModifier(modifier) for modifier in stored["modifiers"]),
    )


def _finding_to_json(finding: Finding) -> dict[str, Any]:
    return {
        "outline": [list(point) for point in finding.outline],
        "specks": [[*speck.center, speck.score, speck.diameter_mm] for speck in finding.specks],
        "detection": finding.detection,
        "suspicion": finding.suspicion,
        "assessment": finding.assessment.value,
        "morphology": None if finding.morphology is None else finding.morphology.value,
        "distribution": None if finding.distribution is None else finding.distribution.value,
        "kind": finding.kind.value,
    }


def _finding_from_json(stored: dict[str, Any]) -> Finding:
    return Finding(
        outline=_points(stored["outline"]),
        specks=tuple(
            Speck(center=ImagePoint(column, row), score=score, diameter_mm=diameter_mm)
            for column, row, score, diameter_mm in stored["specks"]
        ),
        detection=stored["detection"],
        suspicion=stored["suspicion"],
        assessment=FindingAssessment(stored["assessment"]),
        morphology=None if stored["morphology"] is None else Morphology(stored["morphology"]),
        distribution=None if stored["distribution"] is None else Distribution(stored["distribution"]),
        kind=FindingKind(stored.get("kind", FindingKind.CLUSTER)),
    )


def _points(stored: list[list[float]]) -> tuple[ImagePoint, ...]:
    return tuple(ImagePoint(column, row) for column, row in stored)
