"""From a cluster to what it is: shapes are measured, and small logistic models weigh them.

The models are numbers in a JSON file: which measure, its mean and deviation where it was learned, its weight.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage
from scipy.spatial import cKDTree

from mammography.finding import SUSPICIOUS_MORPHOLOGIES, Morphology
from mammography.reader.clustering import spread_of
from mammography.reader.detection import Points
from mammography.reader.preprocessing import Prepared

_REACH = 10
"""Half the side, in reader pixels, of the window in which a speck's shape is measured."""
_FURTHEST_DEVIATIONS = 4.0


class LogisticModel(BaseModel):
    """A probability from measures: logistic of the bias plus the weighted sum of the standardised measures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measures: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    weight: tuple[float, ...]
    bias: float

    def probability(self, measures: dict[str, float]) -> float:
        """Return the probability for one cluster; measures far outside the learned ones count as far."""
        logit = self.bias
        rows = zip(self.measures, self.mean, self.deviation, self.weight, strict=True)
        for name, mean, deviation, weight in rows:
            standard = (measures[name] - mean) / deviation
            logit += weight * min(max(standard, -_FURTHEST_DEVIATIONS), _FURTHEST_DEVIATIONS)
        return 1.0 / (1.0 + math.exp(-min(max(logit, -30.0), 30.0)))


class Classification(BaseModel):
    """The questions that are asked of every cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calcification: LogisticModel
    """Are these calcifications, or fibres and noise?"""
    suspicion: LogisticModel
    """Are these of a suspicious morphology, or of a benign one?"""
    morphology: dict[Morphology, LogisticModel]
    """Are these of this morphology, or of another? Only those that were met often enough are there."""

    def morphologies(self, measures: dict[str, float]) -> dict[Morphology, float]:
        """Return the probability of each morphology that is told apart; they add up to 1.

        The suspicious ones share the probability that the whole cluster is of a suspicious morphology.
        """
        raw = {name: model.probability(measures) for name, model in self.morphology.items()}
        suspicious = sum(share for name, share in raw.items() if name in SUSPICIOUS_MORPHOLOGIES)
        benign = sum(raw.values()) - suspicious
        if not suspicious or not benign:
            return {name: share / (suspicious + benign) for name, share in raw.items()}
        split = self.suspicion.probability(measures)
        return {
            name: share / suspicious * split
            if name in SUSPICIOUS_MORPHOLOGIES
            else share / benign * (1 - split)
            for name, share in raw.items()
        }


def measures_of(points: Points, prepared: Prepared, morphologies: Sequence[Morphology]) -> dict[str, float]:
    """Return everything that is measured on a cluster, by name."""
    places = np.stack([points.rows, points.columns], axis=1) * prepared.spacing_mm
    logits = np.log(points.scores + 1e-4) - np.log(1.0001 - points.scores)
    spread = spread_of(places)
    nearest = cKDTree(places).query(places, k=2)[0][:, 1]
    measures = {
        "log count": math.log(len(points)),
        "best scores": float(np.sort(logits)[::-1][:5].mean()),
        "third score": float(np.sort(logits)[::-1][2]),
        "mean score": float(logits.mean()),
        "macro share": float(points.macro.mean()),
        "log extent": math.log(spread.extent_mm + 0.5),
        "axis ratio": spread.ratio,
        "log density": math.log(len(points) / (spread.extent_mm + 1.0) ** 2),
        "nearest mean": float(np.log(nearest + 0.1).mean()),
        "nearest deviation": float(np.log(nearest + 0.1).std()),
    }
    high_pass = prepared.image[0, 1].numpy()
    shapes = np.array(
        [_shape(high_pass, row, column) for row, column in zip(points.rows, points.columns, strict=True)]
    )
    shapes[:, 0] += math.log(prepared.spacing_mm**2)
    shapes = np.column_stack([shapes, np.log(points.diameters_mm)])
    for name, column in zip(("area", "elongation", "peak", "diameter"), shapes.T, strict=True):
        measures[f"{name} mean"], measures[f"{name} deviation"] = float(column.mean()), float(column.std())
    shares = np.average(points.morphology, axis=0, weights=points.scores)
    suspicious = 0.0
    for morphology, share in zip(morphologies, shares.tolist(), strict=True):
        measures[f"{morphology} share"] = math.log(share + 0.01)
        suspicious += share if morphology in SUSPICIOUS_MORPHOLOGIES else 0.0
    measures["suspicious share"] = math.log(suspicious + 0.01) - math.log(1.01 - suspicious)
    return measures


def _shape(high_pass: NDArray[np.float32], row: float, column: float) -> tuple[float, float, float]:
    """Return log area (reader pixels), log elongation and peak of the speck around a point, at half its height."""
    down, across = int(row), int(column)
    top, left = max(down - _REACH, 0), max(across - _REACH, 0)
    window = high_pass[top : down + _REACH + 1, left : across + _REACH + 1]
    near = window[max(down - top - 1, 0) : down - top + 2, max(across - left - 1, 0) : across - left + 2]
    peak = float(near.max())
    pieces, _ = ndimage.label(window >= max(peak / 2, 0.05))
    label = (
        pieces[down - top, across - left]
        or pieces[max(down - top - 1, 0) :, max(across - left - 1, 0) :].max()
    )
    rows, columns = np.nonzero(pieces == label) if label else (np.array([0]), np.array([0]))
    covariance = np.cov(np.stack([rows, columns]), bias=True) if len(rows) > 1 else np.zeros((2, 2))
    small, large = np.linalg.eigvalsh(covariance + np.eye(2) / 12)
    return math.log(len(rows)), 0.5 * math.log(large / small), peak
