"""What was read becomes DICOM objects in the outbox: composed, written, and only then promised to destinations."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlalchemy.exc import OperationalError

from mammography.finding import Assessment, ImageReading, ReaderIdentity, ReadStatus
from mammography.ledger.deliveries import (
    WrittenResult,
    add_results,
    mark_failed,
    mark_substituted,
    previous_reports,
    refused,
    results_for,
    settle,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.findings import assessment_of
from mammography.ledger.moves import lock_study, remember
from mammography.ledger.retention import what_was_deleted
from mammography.ledger.studies import LostRace, advance, in_state, instances_of
from mammography.ledger.tables import DeliveryRow, StudyRow
from mammography.mammogram import UnreadableMammogram, open_header, open_mammogram
from mammography.results.compose import ComposedObject, InvalidResult, Predecessor, compose, variant
from mammography.results.composed import Kind
from mammography.results.options import USUAL, ComposeOptions
from mammography.results.picture import draw
from mammography.results.text import report_text
from mammography.study import StudyEvent, StudyState
from node.delivery import NEXT_BEST
from node.durable_files import make_folder, write_durably
from node.parcels import Destination

MOST_CRASHES = 3
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
    earlier: tuple[Path, ...]
    """The reports of the revisions before, newest first."""

    def predecessor(self, options: ComposeOptions) -> Predecessor | None:
        """Return the report that one written like this replaces: the newest that was written so, else the newest."""
        start = _file_name("cad-sr", options, "2.25.")
        alike = [path for path in self.earlier if path.name.startswith(start)]
        return _predecessor(next(iter((*alike, *self.earlier)), None))


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
        self._crashes: Counter[str] = Counter()

    def sweep(self, *, now: datetime) -> int:
        """Answer every READ study, and return how many there were.

        An unforeseen failure ends the sweep. Its study comes last in the next one, and after a few such sweeps
        it is FAILED, so that it neither holds up the others nor is forgotten.
        """
        with self._ledger.read() as session:
            rows = in_state(session, StudyState.READ)
        for row in sorted(rows, key=lambda row: self._attempts[row.study_instance_uid]):
            with self._trying(row.study_instance_uid):
                try:
                    self._report(row, now)
                except (CannotReport, InvalidResult) as reason:
                    self._fail(row, str(reason), now)
                except LostRace:
                    log.info(
                        "report-discarded", study_instance_uid=row.study_instance_uid, revision=row.revision
                    )
        return len(rows) + self._substitute_all(now)

    @contextmanager
    def _trying(self, what: str) -> Iterator[None]:
        """Count how often something ended a sweep, and how often it was to blame: not for a full disk or a lost ledger."""
        self._attempts[what] += 1
        self._crashes[what] += 1
        try:
            yield
        except (OSError, OperationalError):
            self._crashes[what] -= 1
            raise
        del self._attempts[what], self._crashes[what]

    def _report(self, row: StudyRow, now: datetime) -> None:
        """Write the objects that answer a study, and promise them to their destinations."""
        if self._crashes[row.study_instance_uid] > MOST_CRASHES:
            raise CannotReport("Composing its objects failed again and again; the node's log says why.")
        material = self._material(row)
        headers = [_header(path) for path in material.images.values()]
        folder = _folder(row)
        make_folder(self._data_dir, folder)
        written: dict[str, WrittenResult] = {}
        for options, destinations in _wishes(self._destinations):
            for each in self._composed(material, headers, options):
                takers = tuple(one.name for one in destinations if each.kind in one.options.kinds)
                known = written.get(each.sop_instance_uid) or self._write(folder, each, options)
                written[each.sop_instance_uid] = replace(known, destinations=known.destinations + takers)
        text = report_text(material.assessment, headers)
        write_durably(self._data_dir / folder / "report.txt", text.encode())
        self._draw(folder, material)
        self._promise(row, list(written.values()), folder, now)

    def _composed(
        self, material: _Material, headers: Sequence[Dataset], options: ComposeOptions
    ) -> list[ComposedObject]:
        """Return the objects that answer a study, written in one way."""
        objects = compose(
            headers=headers,
            assessment=material.assessment,
            study_instance_uid=material.study_instance_uid,
            revision=material.revision,
            predecessor=material.predecessor(options),
            options=options,
            open_image=lambda uid: open_mammogram(material.images[uid]),
        )
        if not objects:
            raise CannotReport(
                "Its assessment has no mammogram, so that there is nothing to answer in DICOM."
            )
        return objects

    def _material(self, row: StudyRow) -> _Material:
        """Return what the answer to a study is made of, as the ledger has it."""
        with self._ledger.read() as session:
            assessment = assessment_of(session, row.study_instance_uid, row.revision)
            arrived = instances_of(session, row.study_instance_uid)
            paths = {each.sop_instance_uid: each.path for each in arrived}
            wanted = {image.sop_instance_uid for image in assessment.images} if assessment else set()
            deleted = what_was_deleted([each for each in arrived if each.sop_instance_uid in wanted])
            earlier = previous_reports(session, row.study_instance_uid, row.revision)
        if assessment is None:
            raise CannotReport(f"The ledger holds no assessment of its revision {row.revision}.")
        if deleted:
            raise CannotReport(deleted)
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
            earlier=tuple(self._data_dir / each.path for each in earlier),
        )

    def _write(self, folder: Path, composed: ComposedObject, options: ComposeOptions) -> WrittenResult:
        """Write one object into its place, and return what the ledger is to know of it; nobody gets it yet."""
        content = composed.encode()
        path = folder / f"{_file_name(composed.kind, options, composed.sop_instance_uid)}.dcm"
        write_durably(self._data_dir / path, content)
        return WrittenResult(
            sop_instance_uid=composed.sop_instance_uid,
            kind=composed.kind,
            sop_class_uid=composed.sop_class_uid,
            path=str(path),
            sha256=hashlib.sha256(content).hexdigest(),
            destinations=(),
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

    def _substitute_all(self, now: datetime) -> int:
        """Make the next best objects for destinations that do not accept ours; return for how many studies."""
        count = 0
        for destination in self._destinations:
            with self._ledger.read() as session:
                rows = refused(session, destination=destination.name)
            for uid, group in groupby(rows, key=attrgetter("study_instance_uid")):
                deliveries, attempt = list(group), f"{uid} to {destination.name}"
                with self._trying(attempt):
                    try:
                        self._substitute(uid, destination, deliveries, now, crashes=self._crashes[attempt])
                    except (CannotReport, InvalidResult) as reason:
                        self._give_up(uid, deliveries, str(reason), now)
                count += 1
        return count

    def _substitute(
        self,
        uid: str,
        destination: Destination,
        deliveries: Sequence[DeliveryRow],
        now: datetime,
        *,
        crashes: int,
    ) -> None:
        """Write the next best objects for one study and destination, and promise them instead of the refused ones."""
        if crashes > MOST_CRASHES:
            raise CannotReport("Composing another object failed again and again; the node's log says why.")
        with self._ledger.read() as session:
            row = session.get_one(StudyRow, uid)
            kinds = {each.kind for each in results_for(session, deliveries).values()}
        options = replace(destination.options, kinds=frozenset(NEXT_BEST[kind] for kind in kinds))
        material = self._material(row)
        headers = [_header(path) for path in material.images.values()]
        folder = _folder(row)
        written = [
            replace(self._write(folder, each, options), destinations=(destination.name,))
            for each in self._composed(material, headers, options)
        ]
        refusals = " ".join(sorted({each.reason for each in deliveries}))
        instead = " and ".join(sorted(options.kinds))
        reason = f"{refusals} It gets {instead} instead of {' and '.join(sorted(kinds))}."
        with self._ledger.begin() as session:
            current = lock_study(session, uid)
            if current.revision != row.revision:
                return
            names = [each.name for each in self._destinations]
            add_results(session, uid, revision=row.revision, results=written, destinations=names, now=now)
            mark_substituted(session, [each.number for each in deliveries], reason=reason)
            remember(session, current, at=now, event=StudyEvent.COMPOSED, reason=reason, seen=current.state)
            settle(session, uid, now=now, commitment_destinations=self._commitment_names)
        log.info("object-substituted", study_instance_uid=uid, destination=destination.name, reason=reason)

    def _give_up(self, uid: str, deliveries: Sequence[DeliveryRow], reason: str, now: datetime) -> None:
        """Let a study wait for a person whose refused objects have no substitute."""
        log.error("no-substitute", study_instance_uid=uid, reason=reason)
        with self._ledger.begin() as session:
            state = lock_study(session, uid).state
            for each in deliveries:
                mark_failed(session, each.number, now=now, reason=f"{each.reason} {reason}")
            if state in (StudyState.REPORTED, StudyState.DELIVERED):
                sentence = f"{deliveries[0].reason} Nothing can go instead: {reason} "
                advice = f"Once that is put right, run: mammocalc study retry {uid}"
                event = StudyEvent.GAVE_UP
                advance(session, uid, seen=state, event=event, now=now, reason=sentence + advice)

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


def _folder(row: StudyRow) -> Path:
    """Return the folder of a revision's objects, below the data folder."""
    return Path("studies", row.study_instance_uid, "results", f"r{row.revision}")


def _file_name(kind: Kind, options: ComposeOptions, sop_instance_uid: str) -> str:
    """Return the name of an object's file: kind, way of writing unless it is the usual one, and UID."""
    return "-".join(part for part in (kind, variant(kind, options), sop_instance_uid) if part)


def _wishes(destinations: Sequence[Destination]) -> Iterator[tuple[ComposeOptions, list[Destination]]]:
    """Yield each way of writing with the kinds that are wanted so, and the destinations that want them.

    Report and presentation states in the usual way are always written: the node's own record of the answer.
    """
    ways: dict[ComposeOptions, list[Destination]] = {replace(USUAL, kinds=frozenset()): []}
    for each in destinations:
        ways.setdefault(replace(each.options, kinds=frozenset()), []).append(each)
    for way, takers in ways.items():
        usual = USUAL.kinds if way == replace(USUAL, kinds=frozenset()) else frozenset[Kind]()
        kinds = usual.union(*(each.options.kinds for each in takers))
        yield replace(way, kinds=kinds), takers


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
