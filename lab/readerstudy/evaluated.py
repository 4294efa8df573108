"""What the reader said of synthetic studies, as the tables of a reader study: truth.csv and model.csv."""

from collections.abc import Sequence
from pathlib import Path

from lab.evaluation.matching import Verdict
from lab.evaluation.records import ImageRecord, LesionRecord, MarkRecord, StudyRecord
from lab.readerstudy.tables import (
    MODEL_FILE,
    TRUTH_FILE,
    Call,
    Mark,
    ModelRow,
    Truth,
    TruthRow,
    write_rows,
)
from mammography.reader.plan import ReaderPlan

VISIBLE = 5.0
"""Lesions count from this d' on, as in all figures of an evaluation."""


def write_tables(records: Sequence[StudyRecord], plan: ReaderPlan, folder: Path) -> None:
    """Write truth.csv and model.csv: a case is a breast, a patient a study.

    Suspicious morphologies stand for malignant lesions. The model's mark on a lesion is the surest of all views; marks
    below the operating point, and breasts of which no image was read, are left out.
    """
    truth: list[TruthRow] = []
    model: list[ModelRow] = []
    for record in sorted(records, key=lambda record: record.study):
        for side in sorted({image.laterality for image in record.images}):
            images = [image for image in record.images if image.laterality is side]
            case, patient = f"{record.study}-{side}", str(record.study)
            truth += _truth(case, patient, images)
            model += _model(case, images, plan)
    write_rows(folder / TRUTH_FILE, TruthRow, truth)
    write_rows(folder / MODEL_FILE, ModelRow, model)


def _lesions(images: Sequence[ImageRecord]) -> dict[int, LesionRecord]:
    """Return the lesions of a breast that can be seen in one view at least, by number."""
    return {
        lesion.number: lesion for image in images for lesion in image.lesions if lesion.visibility >= VISIBLE
    }


def _truth(case: str, patient: str, images: Sequence[ImageRecord]) -> list[TruthRow]:
    """Return the rows of one breast; one without a visible lesion is normal."""
    whole = {
        "case": case,
        "patient": patient,
        "basis": "phantom",
        "density": "ABCD"[images[0].density],
        "vendor": images[0].vendor,
    }
    rows = [
        TruthRow(
            **whole,
            lesion=str(number),
            truth=Truth.MALIGNANT if lesion.suspicious else Truth.BENIGN,
            morphology=lesion.morphology.value,
            distribution=lesion.distribution.value if lesion.distribution else "",
        )
        for number, lesion in sorted(_lesions(images).items())
    ]
    return rows or [TruthRow(**whole, truth=Truth.NORMAL)]


def _model(case: str, images: Sequence[ImageRecord], plan: ReaderPlan) -> list[ModelRow]:
    """Return what the model says of one breast at its operating point."""
    if all(image.reason is not None for image in images):
        return []
    marks = [mark for image in images for mark in image.shown if mark.detection >= plan.detection_score]
    model = f"{plan.name} {plan.version}"
    rows = []
    for number in sorted(_lesions(images)):
        own = [mark for mark in marks if number in mark.lesions]
        if own:
            rows.append(_row(case, str(number), own, plan, model))
    rows += [_row(case, "", [mark], plan, model) for mark in marks if mark.verdict is Verdict.FALSE]
    return rows or [ModelRow(case=case, score=0, call=Call.NEGATIVE, model=model)]


def _row(case: str, lesion: str, marks: Sequence[MarkRecord], plan: ReaderPlan, model: str) -> ModelRow:
    """Return a mark as a row, with the worst that is said of it in any view."""
    suspicion = max(mark.suspicion for mark in marks)
    return ModelRow(
        case=case,
        lesion=lesion,
        mark=Mark.YES,
        score=round(100 * suspicion, 2),
        call=Call.POSITIVE if suspicion >= plan.suspicious_score else Call.NEGATIVE,
        model=model,
    )
