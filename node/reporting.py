"""What was read becomes DICOM objects in the outbox: composed, written, and only then promised to destinations."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from mammography.finding import Assessment, ImageReading, ReaderIdentity, ReadStatus
from mammography.ledger.deliveries import WrittenResult, add_results, previous_report, settle
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import assessment_of
from mammography.ledger.studies import LostRace, advance, in_state, instances_of
from mammography.ledger.tables import StudyRow
from mammography.mammogram import UnreadableMammogram, open_header, open_mammogram
from mammography.results.compose import ComposedObject, InvalidResult, Predecessor, compose
from mammography.results.picture import draw
from mammography.results.text import report_text
from mammography.study import StudyEvent, StudyState
from node.delivery import Destination

MOST_ATTEMPTS = 3
"""How often a study may end its sweep with an unforeseen failure before it waits for a person."""

log = structlog.get_logger()


class CannotReport(Exception):
    """The study cannot be answered as it stands; str() is the sentence why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """Everything that the answer to one revision of a study is made of."""

    study_instance_uid: str
    revision: int
    assessment: Assessment
    images: Mapping[str, Path]
    """The file of each image that the assessment has an entry for, by SOP Instance UID."""
    predecessor: Path | None
    """The report of the revision before."""


class Reporting:
    """Composes the objects that answer each READ study, and puts them into the outbox.

    The files are complete and synced before the ledger names them. A crash in between leaves files that the
    next sweep writes again, byte for byte, because the same assessment always gives the same objects.
    """

    def __init__(self, *, ledger: Ledger, data_dir: Path, destinations: Sequence[Destination]) -> None:
        self._ledger = ledger
        self._data_dir = data_dir
        self._destinations = tuple(destinations)
        self._commitment_names = frozenset(each.name for each in destinations if each.commitment)
        self._attempts: Counter[str] = Counter()

    def sweep(self, *, now: datetime) -> int:
        """Answer every READ study, and return how many there were.

        An unforeseen failure ends the sweep. Its study comes last in the next one, and after a few such sweeps
        it is FAILED, so that it neither holds up the others nor is forgotten.
        """
        with self._ledger.read() as session:
            rows = in_state(session, StudyState.READ)
        for row in sorted(rows, key=lambda row: self._attempts[row.study_instance_uid]):
            self._attempts[row.study_instance_uid] += 1
            try:
                self._report(row, now)
            except (CannotReport, InvalidResult) as reason:
                self._fail(row, str(reason), now)
            except LostRace:
                log.info("report-discarded", study_instance_uid=row.study_instance_uid, revision=row.revision)
            del self._attempts[row.study_instance_uid]
        return len(rows)

    def _report(self, row: StudyRow, now: datetime) -> None:
        """Write the objects that answer a study, and promise them to their destinations."""
        if self._attempts[row.study_instance_uid] > MOST_ATTEMPTS:
            raise CannotReport("Composing its objects failed again and again; the node's log says why.")
        material = self._material(row)
        headers = [_header(path) for path in material.images.values()]
        objects = compose(
            headers=headers,
            assessment=material.assessment,
            study_instance_uid=row.study_instance_uid,
            revision=row.revision,
            predecessor=_predecessor(material.predecessor),
        )
        if not objects:
            raise CannotReport(
                "Its assessment has no mammogram, so that there is nothing to answer in DICOM."
            )
        folder = Path("studies", row.study_instance_uid, "results", f"r{row.revision}")
        make_folder(self._data_dir, folder)
        written = [self._write(folder, each) for each in objects]
        text = report_text(material.assessment, headers)
        write_durably(self._data_dir / folder / "report.txt", text.encode())
        self._draw(folder, material)
        self._promise(row, written, folder, now)

    def _material(self, row: StudyRow) -> _Material:
        """Return what the answer to a study is made of, as the ledger has it."""
        with self._ledger.read() as session:
            assessment = assessment_of(session, row.study_instance_uid, row.revision)
            paths = {
                each.sop_instance_uid: each.path for each in instances_of(session, row.study_instance_uid)
            }
            previous = previous_report(session, row.study_instance_uid, row.revision)
        if assessment is None:
            raise CannotReport(f"The ledger holds no assessment of its revision {row.revision}.")
        missing = [
            image.sop_instance_uid for image in assessment.images if image.sop_instance_uid not in paths
        ]
        if missing:
            raise CannotReport(f"The ledger holds no image {missing[0]}, which its assessment names.")
        return _Material(
            study_instance_uid=row.study_instance_uid,
            revision=row.revision,
            assessment=assessment,
            images={
                image.sop_instance_uid: self._data_dir / paths[image.sop_instance_uid]
                for image in assessment.images
            },
            predecessor=self._data_dir / previous.path if previous else None,
        )

    def _write(self, folder: Path, composed: ComposedObject) -> WrittenResult:
        """Write one object into its place, and return what the ledger is to know of it."""
        content = composed.encode()
        path = folder / f"{composed.kind}-{composed.sop_instance_uid}.dcm"
        write_durably(self._data_dir / path, content)
        return WrittenResult(
            sop_instance_uid=composed.sop_instance_uid,
            kind=composed.kind,
            sop_class_uid=composed.sop_class_uid,
            path=str(path),
            sha256=hashlib.sha256(content).hexdigest(),
            destinations=tuple(each.name for each in self._destinations if composed.kind in each.objects),
        )

    def _draw(self, folder: Path, material: _Material) -> None:
        """Write a picture of each image that was read; a study without a picture is answered all the same."""
        for reading in material.assessment.images:
            if reading.status != ReadStatus.READ:
                continue
            path = self._data_dir / folder / f"{reading.sop_instance_uid}.png"
            try:
                image = material.images[reading.sop_instance_uid]
                write_durably(path, _picture(image, reading, material.assessment.reader))
            except UnreadableMammogram as reason:
                log.warning("no-picture", sop_instance_uid=reading.sop_instance_uid, reason=str(reason))

    def _promise(self, row: StudyRow, written: Sequence[WrittenResult], folder: Path, now: datetime) -> None:
        """Put what was written into the outbox and move the study on, or neither.

        Raises:
            LostRace: if the study has moved meanwhile: a late image came.
        """
        kinds = Counter(each.kind for each in written)
        counted = " and ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        with self._ledger.begin() as session:
            add_results(
                session,
                row.study_instance_uid,
                revision=row.revision,
                results=written,
                destinations=[each.name for each in self._destinations],
                now=now,
            )
            advance(
                session,
                row.study_instance_uid,
                seen=StudyState.READ,
                event=StudyEvent.COMPOSED,
                now=now,
                reason=f"{counted} lie in {folder}.",
                where={"revision": row.revision, "state_since": row.state_since},
            )
            settle(
                session,
                row.study_instance_uid,
                now=now,
                commitment_destinations=self._commitment_names,
            )

    def _fail(self, row: StudyRow, reason: str, now: datetime) -> None:
        """Let a study wait for a person, unless it has moved meanwhile."""
        log.error("report-failed", study_instance_uid=row.study_instance_uid, reason=reason)
        try:
            with self._ledger.begin() as session:
                advance(
                    session,
                    row.study_instance_uid,
                    seen=StudyState.READ,
                    event=StudyEvent.GAVE_UP,
                    now=now,
                    reason=f"{reason} Once that is put right, run: mammocalc study retry {row.study_instance_uid}",
                    where={"revision": row.revision, "state_since": row.state_since},
                )
        except LostRace:
            log.info("report-discarded", study_instance_uid=row.study_instance_uid, revision=row.revision)


def make_folder(data_dir: Path, folder: Path) -> None:
    """Make a folder below `data_dir`, so that neither it nor its parents vanish with a power cut."""
    (data_dir / folder).mkdir(parents=True, exist_ok=True)
    for parent in folder.parents:
        _sync_folder(data_dir / parent)


def write_durably(path: Path, content: bytes) -> None:
    """Put a file into its place, complete and synced, over whatever was there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(path: Path) -> Dataset:
    """Return the header of an image that was read."""
    try:
        return open_header(path)
    except (UnreadableMammogram, OSError) as fault:
        raise CannotReport(f"The header of the image {path} can no longer be read: {fault}") from fault


def _predecessor(path: Path | None) -> Predecessor | None:
    """Return the identity of the report that this one replaces, from its file."""
    if path is None:
        return None
    try:
        return Predecessor.of(dcmread(path))
    except (OSError, InvalidDicomError) as fault:
        raise CannotReport(f"The report before this one, {path}, can no longer be read: {fault}") from fault


def _picture(path: Path, reading: ImageReading, reader: ReaderIdentity) -> bytes:
    """Return an image with its findings drawn on it, as PNG."""
    buffer = BytesIO()
    draw(open_mammogram(path), reading, reader=reader).save(buffer, format="PNG")
    return buffer.getvalue()
