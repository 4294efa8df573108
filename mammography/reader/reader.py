"""The reader: a mammogram in, findings out; the same image always gets the same answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mammography.coordinates import Grid
from mammography.finding import (
    SUSPICIOUS_MORPHOLOGIES,
    Assessment,
    Distribution,
    Finding,
    FindingAssessment,
    FindingKind,
    ImageReading,
    Morphology,
    ReadStatus,
    Speck,
)
from mammography.mammogram import (
    FOR_PRESENTATION,
    FOR_PROCESSING,
    MAMMOGRAPHY_CLASSES,
    Mammogram,
    UnreadableMammogram,
    open_header,
    open_mammogram,
)
from mammography.reader.classification import measures_of
from mammography.reader.clustering import (
    clusters_of,
    distribution_of,
    distributions_of,
    nipple_of,
    outline_of,
)
from mammography.reader.correspondence import Trait, breast_scores, correspondences_of, extent_of
from mammography.reader.detection import Points, maps_of, points_of
from mammography.reader.fusion import placed
from mammography.reader.hardware import Hardware, Rest, hardware_here, keep_memory
from mammography.reader.large import LargeStructure, is_metal, large_finding, large_of, metal_of, reported
from mammography.reader.pipeline import side_by_side
from mammography.reader.plan import ReaderPlan
from mammography.reader.preprocessing import Prepared, density_values, prepare
from mammography.reader.prior import suspicion_of
from mammography.reader.quality import (
    STRANGE_REMARK,
    Quality,
    fault_of,
    flood_of,
    is_strange,
    measure_quality,
    remarks_of,
)
from mammography.reader.second_stage import cluster_view, second_measures
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, OpenedWeights, open_weights
from mammography.view import View, view_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One cluster before any threshold; `indices` are those of its points."""

    indices: NDArray[np.intp]
    measures: dict[str, float]
    detection: float
    suspicion: float
    """From the literature (`mammography.reader.prior`), by the next two."""
    morphologies: dict[Morphology, float]
    distributions: dict[Distribution | None, float]


class Look(NamedTuple):
    """What the network sees on one image: its specks, and its large bright structures, best first."""

    points: Points
    large: list[LargeStructure]


class Answer(NamedTuple):
    """The reading of one image, and what each of its findings can be recognised by in another view."""

    reading: ImageReading
    traits: tuple[Trait, ...] = ()


class Reader:
    """Reads mammograms with the weights, plan and models of one folder."""

    def __init__(self, weights: OpenedWeights, hardware: Hardware | None = None) -> None:
        keep_memory()
        self.hardware = hardware or hardware_here()
        self.plan: ReaderPlan = weights.plan
        self.identity = weights.plan.identity()
        self._network = placed(weights.network, self.hardware)
        self._classification = weights.classification
        self._second_stage = weights.second_stage
        self._rest = Rest()

    @classmethod
    def load(cls, folder: Path | None = None) -> "Reader":
        """Return the reader of a weights folder, or of the weights that come with the package.

        Raises:
            mammography.reader.plan.UnusableWeights: if they are missing, damaged or changed.
        """
        return cls(open_weights(folder or SHIPPED_WEIGHTS))

    def read_image(self, mammogram: Mammogram) -> ImageReading:
        """Return what the reader says of one mammogram, or why it says nothing."""
        return self.answer(mammogram).reading

    def answer(self, mammogram: Mammogram) -> Answer:
        """Return what the reader says of one mammogram, with what its findings are recognised by."""
        try:
            prepared = self.prepared(mammogram)
        except UnreadableMammogram as refusal:
            return Answer(_not_read(mammogram.sop_instance_uid, mammogram.view, str(refusal)))
        return self.answer_of(mammogram, prepared, self.look(prepared))

    def answer_of(self, mammogram: Mammogram, prepared: Prepared, look: Look) -> Answer:
        """Return what the reader says of what the network saw on a mammogram."""
        marked, quality = self._marked(look, prepared), measure_quality(prepared)
        reason = self._withheld(look, quality, marked)
        if reason:
            return Answer(_not_read(mammogram.sop_instance_uid, mammogram.view, reason))
        told = self._told(look, prepared, mammogram, marked)
        shown = told[: self.plan.most_findings]
        shown.sort(key=lambda pair: (pair[0].kind is FindingKind.LARGE, -pair[0].detection))
        return Answer(
            ImageReading(
                sop_instance_uid=mammogram.sop_instance_uid,
                view=mammogram.view,
                status=ReadStatus.READ,
                findings=tuple(finding for finding, _ in shown),
                non_lesions=tuple(
                    metal_of(structure, prepared, mammogram)
                    for structure in look.large
                    if is_metal(structure, self.plan)
                ),
                remarks=(
                    *remarks_of(mammogram, prepared),
                    *([STRANGE_REMARK] if is_strange(quality, self.plan.quality) else []),
                    *_left_out(len(told), len(shown)),
                ),
            ),
            self._traits(shown, mammogram, prepared),
        )

    def _told(
        self, look: Look, prepared: Prepared, mammogram: Mammogram, marked: Sequence[Candidate]
    ) -> list[tuple[Finding, dict[Morphology, float]]]:
        """Return every finding with its chances of each morphology: suspicious ones first, then the surest."""
        told: list[tuple[Finding, dict[Morphology, float]]] = [
            (
                self._finding(candidate, look.points.chosen(candidate.indices), prepared, mammogram),
                candidate.morphologies,
            )
            for candidate in marked
        ]
        told += [
            (large_finding(structure, prepared, mammogram, self.plan), {structure.kind: 1.0})
            for structure in look.large
            if reported(structure, self.plan)
        ]
        return sorted(told, key=lambda pair: _weight(pair[0]), reverse=True)

    def _marked(self, look: Look, prepared: Prepared) -> list[Candidate]:
        """Return the clusters that the operating point shows; none of an image with too many points to link."""
        if len(look.points) > self.plan.most_points:
            return []
        return [
            candidate
            for candidate in self.candidates(look.points, prepared)
            if candidate.detection >= self.plan.detection_score
        ]

    def _withheld(self, look: Look, quality: Quality, marked: Sequence[Candidate]) -> str | None:
        """Return the sentence why nothing is said of an image, or None."""
        count = len(look.points)
        if count > self.plan.most_points:
            return f"noise or artefact suspected: {count} candidate points; result withheld"
        marks = len(marked) + sum(reported(structure, self.plan) for structure in look.large)
        scattered = count - sum(len(candidate.indices) for candidate in marked)
        return fault_of(quality, self.plan.quality) or flood_of(
            quality, self.plan.quality, marks=marks, scattered=scattered
        )

    def _traits(
        self,
        told: Sequence[tuple[Finding, dict[Morphology, float]]],
        mammogram: Mammogram,
        prepared: Prepared,
    ) -> tuple[Trait, ...]:
        """Return what findings can be recognised by in another view."""
        nipple_mm = nipple_of(prepared.breast, prepared.spacing_mm)[1]
        return tuple(
            Trait(
                kind=finding.kind,
                depth_mm=nipple_mm - prepared.grid.from_image(finding.center)[0] * prepared.spacing_mm,
                extent_mm=extent_of(finding, mammogram.spacing_mm),
                specks=len(finding.specks),
                morphologies=morphologies,
            )
            for finding, morphologies in told
        )

    def read_study(
        self, paths: Sequence[Path], *, read_at: datetime, beat: Callable[[], None] = lambda: None
    ) -> Assessment:
        """Return the assessment of a study's files, in the order in which they are given.

        Only mammograms get an entry. `read_at` is aware, in local time; `beat` is called after every image.
        """
        headers = [(path, _header(path)) for path in paths]
        presented = {
            view
            for _, header in headers
            if header is not None
            and header.get("SOPClassUID") == FOR_PRESENTATION
            and (view := view_of(header)) is not None
        }
        mammograms = [
            (path, header)
            for path, header in headers
            if header is not None and header.get("SOPClassUID") in MAMMOGRAPHY_CLASSES
        ]
        answers = []
        self._rest.interrupt()
        try:
            for answer in side_by_side(
                lambda file: self._read_file(*file, presented), mammograms, self.hardware
            ):
                answers.append(answer)
                beat()
        finally:
            self._rest.begin()
        return self.assessment_of(answers, read_at=read_at)

    def assessment_of(self, answers: Sequence[Answer], *, read_at: datetime) -> Assessment:
        """Return the assessment of a study from the answers to its images, in their order."""
        images = tuple(answer.reading for answer in answers)
        return Assessment(
            reader=self.identity,
            read_at=read_at,
            images=images,
            correspondences=correspondences_of(images, [answer.traits for answer in answers]),
            breasts=breast_scores(images),
        )

    def prepared(self, mammogram: Mammogram) -> Prepared:
        """Return what the network sees of a mammogram.

        Raises:
            UnreadableMammogram: if no breast is found.
        """
        return prepare(density_values(mammogram), spacing_mm=mammogram.spacing_mm, plan=self.plan)

    def points(self, prepared: Prepared, *, lowest_score: float | None = None) -> Points:
        """Return the specks of a prepared image, best first, without those of large benign calcifications."""
        return self.look(prepared, lowest_score=lowest_score).points

    def look(self, prepared: Prepared, *, lowest_score: float | None = None) -> Look:
        """Return what the network sees on a prepared image; no speck lies on a large structure."""
        maps = maps_of(self._network, prepared.image)
        points = points_of(maps, prepared, lowest_score=lowest_score or self.plan.point_score)
        return Look(points.chosen(points.macro < self.plan.macro_score), large_of(maps, prepared, self.plan))

    def candidates(self, points: Points, prepared: Prepared) -> list[Candidate]:
        """Return every cluster of the points, with what the models say of it, before any threshold."""
        places = np.stack([points.rows, points.columns], axis=1) * prepared.spacing_mm
        nipple = nipple_of(prepared.breast, prepared.spacing_mm)
        area_mm2 = float(np.count_nonzero(prepared.breast)) * prepared.spacing_mm**2
        clusters = clusters_of(places, self.plan)
        members = [points.chosen(indices) for indices in clusters]
        candidates = []
        for indices, second in zip(clusters, self._second_look(members, prepared), strict=True):
            measures = measures_of(points.chosen(indices), prepared, self.plan.morphologies) | second
            morphologies = self._classification.morphologies(measures)
            distributions = distributions_of(places[indices], nipple=nipple, breast_area_mm2=area_mm2)
            candidates.append(
                Candidate(
                    indices=indices,
                    measures=measures,
                    detection=round(self._classification.calcification.probability(measures), 4),
                    suspicion=round(suspicion_of(morphologies, distributions), 4),
                    morphologies=morphologies,
                    distributions=distributions,
                )
            )
        return candidates

    def _second_look(self, members: Sequence[Points], prepared: Prepared) -> list[dict[str, float]]:
        """Return what the second stage measures on each cluster; nothing where there is no second stage."""
        if self._second_stage is None or not members:
            return [{} for _ in members]
        views = [cluster_view(cluster, prepared) for cluster in members]
        return second_measures(self._second_stage, views, self.plan.morphologies)

    def _read_file(self, path: Path, header: Dataset, presented: set[View]) -> Answer:
        """Return the answer to one mammographic file of a study, whose presented views are known."""
        view, uid = view_of(header), str(header.get("SOPInstanceUID") or "")
        if header.get("SOPClassUID") == FOR_PROCESSING and view in presented:
            reason = f"The study holds the {view} image For Presentation, which is read."
            return Answer(_not_read(uid, view, reason))
        try:
            mammogram = open_mammogram(path)
        except UnreadableMammogram as refusal:
            log.info("image-not-read", sop_instance_uid=uid, reason=str(refusal))
            return Answer(_not_read(uid, view, str(refusal)))
        answer = self.answer(mammogram)
        status, findings = answer.reading.status, len(answer.reading.findings)
        log.info("image-read", sop_instance_uid=uid, status=status, findings=findings)
        return answer

    def _finding(
        self, candidate: Candidate, members: Points, prepared: Prepared, mammogram: Mammogram
    ) -> Finding:
        """Return a candidate as a finding in the coordinates of the stored image."""
        grid: Grid = prepared.grid
        places = zip(members.columns, members.rows, strict=True)
        centers = [grid.to_image(float(column), float(row)) for column, row in places]
        specks = tuple(
            Speck(center=center, score=float(score), diameter_mm=round(float(diameter), 3))
            for center, score, diameter in zip(centers, members.scores, members.diameters_mm, strict=True)
        )
        suspicious = candidate.suspicion >= self.plan.suspicious_score
        return Finding(
            outline=outline_of(
                centers,
                [speck.diameter_mm for speck in specks],
                spacing_mm=mammogram.spacing_mm,
                rows=mammogram.rows,
                columns=mammogram.columns,
            ),
            specks=specks,
            detection=candidate.detection,
            suspicion=candidate.suspicion,
            assessment=FindingAssessment.SUSPICIOUS if suspicious else FindingAssessment.BENIGN,
            morphology=self._morphology(candidate, suspicious=suspicious),
            distribution=distribution_of(candidate.distributions),
        )

    def _morphology(self, candidate: Candidate, *, suspicious: bool) -> Morphology | None:
        """Return the morphology where one is clear and agrees with the call, else none."""
        if not candidate.morphologies:
            return None
        best, probability = max(candidate.morphologies.items(), key=lambda item: item[1])
        agrees = (best in SUSPICIOUS_MORPHOLOGIES) == suspicious
        return best if agrees and probability >= self.plan.morphology_score else None


def _weight(finding: Finding) -> tuple[bool, bool, float]:
    """Return what decides which findings a view shows where it has too many: a suspicious call, then the score."""
    suspicious = finding.assessment is FindingAssessment.SUSPICIOUS
    return suspicious, finding.kind is FindingKind.CLUSTER, finding.detection


def _left_out(told: int, shown: int) -> tuple[str, ...]:
    """Return the sentence that tells of findings which are not shown, if there are any."""
    if told == shown:
        return ()
    return (f"Only the {shown} strongest of {told} marks are shown; calcifications lie elsewhere too.",)


def _header(path: Path) -> Dataset | None:
    """Return a file's header, or None where the file is no DICOM file."""
    try:
        return open_header(path)
    except UnreadableMammogram as refusal:
        log.warning("file-skipped", file=path.name, reason=str(refusal))
        return None


def _not_read(sop_instance_uid: str, view: View | None, reason: str) -> ImageReading:
    """Return the entry of an image that was not read."""
    return ImageReading(
        sop_instance_uid=sop_instance_uid, view=view, status=ReadStatus.NOT_READ, reason=reason
    )
