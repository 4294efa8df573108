"""A synthetic study through the reader, by the way that a real one takes, and what is true of all that it says."""

import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from lab.evaluation.matching import (
    VISIBLE_D_PRIME,
    judge,
    match_marks,
    on_large,
    stored_places,
    visibility_of,
)
from lab.evaluation.records import (
    BreastRecord,
    ImageRecord,
    LargeRecord,
    LesionRecord,
    MarkRecord,
    StudyRecord,
)
from lab.phantom.truth import LARGE, Scene, TruthGroup
from mammography.coordinates import Grid, ImagePoint, inside
from mammography.finding import (
    METAL,
    Assessment,
    Finding,
    FindingKind,
    FindingPlace,
    ImageReading,
    ReadStatus,
)
from mammography.mammogram import Mammogram
from mammography.reader.detection import Points
from mammography.reader.hardware import Hardware, hardware_here
from mammography.reader.plan import ReaderPlan
from mammography.reader.preprocessing import Prepared
from mammography.reader.reader import Answer, Look, Reader
from mammography.reader.weights_folder import OpenedWeights
from mammography.view import Laterality

LOWEST_SCORE = 0.05
"""Points are collected from here on; the reader itself starts higher."""
INSIDE_SHARE = 0.5
"""A lesion is outlined when one outline holds at least this share of its specks."""
NEAR_MM = 3.0
LARGE_REACH_MM = 1.0
"""A mark this near to the rim of a large calcification is on it."""
READ_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""When every synthetic study is read: no figure depends on it."""
EVERYTHING = "everything"
"""An operating point that reports every cluster."""


def one_lane() -> Hardware:
    """Return how studies are read here: as this machine reads, but on one thread, so that jobs are what is added."""
    return replace(hardware_here(), lanes=1, threads=1)


def unsure(plan: ReaderPlan) -> ReaderPlan:
    """Return a plan by which every cluster is reported, however many they are."""
    return plan.model_copy(
        update={
            "operating_point": EVERYTHING,
            "operating_points": {EVERYTHING: 0.0},
            "most_findings": plan.most_points,
            "quality": plan.quality.model_copy(
                update={"most_marks": plan.most_points, "most_marks_at_all": plan.most_points}
            ),
        }
    )


class Seen(NamedTuple):
    """What a reader saw on one image: its points, faint ones too, and its reading if nothing were too unsure."""

    points: Points
    grid: Grid
    reading: ImageReading


class WatchedReader(Reader):
    """A reader that remembers, for each image that it reads, what lay below its thresholds."""

    def __init__(self, weights: OpenedWeights) -> None:
        hardware = one_lane()
        network = deepcopy(weights.network)
        super().__init__(weights, hardware)
        plan = unsure(weights.plan)
        self._unsure = Reader(weights._replace(plan=plan, network=network), hardware)
        self._faint: dict[Prepared, Points] = {}
        self.seen: dict[str, Seen] = {}
        """By SOP Instance UID."""
        self.watching_seconds = 0.0

    @override
    def look(self, prepared: Prepared, *, lowest_score: float | None = None) -> Look:
        """Return what the network sees, and keep every cluster of it."""
        look = super().look(prepared, lowest_score=LOWEST_SCORE)
        self._faint[prepared] = look.points
        return look._replace(points=look.points.chosen(look.points.scores >= self.plan.point_score))

    @override
    def answer_of(self, mammogram: Mammogram, prepared: Prepared, look: Look) -> Answer:
        """Return what is said of a look, and remember the look under the image's SOP Instance UID."""
        answer = super().answer_of(mammogram, prepared, look)
        began = time.monotonic()
        self.seen[mammogram.sop_instance_uid] = Seen(
            points=self._faint.pop(prepared),
            grid=prepared.grid,
            reading=self._unsure.answer_of(mammogram, prepared, look).reading,
        )
        self.watching_seconds += time.monotonic() - began
        return answer


class Observer:
    """Reads synthetic studies with one weights folder, and says what is true of all that is said."""

    def __init__(self, weights: OpenedWeights) -> None:
        self.plan = weights.plan
        self._reader = WatchedReader(weights)

    def observe(self, study: int, scenes: Sequence[Scene], files: Sequence[Path]) -> "Observation":
        """Return what the reader says of a study's files, one for each scene, and what is true of it."""
        self._reader.seen.clear()
        self._reader.watching_seconds = 0.0
        began = time.monotonic()
        assessment = self._reader.read_study(files, read_at=READ_AT)
        seconds = time.monotonic() - began - self._reader.watching_seconds
        pairs = [
            _is_one_lesion(scenes, assessment, pair.first, pair.second)
            for pair in assessment.correspondences
            if _finding_at(assessment, pair.first).kind is FindingKind.CLUSTER
        ]
        read = [self._image(scene, said) for scene, said in zip(scenes, assessment.images, strict=True)]
        record = StudyRecord(
            study=study,
            seconds=round(seconds, 2),
            images=tuple(image for image, _ in read),
            breasts=tuple(_breast(side, scenes, assessment) for side in _sides(scenes)),
            pairs=len(pairs),
            right_pairs=sum(pairs),
        )
        return Observation(record=record, findings=tuple(findings for _, findings in read))

    def _image(self, scene: Scene, said: ImageReading) -> tuple[ImageRecord, tuple[Finding, ...]]:
        """Return one image's record, and its clusters in the order of the record's marks."""
        seen = self._reader.seen.get(said.sop_instance_uid)
        read = said.status is ReadStatus.READ
        findings: tuple[Finding, ...] = ()
        scores, places = np.zeros(0), np.zeros((0, 2))
        if seen is not None:
            assert not read or seen.reading.status is ReadStatus.READ, "without thresholds, more is read"  # noqa: S101
            findings = seen.reading.findings
        if seen is not None and read:
            scores, places = seen.points.scores, stored_places(seen.points, seen.grid)
        single = match_marks(scene, scores, places)
        clusters = tuple(finding for finding in findings if finding.kind is FindingKind.CLUSTER)
        large = [finding for finding in findings if read and finding.kind is FindingKind.LARGE]
        groups = [group for group in scene.groups if group.morphology not in LARGE]
        record = ImageRecord(
            laterality=scene.view.laterality,
            position=scene.view.position,
            vendor=scene.vendor,
            density=scene.density,
            spacing_mm=scene.spacing_mm,
            empty=not scene.specks,
            reason=said.reason,
            points=int((scores >= self.plan.point_score).sum()),
            lesions=tuple(_lesion(scene, group, clusters if read else ()) for group in groups),
            marks=tuple(mark_of(scene, finding) for finding in clusters),
            specks=tuple(
                (round(d_prime, 2), score)
                for d_prime, score in zip(single.asked_d_prime.tolist(), single.best.tolist(), strict=True)
            ),
            false_specks=tuple(scores[~single.hit & ~single.forgiven].tolist()),
            large=tuple(_large(scene, group, large) for group in scene.groups if group.morphology in LARGE),
            false_large=tuple(
                finding.morphology or METAL for finding in large if not on_large(scene, finding.center)
            ),
        )
        return record, clusters


class Observation:
    """A study's record, and the clusters on each image that its marks stand for, in the same order."""

    def __init__(self, *, record: StudyRecord, findings: tuple[tuple[Finding, ...], ...]) -> None:
        self.record = record
        self.findings = findings


def mark_of(scene: Scene, finding: Finding) -> MarkRecord:
    """Return a cluster as a mark, with what it really is."""
    places = np.array([speck.center for speck in finding.specks])
    scores = np.array([speck.score for speck in finding.specks])
    verdict, lesions = judge(match_marks(scene, scores, places), np.arange(len(places)))
    middle = finding.center
    distances = [
        (_distance_mm(scene, middle, distractor.center), distractor.kind) for distractor in scene.distractors
    ]
    nearest, kind = min(distances, default=(np.inf, ""))
    return MarkRecord(
        detection=finding.detection,
        suspicion=finding.suspicion,
        morphology=finding.morphology,
        distribution=finding.distribution,
        specks=len(finding.specks),
        column=round(middle.column, 1),
        row=round(middle.row, 1),
        verdict=verdict,
        lesions=tuple(sorted(lesions)),
        near=kind if nearest <= NEAR_MM else None,
    )


def _lesion(scene: Scene, group: TruthGroup, findings: Sequence[Finding]) -> LesionRecord:
    """Return one lesion's record."""
    specks = [speck for speck in scene.specks if speck.group == group.number]
    places = np.array([speck.center for speck in specks])
    holding = [
        finding.detection
        for finding in findings
        if np.mean([inside(speck.center, finding.outline) for speck in specks]) >= INSIDE_SHARE
    ]
    return LesionRecord(
        number=group.number,
        morphology=group.morphology,
        distribution=group.distribution,
        suspicious=group.suspicious,
        easy=group.easy,
        visibility=round(visibility_of(scene, group), 2),
        specks=sum(speck.d_prime >= VISIBLE_D_PRIME for speck in specks),
        diameter_mm=round(float(np.median([speck.diameter_mm for speck in specks])), 3),
        extent_mm=round(float(np.hypot(*np.ptp(places, axis=0))) * scene.spacing_mm, 1),
        outlined=max(holding, default=None),
    )


def _large(scene: Scene, group: TruthGroup, findings: Sequence[Finding]) -> LargeRecord:
    """Return what became of one large calcification, or of a group of them."""
    specks = [speck for speck in scene.specks if speck.group == group.number]
    on_it = [
        finding
        for finding in findings
        if any(
            _distance_mm(scene, speck.center, finding.center) <= speck.diameter_mm / 2 + LARGE_REACH_MM
            or inside(speck.center, finding.outline)
            for speck in specks
        )
    ]
    best = max(on_it, key=lambda finding: finding.detection, default=None)
    return LargeRecord(
        kind=group.morphology, marked=best is not None, called=None if best is None else best.morphology
    )


def _breast(side: Laterality, scenes: Sequence[Scene], assessment: Assessment) -> BreastRecord:
    """Return what is said and true of one breast."""
    said = [breast.suspicion for breast in assessment.breasts if breast.laterality is side]
    true = any(
        group.suspicious and visibility_of(scene, group) >= VISIBLE_D_PRIME
        for scene in scenes
        if scene.view.laterality is side
        for group in scene.groups
    )
    return BreastRecord(laterality=side, suspicion=said[0] if said else None, suspicious=true)


def _is_one_lesion(
    scenes: Sequence[Scene], assessment: Assessment, first: FindingPlace, second: FindingPlace
) -> bool:
    """Return whether two findings that the reader took for one lesion mark the same one."""
    lesions = [
        set(mark_of(scenes[place.image], _finding_at(assessment, place)).lesions) for place in (first, second)
    ]
    return bool(lesions[0] & lesions[1])


def _finding_at(assessment: Assessment, place: FindingPlace) -> Finding:
    """Return a finding by its place."""
    return assessment.images[place.image].findings[place.finding]


def _sides(scenes: Sequence[Scene]) -> list[Laterality]:
    """Return the breasts of a study, each once."""
    return sorted({scene.view.laterality for scene in scenes})


def _distance_mm(scene: Scene, one: ImagePoint, other: ImagePoint) -> float:
    """Return how far two points of an image lie apart, at the detector."""
    return float(np.hypot(one.column - other.column, one.row - other.row)) * scene.spacing_mm
