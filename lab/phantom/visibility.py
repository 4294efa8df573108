"""How large and how visible the phantom's groups of calcifications are, beside real ones."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lab.phantom.fields import generator
from lab.phantom.lesions import random_lesions
from lab.phantom.presentation import VENDORS
from lab.phantom.scene import make_scene
from lab.phantom.study import VIEWS
from lab.phantom.truth import LARGE, Scene
from mammography.finding import Morphology

FEWEST_SPECKS = 3
_REACH = 16
"""Pixels to each side of a speck that its background is taken from."""
_REAL_CONTRASTS = "4.6 to 7.0, 4.3 to 10, 9 to 22 and 11 to 24"
"""10 and 90 % of the specks of four real groups: peak over background, in deviations of a pixel's noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSpeck:
    """A speck as the picture shows it. `contrast`: its peak over its surroundings, in deviations of the noise."""

    contrast: float
    diameter_mm: float
    d_prime: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredGroup:
    """The specks of one group that lie well within the picture."""

    morphology: Morphology
    specks: tuple[MeasuredSpeck, ...]

    @property
    def contrast(self) -> float:
        """The median contrast of its specks."""
        return float(np.median([speck.contrast for speck in self.specks]))


def windows(count: int, seed: int) -> Iterator[Scene]:
    """Yield windows of breasts on digital detectors, two or three lesions in each."""
    for number in range(seed, seed + count):
        yield make_scene(
            number,
            view=VIEWS[number % len(VIEWS)],
            rows=1152,
            columns=896,
            lesions=random_lesions(generator(number, "visibility"), suspicious=1.4, benign=1.4),
            vendor=VENDORS[number % len(VENDORS)],
            window=True,
        )


def measured_groups(scene: Scene) -> Iterator[MeasuredGroup]:
    """Yield the groups of small calcifications of which at least FEWEST_SPECKS lie well within the picture."""
    for group in scene.groups:
        if group.morphology in LARGE:
            continue
        specks = [speck for speck in scene.specks if speck.group == group.number]
        seen = [
            MeasuredSpeck(contrast=contrast, diameter_mm=speck.diameter_mm, d_prime=speck.d_prime)
            for speck in specks
            if (contrast := _contrast(scene, speck.center.row, speck.center.column)) is not None
        ]
        if len(seen) >= FEWEST_SPECKS:
            yield MeasuredGroup(morphology=group.morphology, specks=tuple(seen))


def _contrast(scene: Scene, row: float, column: float) -> float | None:
    """Return a speck's peak over the median of a ring around it, in deviations of the noise; None at the border."""
    down, across = int(row), int(column)
    rows, columns = scene.pixels.shape
    if not (_REACH <= down < rows - _REACH and _REACH <= across < columns - _REACH):
        return None
    patch = scene.pixels[down - _REACH : down + _REACH + 1, across - _REACH : across + _REACH + 1].astype(
        np.float64
    )
    line = np.arange(-_REACH, _REACH + 1)
    distance = np.hypot(line[:, None], line[None])
    ring = patch[(distance > 7) & (distance < 13)]
    diagonal = (patch[:-1, :-1] - patch[:-1, 1:] - patch[1:, :-1] + patch[1:, 1:]) / 2
    noise = 1.4826 * float(np.median(np.abs(diagonal)))
    near = patch[_REACH - 3 : _REACH + 4, _REACH - 3 : _REACH + 4]
    return float((near.max() - np.median(ring)) / max(noise, 1.0))


def table(groups: Sequence[MeasuredGroup]) -> list[str]:
    """Return the measurement as Markdown."""
    specks = [speck for group in groups for speck in group.specks]
    sizes = [speck.diameter_mm for speck in specks]
    counts = [len(group.specks) for group in groups]
    medians = [group.contrast for group in groups]
    by_morphology: dict[Morphology, list[MeasuredGroup]] = defaultdict(list)
    for group in groups:
        by_morphology[group.morphology].append(group)
    return [
        f"{len(groups)} groups, {len(specks)} specks. Quantiles 5/25/50/75/95 %:",
        f"- diameter, mm: {_quantiles(sizes, 2)} (real, blur included: 0.19 0.29 0.36 0.47 0.79)",
        f"- specks in a group: {_quantiles(counts, 0)} (real: 7 to 42, median 17)",
        f"- contrast of a speck, in deviations of the noise: {_quantiles([s.contrast for s in specks], 1)}",
        f"- median contrast of a group: {_quantiles(medians, 1)} (real groups: {_REAL_CONTRASTS})",
        f"- groups with a median contrast below 6: {np.mean(np.array(medians) < 6):.0%}",
        f"- specks with d' of 5 or more: {np.mean([speck.d_prime >= 5 for speck in specks]):.0%}",
        "",
        "| morphology | groups | specks | diameter, mm | contrast 10/50/90 % | d' |",
        "|---|---|---|---|---|---|",
        *(_row(kind, by_morphology[kind]) for kind in Morphology if kind in by_morphology),
    ]


def _row(kind: Morphology, groups: Sequence[MeasuredGroup]) -> str:
    """Return a row of the table: medians over the specks of all groups of a kind."""
    specks = [speck for group in groups for speck in group.specks]
    contrast = np.quantile([speck.contrast for speck in specks], [0.1, 0.5, 0.9])
    size, seen = (
        np.median([getattr(speck, name) for speck in specks]) for name in ("diameter_mm", "d_prime")
    )
    count = np.median([len(group.specks) for group in groups])
    spread = " / ".join(f"{value:.1f}" for value in contrast)
    return f"| {kind} | {len(groups)} | {count:.0f} | {size:.2f} | {spread} | {seen:.0f} |"


def _quantiles(values: Iterable[float], digits: int) -> str:
    """Return five quantiles as text."""
    shares = np.quantile(list(values), [0.05, 0.25, 0.5, 0.75, 0.95])
    return " ".join(f"{value:.{digits}f}" for value in shares)
