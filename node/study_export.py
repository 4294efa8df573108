"""What was read, for a reader study: model.csv and a truth.csv to be filled in, without anything of a patient.

The columns are those of docs/reader-study.md. A case is a study under a pseudonym that nobody can undo without the key in
the node's data folder; the same study always has the same one.
"""

import csv
import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from mammography.finding import Assessment, FindingAssessment, ReadStatus
from mammography.ledger.findings import assessment_from_json
from mammography.ledger.tables import ReadingRow, StudyRow

KEY_FILE = "export.key"
MODEL_COLUMNS = ("site", "case", "lesion", "mark", "score", "call", "model")
TRUTH_COLUMNS = (
    "site",
    "case",
    "lesion",
    "patient",
    "truth",
    "basis",
    "density",
    "morphology",
    "distribution",
    "vendor",
)
KEY_COLUMNS = ("case", "study_instance_uid", "accession_number")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedCase:
    """One study that was read. `score`: its worst suspicion, 0 to 100; `positive`: something was called suspicious."""

    case: str
    study_instance_uid: str
    accession_number: str
    score: float
    positive: bool
    model: str


def export_key(data_dir: Path) -> bytes:
    """Return the key of this node's pseudonyms, made at the first export and readable by its owner alone."""
    file = data_dir / KEY_FILE
    if not file.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        fresh = data_dir / f"{KEY_FILE}.{secrets.token_hex(4)}"
        fresh.touch(mode=0o600)
        fresh.write_bytes(secrets.token_bytes(32))
        fresh.rename(file)
    return file.read_bytes()


def pseudonym(key: bytes, study_instance_uid: str) -> str:
    """Return a study's pseudonym: the first half of an HMAC-SHA-256 of its UID."""
    return hmac.digest(key, study_instance_uid.encode(), "sha256")[:16].hex()


def read_studies(session: Session, key: bytes) -> Iterator[ExportedCase]:
    """Yield every study of which an image was read, by its last assessment, in the order of the pseudonyms."""
    query = (
        select(ReadingRow.study_instance_uid, ReadingRow.assessment, StudyRow.accession_number)
        .join(StudyRow, StudyRow.study_instance_uid == ReadingRow.study_instance_uid)
        .order_by(ReadingRow.study_instance_uid, ReadingRow.revision)
    )
    last: dict[str, ExportedCase] = {}
    for uid, stored, accession in session.execute(query):
        assessment = assessment_from_json(stored)
        last.pop(uid, None)
        if any(image.status is ReadStatus.READ for image in assessment.images):
            last[uid] = _case(pseudonym(key, uid), uid, accession, assessment)
    yield from sorted(last.values(), key=lambda case: case.case)


def _case(case: str, uid: str, accession: str, assessment: Assessment) -> ExportedCase:
    """Return what is said of one study as a whole."""
    findings = [finding for image in assessment.images for finding in image.findings]
    suspicions = [breast.suspicion for breast in assessment.breasts] or [each.suspicion for each in findings]
    reader = assessment.reader
    return ExportedCase(
        case=case,
        study_instance_uid=uid,
        accession_number=accession,
        score=round(100 * max(suspicions, default=0.0), 2),
        positive=any(each.assessment is FindingAssessment.SUSPICIOUS for each in findings),
        model=f"{reader.name} {reader.version} {reader.weights_sha256[:12]} {reader.operating_point}",
    )


def write_export(folder: Path, cases: Sequence[ExportedCase], *, site: str) -> None:
    """Write model.csv, and truth.csv whose truth is for those to fill in who know it.

    Raises:
        FileExistsError: if there is a truth.csv already, perhaps filled in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "truth.csv").open("x", encoding="utf-8", newline="") as stream:
        _write(stream, TRUTH_COLUMNS, ({"site": site, "case": case.case} for case in cases))
    with (folder / "model.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = (
            {
                "site": site,
                "case": case.case,
                "score": f"{case.score:g}",
                "call": "positive" if case.positive else "negative",
                "model": case.model,
            }
            for case in cases
        )
        _write(stream, MODEL_COLUMNS, rows)


def write_keys(file: Path, cases: Sequence[ExportedCase]) -> None:
    """Write which study each pseudonym is, readable by its owner alone: for the hospital, never for the study."""
    file.touch(mode=0o600)
    with file.open("w", encoding="utf-8", newline="") as stream:
        _write(stream, KEY_COLUMNS, ({name: getattr(case, name) for name in KEY_COLUMNS} for case in cases))


def _write(stream: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a table; what is not known stays empty."""
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
