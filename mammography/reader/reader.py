"""The reader: a mammogram in, findings out; the same image always gets the same answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from mammography.coordinates import Grid
from mammography.finding import (
    Assessment,
    Finding,
    FindingAssessment,
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
from mammography.reader.classification import (
    SUSPICIOUS_MORPHOLOGIES,
    measures_of,
)
from mammography.reader.clustering import clusters_of, distribution_of, nipple_of, outline_of
from mammography.reader.detection import Points, maps_of, points_of
from mammography.reader.plan import ReaderPlan
from mammography.reader.preprocessing import Prepared, density_values, prepare
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
    morphologies: dict[Morphology, float]


class Reader:
    """Reads mammograms with the weights, plan and models of one folder."""

    def __init__(self, weights: OpenedWeights) -> None:
        self.plan: ReaderPlan = weights.plan
        self.identity = weights.plan.identity()
        self._network = weights.network
        self._classification = weights.classification

    @classmethod
    def load(cls, folder: Path | None = None) -> "Reader":
        """Return the reader of a weights folder, or of the weights that come with the package.

        Raises:
            mammography.reader.plan.UnusableWeights: if they are missing, damaged or changed.
        """
        return cls(open_weights(folder or SHIPPED_WEIGHTS))

    def read_image(self, mammogram: Mammogram) -> ImageReading:
        """Return what the reader says of one mammogram, or why it says nothing."""
        try:
            prepared = self.prepared(mammogram)
        except UnreadableMammogram as refusal:
            return _not_read(mammogram.sop_instance_uid, mammogram.view, str(refusal))
        return self.reading_of(mammogram, prepared, self.points(prepared))

    def reading_of(self, mammogram: Mammogram, prepared: Prepared, points: Points) -> ImageReading:
        """Return what the reader says of the specks that were found on a mammogram."""
        if len(points) > self.plan.most_points:
            reason = f"noise or artefact suspected: {len(points)} candidate points; result withheld"
            return _not_read(mammogram.sop_instance_uid, mammogram.view, reason)
        findings = [
            self._finding(candidate, points.chosen(candidate.indices), prepared, mammogram)
            for candidate in self.candidates(points, prepared)
            if candidate.detection >= self.plan.detection_score
        ]
        return ImageReading(
            sop_instance_uid=mammogram.sop_instance_uid,
            view=mammogram.view,
            status=ReadStatus.READ,
            findings=tuple(sorted(findings, key=lambda finding: -finding.detection)),
        )

    def read_study(
        self, paths: Sequence[Path], *, read_at: datetime, beat: Callable[[], None] = lambda: None
    ) -> Assessment:
        """Return the assessment of a study's files, in the order in which they are given.

        Only mammograms get an entry. `read_at` is aware UTC; `beat` is called after every image.
        """
        headers = [(path, _header(path)) for path in paths]
        presented = {
            view
            for _, header in headers
            if header is not None
            and header.get("SOPClassUID") == FOR_PRESENTATION
            and (view := view_of(header)) is not None
        }
        images = []
        for path, header in headers:
            if header is None or header.get("SOPClassUID") not in MAMMOGRAPHY_CLASSES:
                continue
            images.append(self._read_file(path, header, presented))
            beat()
        return Assessment(reader=self.identity, read_at=read_at, images=tuple(images))

    def prepared(self, mammogram: Mammogram) -> Prepared:
        """Return what the network sees of a mammogram.

        Raises:
            UnreadableMammogram: if no breast is found.
        """
        return prepare(density_values(mammogram), spacing_mm=mammogram.spacing_mm, plan=self.plan)

    def points(self, prepared: Prepared, *, lowest_score: float | None = None) -> Points:
        """Return the specks of a prepared image, best first, without those of large benign calcifications."""
        maps = maps_of(self._network, prepared.image)
        points = points_of(maps, prepared, lowest_score=lowest_score or self.plan.point_score)
        return points.chosen(points.macro < self.plan.macro_score)

    def candidates(self, points: Points, prepared: Prepared) -> list[Candidate]:
        """Return every cluster of the points, with what the models say of it, before any threshold."""
        places = np.stack([points.rows, points.columns], axis=1) * prepared.spacing_mm
        candidates = []
        for indices in clusters_of(places, self.plan):
            members = points.chosen(indices)
            measures = measures_of(members, prepared, self.plan.morphologies)
            candidates.append(
                Candidate(
                    indices=indices,
                    measures=measures,
                    detection=round(self._classification.calcification.probability(measures), 4),
                    suspicion=round(self._classification.suspicion.probability(measures), 4),
                    morphologies=self._classification.morphologies(measures),
                )
            )
        return candidates

    def _read_file(self, path: Path, header: Dataset, presented: set[View]) -> ImageReading:
        """Return the reading of one mammographic file of a study, whose presented views are known."""
        view, uid = view_of(header), str(header.get("SOPInstanceUID") or "")
        if header.get("SOPClassUID") == FOR_PROCESSING and view in presented:
            return _not_read(uid, view, f"The study holds the {view} image For Presentation, which is read.")
        try:
            mammogram = open_mammogram(path)
        except UnreadableMammogram as refusal:
            log.info("image-not-read", sop_instance_uid=uid, reason=str(refusal))
            return _not_read(uid, view, str(refusal))
        reading = self.read_image(mammogram)
        log.info("image-read", sop_instance_uid=uid, status=reading.status, findings=len(reading.findings))
        return reading

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
            distribution=distribution_of(
                np.stack([members.rows, members.columns], axis=1) * prepared.spacing_mm,
                nipple=nipple_of(prepared.breast, prepared.spacing_mm),
                breast_area_mm2=float(prepared.breast.sum()) * prepared.spacing_mm**2,
            ),
        )

    def _morphology(self, candidate: Candidate, *, suspicious: bool) -> Morphology | None:
        """Return the morphology where one is clear and agrees with the call, else none."""
        if not candidate.morphologies:
            return None
        best, probability = max(candidate.morphologies.items(), key=lambda item: item[1])
        agrees = (best in SUSPICIOUS_MORPHOLOGIES) == suspicious
        return best if agrees and probability >= self.plan.morphology_score else None


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
