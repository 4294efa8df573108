"""Reader studies drawn by chance, of known truth: the model of Roe and Metz, marks with places, patients in clusters.

Roe and Metz (1997, Academic Radiology 4:298): a score is the sum of the disease, reader, case, treatment and their
interactions, normal each; components of one score's cases add up to 1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import norm

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoeMetz:
    """Variances of scores, and by how much the diseased score higher on average."""

    separation: float
    reader: float
    treatment_reader: float
    case: float
    treatment_case: float
    reader_case: float
    error: float

    def area(self, separation: float | None = None) -> float:
        """Return the expected area under the ROC curve, over readers and cases."""
        cases = self.case + self.treatment_case + self.reader_case + self.error
        spread = math.sqrt(2 * (self.reader + self.treatment_reader + cases))
        return float(norm.cdf((self.separation if separation is None else separation) / spread))

    def separation_of(self, area: float) -> float:
        """Return how far apart the kinds must lie for an expected area, 0.5 to 1."""
        cases = self.case + self.treatment_case + self.reader_case + self.error
        return float(norm.ppf(area)) * math.sqrt(2 * (self.reader + self.treatment_reader + cases))


def _structure(reader: float, case: float, reader_case: float, error: float) -> RoeMetz:
    """Return a structure of Roe and Metz, in which treatments interact as strongly as the factor alone varies."""
    return RoeMetz(
        separation=1.5,
        reader=reader,
        treatment_reader=reader,
        case=case,
        treatment_case=case,
        reader_case=reader_case,
        error=error,
    )


STRUCTURES: Mapping[str, RoeMetz] = MappingProxyType(
    {
        "HL": _structure(0.0055, 0.3, 0.2, 0.2),
        "LL": _structure(0.0055, 0.1, 0.2, 0.6),
        "HH": _structure(0.03, 0.3, 0.2, 0.2),
        "LH": _structure(0.03, 0.1, 0.2, 0.6),
    }
)
"""Table 1 of Roe and Metz (1997) at a separation of 1.5, as iMRMC's configurations have it: cases correlate highly or
lowly (first letter), readers vary highly or lowly (second)."""


def draw_ratings(
    model: RoeMetz,
    rng: Generator,
    *,
    readers: int,
    normal: int,
    diseased: int,
    separations: tuple[float, ...] | None = None,
) -> tuple[Array, Bools]:
    """Return scores [treatments, readers, cases] and which cases are diseased [cases], the normal ones first.

    `separations`: one for each treatment; the model's own for two treatments without them, which so do not differ.
    """
    apart = np.array(separations or (model.separation, model.separation))
    positive = np.arange(normal + diseased) >= normal
    kinds = [_draw_kind(model, rng, (len(apart), readers, count)) for count in (normal, diseased)]
    scores = np.concatenate(kinds, axis=-1)
    return scores + apart[:, None, None] * positive, positive


def _draw_kind(model: RoeMetz, rng: Generator, shape: tuple[int, int, int]) -> Array:
    """Return scores [treatments, readers, cases] of cases of one kind, which have effects of their own."""
    treatments, readers, cases = shape
    effects = (
        (model.reader, (1, readers, 1)),
        (model.treatment_reader, (treatments, readers, 1)),
        (model.case, (1, 1, cases)),
        (model.treatment_case, (treatments, 1, cases)),
        (model.reader_case, (1, readers, cases)),
        (model.error, shape),
    )
    scores = np.zeros(shape)
    for variance, size in effects:
        scores = scores + rng.normal(scale=math.sqrt(variance), size=size)
    return scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Marks:
    """What free-response readers marked.

    `highest_false`: [treatments, readers, cases]; `lesions`: [treatments, readers, lesions]; minus infinity without a
    mark; `lesion_case`: [lesions].
    """

    highest_false: Array
    lesions: Array
    lesion_case: NDArray[np.int64]


def draw_marks(model: RoeMetz, rng: Generator, *, readers: int, normal: int, diseased: int) -> Marks:
    """Return marks of two treatments that do not differ; every diseased case has one to three lesions.

    Scores below 0.5 are not marked; scores of one case go together, as do those of one reader.
    """
    lesion_case = normal + np.repeat(np.arange(diseased), rng.integers(1, 4, size=diseased))
    cases = _draw_kind(model, rng, (2, readers, normal + diseased))
    own = rng.normal(scale=0.5, size=(2, readers, len(lesion_case)))
    lesions = cases[..., lesion_case] + own + model.separation
    return Marks(
        highest_false=np.where(cases < 0.5, -np.inf, cases),
        lesions=np.where(lesions < 0.5, -np.inf, lesions),
        lesion_case=lesion_case,
    )


def draw_clustered(
    rng: Generator, *, patients: int, share: float, correlation: float
) -> tuple[Bools, NDArray[np.int64]]:
    """Return findings that are found or not [findings], one to five a patient, and whose each is [findings].

    A patient's own share is drawn from a beta distribution about `share`, so that two findings of one patient
    correlate by `correlation`.
    """
    sizes = rng.integers(1, 6, size=patients)
    owners = np.repeat(np.arange(patients), sizes)
    weight = (1 - correlation) / correlation
    own = rng.beta(share * weight, (1 - share) * weight, size=patients)
    return rng.random(len(owners)) < own[owners], owners


def draw_breasts(
    rng: Generator, *, patients: int, separation: float
) -> tuple[Array, Bools, NDArray[np.int64]]:
    """Return scores [2 readings, breasts], which breasts are diseased and whose they are; two breasts a patient.

    Both readings are equally good. A patient's breasts go together, as do the readings of one breast.
    """
    owners = np.repeat(np.arange(patients), 2)
    positive = rng.random(2 * patients) < 0.4
    common = rng.normal(scale=math.sqrt(0.4), size=patients)[owners] + rng.normal(
        scale=math.sqrt(0.3), size=2 * patients
    )
    readings = rng.normal(scale=math.sqrt(0.3), size=(2, 2 * patients))
    return common + readings + separation * positive, positive, owners
