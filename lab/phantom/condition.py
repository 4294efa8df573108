"""Under which conditions images are acquired: which vendor, which pitch, which dose; as in training, or not."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.random import Generator

from lab.phantom.detector import DetectorPlan
from lab.phantom.film import FilmPlan, draw_film, draw_shifted_film
from lab.phantom.presentation import VENDORS, Vendor


class Condition(StrEnum):
    """What a study is drawn from.

    USUAL: what training draws from. SHIFTED: tone curves, scatter, blurs, noise and films outside the ranges that
    USUAL draws, on pixels of 0.05 or 0.1 mm, which USUAL has too. NORMAL: as USUAL, without any calcification.
    """

    USUAL = "usual"
    SHIFTED = "shifted"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """What the views of a study share. `spacing_mm`: the pitch of the machine. `detector`: None is drawn anew.

    `film`: digitised film instead of what `vendor` makes of a digital exposure.
    """

    vendor: Vendor
    spacing_mm: float
    detector: DetectorPlan | None = None
    film: FilmPlan | None = None

    @property
    def name(self) -> str:
        """The vendor's name, or FILM."""
        return FILM if self.film is not None else self.vendor.name


_SHARES = {"alpha": 0.40, "beta": 0.25, "gamma": 0.15, "delta": 0.12}
_OTHER_SHARE = 0.08
FILM = "film"
FILM_SHARE = 0.08
SHIFTED_FILM_SHARE = 1 / 3

SHIFTED_VENDORS: tuple[Vendor, ...] = (
    Vendor(
        name="zeta",
        dark=(1100, 1500),
        bright=(3200, 3600),
        curve=(-1.4, -0.85),
        flatten=(0.1, 0.3),
        sharpen=(0.5, 0.8),
        air=0,
        spacing_mm=0.05,
    ),
    Vendor(
        name="eta",
        dark=(150, 260),
        bright=(1250, 1600),
        curve=(1.3, 1.8),
        flatten=(0.85, 0.95),
        sharpen=(0.0, 0.1),
        air=0,
        spacing_mm=0.1,
    ),
)
"""Vendors that training never meets: curves that flatten towards white, or rise steeply."""


def draw_acquisition(condition: Condition, rng: Generator) -> Acquisition:
    """Return how a study of a condition is acquired."""
    if condition is Condition.SHIFTED:
        vendor = SHIFTED_VENDORS[int(rng.integers(len(SHIFTED_VENDORS)))]
        if rng.random() < SHIFTED_FILM_SHARE:
            return Acquisition(vendor=vendor, spacing_mm=vendor.spacing_mm, film=draw_shifted_film(rng))
        return Acquisition(vendor=vendor, spacing_mm=vendor.spacing_mm, detector=_shifted_detector(rng))
    shares = np.array([_SHARES.get(vendor.name, _OTHER_SHARE) for vendor in VENDORS])
    vendor = VENDORS[int(rng.choice(len(VENDORS), p=shares / shares.sum()))]
    if rng.random() < FILM_SHARE:
        return Acquisition(vendor=vendor, spacing_mm=0.05, film=draw_film(rng))
    return Acquisition(vendor=vendor, spacing_mm=vendor.spacing_mm)


def _shifted_detector(rng: Generator) -> DetectorPlan:
    """Return an exposure outside what training draws: white or coarse noise, sharp or soft edges, more scatter."""
    white = rng.random() < 0.5
    return DetectorPlan(
        quanta=float(rng.uniform(1800, 2600) if white else rng.uniform(9000, 14000)),
        scatter=float(rng.uniform(0.5, 0.7)),
        blur=float(rng.uniform(0.2, 0.4) if white else rng.uniform(0.9, 1.1)),
        grain=float(rng.uniform(0.0, 0.2) if white else rng.uniform(0.6, 0.8)),
        electronic=float(rng.uniform(14, 25)),
    )
