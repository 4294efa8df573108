"""Groups of calcifications, planned in the breast and not on an image, so that two views can show the same ones.

A speck's place is three millimetre offsets from its lesion's centre: towards the chest wall (the same in every
view), across the craniocaudal view, and across the mediolateral oblique view.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from lab.phantom.calcification import Shape, ShapeKind
from lab.phantom.spread import DISTRIBUTIONS, Offsets, spread
from mammography.finding import Distribution, Morphology


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeckPlan:
    """One calcification of a lesion. `back_mm`: towards the chest wall; `turn`: from the lesion's direction."""

    back_mm: float
    across_cc_mm: float
    across_mlo_mm: float
    shape: Shape
    turn: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionPlan:
    """One lesion. `depth_mm` behind the nipple, or None where a view may choose it. `seed` fixes the outlines.

    `near_skin`: lies in the skin. `vessel_mm`: radius of the vessel that carries it, 0 for none.
    """

    morphology: Morphology
    distribution: Distribution | None
    specks: tuple[SpeckPlan, ...]
    depth_mm: float | None
    seed: int
    near_skin: bool = False
    vessel_mm: float = 0.0


SUBTLE_SHARE = 0.35
BRANCHING = 0.3
"""The share of fine linear calcifications that branch."""
_OFTEN_SUBTLE = frozenset(
    {Morphology.AMORPHOUS, Morphology.FINE_PLEOMORPHIC, Morphology.FINE_LINEAR, Morphology.PUNCTATE}
)
"""The morphologies of which SUBTLE_SHARE are drawn at the limit of what can be seen."""


def plan_lesion(
    morphology: Morphology, seed: int, rng: Generator, *, depth_mm: float | None = None, easy: bool = False
) -> LesionPlan:
    """Return a lesion of a morphology; an easy one is grouped, large and dense enough for anyone to see."""
    distribution: Distribution | None = None
    if morphology in DISTRIBUTIONS:
        kinds, shares = DISTRIBUTIONS[morphology]
        distribution = Distribution.GROUPED if easy else kinds[int(rng.choice(len(kinds), p=shares))]
    specks = _MAKERS[morphology](distribution, rng, easy)
    if not easy and morphology in _OFTEN_SUBTLE and rng.random() < SUBTLE_SHARE:
        specks = _subtle(specks, distribution, rng)
    vessel = float(rng.uniform(0.7, 1.7)) if morphology is Morphology.VASCULAR else 0.0
    if vessel:
        specks = _vessel_walls(vessel, rng)
    return LesionPlan(
        morphology=morphology,
        distribution=distribution,
        specks=tuple(specks),
        depth_mm=depth_mm,
        seed=seed,
        near_skin=morphology is Morphology.SKIN,
        vessel_mm=vessel,
    )


def _subtle(specks: list[SpeckPlan], distribution: Distribution | None, rng: Generator) -> list[SpeckPlan]:
    """Return a group that is hard to see: 5 to 10 specks where it is grouped, thin and small, 4 to 6 times the noise."""
    if distribution is Distribution.GROUPED:
        specks = specks[: int(rng.integers(5, 11))]
    size, density = rng.uniform(0.65, 0.9), rng.uniform(0.6, 0.95)

    def fainter(shape: Shape) -> Shape:
        smaller = max(shape.diameter_mm * size, min(shape.diameter_mm, 0.13))
        return replace(shape, diameter_mm=smaller, density=shape.density * density)

    return [replace(speck, shape=fainter(speck.shape)) for speck in specks]


def _placed(
    offsets: Offsets, shape: Callable[[], Shape], turn: Callable[[], float] = lambda: 0.0
) -> list[SpeckPlan]:
    """Return a speck at each offset."""
    return [
        SpeckPlan(
            back_mm=float(back), across_cc_mm=float(cc), across_mlo_mm=float(mlo), shape=shape(), turn=turn()
        )
        for back, cc, mlo in offsets
    ]


def _any_turn(rng: Generator) -> Callable[[], float]:
    return lambda: float(rng.uniform(0, np.pi))


def _amorphous(distribution: Distribution | None, rng: Generator, easy: bool) -> list[SpeckPlan]:
    base = rng.uniform(0.34, 0.42) if easy else rng.uniform(0.17, 0.34)
    low = 0.8 if easy else 0.45

    def shape() -> Shape:
        return Shape(
            diameter_mm=base * rng.uniform(0.7, 1.4),
            elongation=rng.uniform(1, 1.5),
            roughness=0.12,
            haze=rng.uniform(0.2, 0.45),
            density=rng.uniform(low, 0.95),
        )

    return _placed(spread(int(rng.integers(8, 45)), distribution, rng, easy), shape, _any_turn(rng))


def _coarse_heterogeneous(distribution: Distribution | None, rng: Generator, easy: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        return Shape(
            diameter_mm=float(np.clip(np.exp(rng.normal(np.log(0.57), 0.35)), 0.5 if easy else 0.25, 1.5)),
            elongation=rng.uniform(1, 1.8),
            roughness=0.25,
            lobes=int(rng.integers(1, 4)),
            density=rng.uniform(0.8 if easy else 0.5, 1),
            flatness=0.8 if easy else 0.55,
        )

    count = int(rng.integers(8 if easy else 4, 16))
    return _placed(spread(count, distribution, rng, easy), shape, _any_turn(rng))


def _fine_pleomorphic(distribution: Distribution | None, rng: Generator, easy: bool) -> list[SpeckPlan]:
    base = rng.uniform(0.36, 0.44) if easy else rng.uniform(0.17, 0.33)

    def shape() -> Shape:
        return Shape(
            diameter_mm=float(np.clip(base * np.exp(rng.normal(0, 0.36)), 0.24 if easy else 0.1, 0.75)),
            elongation=rng.uniform(1, 2.6),
            roughness=0.32,
            lobes=int(rng.integers(1, 4)),
            density=rng.uniform(0.8 if easy else 0.5, 1.1),
        )

    count = int(rng.integers(10, 30)) if easy else int(rng.integers(5, 35))
    return _placed(spread(count, distribution, rng, easy), shape, _any_turn(rng))


def _fine_linear(distribution: Distribution | None, rng: Generator, easy: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        return Shape(
            kind=ShapeKind.ROD,
            diameter_mm=rng.uniform(0.24, 0.34) if easy else rng.uniform(0.12, 0.3),
            length_mm=float(np.clip(np.exp(rng.normal(np.log(1.1), 0.5)), 0.4, 3.2)),
            bend=rng.normal() * 0.15,
            roughness=0.45,
            density=rng.uniform(0.85 if easy else 0.6, 1.1),
        )

    offsets = spread(int(rng.integers(8 if easy else 5, 22)), distribution, rng, easy)
    rods = _placed(offsets, shape, lambda: float(rng.normal() * 0.35))
    rods += [_branch(rod, rng) for rod in rods if rng.random() < BRANCHING]
    crumbs = offsets[rng.integers(0, len(offsets), int(rng.integers(0, 8)))]
    crumbs = crumbs + rng.normal(size=crumbs.shape)
    return rods + _placed(
        crumbs,
        lambda: Shape(diameter_mm=rng.uniform(0.14, 0.3), elongation=1.4, roughness=0.3),
        _any_turn(rng),
    )


def _branch(rod: SpeckPlan, rng: Generator) -> SpeckPlan:
    """Return a shorter rod that leaves another near its end, like the duct that it fills."""
    length = rod.shape.length_mm * rng.uniform(0.4, 0.8)
    side = rng.choice([-1, 1])
    turn = rod.turn + side * rng.uniform(0.5, 1.1)
    back = 0.3 * rod.shape.length_mm * np.cos(rod.turn) + length / 2 * np.cos(turn)
    aside = 0.3 * rod.shape.length_mm * np.sin(rod.turn) + length / 2 * np.sin(turn)
    return SpeckPlan(
        back_mm=rod.back_mm - float(back),
        across_cc_mm=rod.across_cc_mm + float(aside),
        across_mlo_mm=rod.across_mlo_mm + float(aside),
        shape=replace(rod.shape, length_mm=length, diameter_mm=rod.shape.diameter_mm * 0.8),
        turn=float(turn),
    )


def _round_specks(
    low: float, high: float
) -> Callable[[Distribution | None, Generator, bool], list[SpeckPlan]]:
    def make(distribution: Distribution | None, rng: Generator, easy: bool) -> list[SpeckPlan]:
        base = rng.uniform(0.42, max(high, 0.5)) if easy else rng.uniform(low, high)

        def shape() -> Shape:
            return Shape(
                diameter_mm=base * rng.uniform(0.85, 1.15),
                elongation=rng.uniform(1, 1.12),
                roughness=0.02,
                density=rng.uniform(0.85, 1.05),
            )

        count = int(rng.integers(8 if easy else 3, 25))
        return _placed(spread(count, distribution, rng, easy), shape, _any_turn(rng))

    return make


def _coarse(_: Distribution | None, rng: Generator, __: bool) -> list[SpeckPlan]:
    size = rng.uniform(2, 8)
    shape = Shape(
        diameter_mm=size,
        elongation=rng.uniform(1, 1.4),
        roughness=0.24,
        lobes=int(rng.integers(4, 12)),
        density=0.55,
        flatness=0.3,
    )
    return _placed(np.zeros((1, 3)), lambda: shape, _any_turn(rng))


def _rim(_: Distribution | None, rng: Generator, __: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        return Shape(
            kind=ShapeKind.RING,
            diameter_mm=float(np.clip(np.exp(rng.normal(np.log(4), 0.5)), 1.2, 10)),
            wall_mm=rng.uniform(0.08, 0.3),
            roughness=0.05,
            density=0.9,
        )

    count = int(rng.integers(1, 4))
    return _placed(rng.normal(size=(count, 3)) * (0 if count == 1 else 7), shape)


def _rods(distribution: Distribution | None, rng: Generator, _: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        return Shape(
            kind=ShapeKind.ROD,
            diameter_mm=rng.uniform(0.4, 1.0),
            length_mm=rng.uniform(2.5, 9),
            bend=rng.normal() * 0.1,
            density=0.55,
        )

    offsets = spread(int(rng.integers(3, 14)), distribution, rng, easy=False)
    return _placed(offsets, shape, lambda: float(rng.normal() * 0.2))


def _skin(_: Distribution | None, rng: Generator, __: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        size = rng.uniform(0.5, 1.3)
        return Shape(kind=ShapeKind.RING, diameter_mm=size, wall_mm=size * 0.22, roughness=0.12)

    return _placed(rng.normal(size=(int(rng.integers(2, 9)), 3)) * 2.5, shape)


def _milk_of_calcium(_: Distribution | None, rng: Generator, __: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        return Shape(
            kind=ShapeKind.CUP,
            diameter_mm=rng.uniform(0.5, 1.3),
            elongation=1.05,
            roughness=0.04,
            density=rng.uniform(0.4, 0.6),
        )

    return _placed(rng.normal(size=(int(rng.integers(4, 16)), 3)) * rng.uniform(1.5, 4.5), shape)


def _dystrophic(_: Distribution | None, rng: Generator, __: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        return Shape(
            diameter_mm=rng.uniform(1, 3.5),
            elongation=rng.uniform(1, 1.8),
            roughness=0.3,
            lobes=4,
            density=0.7,
            flatness=0.35,
        )

    return _placed(rng.normal(size=(int(rng.integers(1, 6)), 3)) * 4, shape, _any_turn(rng))


def _suture(_: Distribution | None, rng: Generator, __: bool) -> list[SpeckPlan]:
    def shape() -> Shape:
        return Shape(
            kind=ShapeKind.ROD,
            diameter_mm=rng.uniform(0.25, 0.5),
            length_mm=rng.uniform(3, 8),
            bend=rng.normal() * 0.9,
            density=0.8,
        )

    return _placed(rng.normal(size=(int(rng.integers(2, 5)), 3)) * 3.5, shape, _any_turn(rng))


def _vessel_walls(radius: float, rng: Generator) -> list[SpeckPlan]:
    """Return calcium on both walls of a winding vessel, with gaps."""
    length = rng.uniform(15, 45)
    steps = np.arange(-length / 2, length / 2, 0.5)
    sway = [np.cumsum(np.cumsum(rng.normal(0, 0.012, len(steps)))) * 0.5 for _ in range(2)]
    sway = [curve - curve.mean() for curve in sway]
    slopes = [np.gradient(curve, steps) for curve in sway]
    specks = []
    for side in (-1, 1):
        strength = np.interp(steps, np.linspace(-length, length, 60), rng.standard_normal(60))
        for index in np.nonzero(strength > -0.1)[0]:
            shape = Shape(
                kind=ShapeKind.ROD,
                diameter_mm=rng.uniform(0.12, 0.3),
                length_mm=0.75,
                density=float(rng.uniform(0.2, 0.6) * np.clip(0.6 + strength[index], 0.3, 1.3)),
            )
            specks.append(
                SpeckPlan(
                    back_mm=float(steps[index]),
                    across_cc_mm=float(sway[0][index] + side * radius * 0.95),
                    across_mlo_mm=float(sway[1][index] + side * radius * 0.95),
                    shape=shape,
                    turn=float(np.arctan((slopes[0][index] + slopes[1][index]) / 2)),
                )
            )
    return specks


def _no_specks(_: Distribution | None, __: Generator, ___: bool) -> list[SpeckPlan]:
    return []


_MAKERS: dict[Morphology, Callable[[Distribution | None, Generator, bool], list[SpeckPlan]]] = {
    Morphology.PUNCTATE: _round_specks(0.18, 0.45),
    Morphology.ROUND: _round_specks(0.4, 0.9),
    Morphology.AMORPHOUS: _amorphous,
    Morphology.COARSE_HETEROGENEOUS: _coarse_heterogeneous,
    Morphology.FINE_PLEOMORPHIC: _fine_pleomorphic,
    Morphology.FINE_LINEAR: _fine_linear,
    Morphology.VASCULAR: _no_specks,
    Morphology.COARSE: _coarse,
    Morphology.ROD_LIKE: _rods,
    Morphology.RIM: _rim,
    Morphology.DYSTROPHIC: _dystrophic,
    Morphology.MILK_OF_CALCIUM: _milk_of_calcium,
    Morphology.SUTURE: _suture,
    Morphology.SKIN: _skin,
}

_SUSPICIOUS_SHARES: dict[Morphology, float] = {
    Morphology.AMORPHOUS: 0.27,
    Morphology.COARSE_HETEROGENEOUS: 0.18,
    Morphology.FINE_PLEOMORPHIC: 0.35,
    Morphology.FINE_LINEAR: 0.20,
}
_BENIGN_SHARES: dict[Morphology, float] = {
    Morphology.PUNCTATE: 0.22,
    Morphology.ROUND: 0.16,
    Morphology.VASCULAR: 0.15,
    Morphology.COARSE: 0.09,
    Morphology.RIM: 0.08,
    Morphology.ROD_LIKE: 0.07,
    Morphology.SKIN: 0.09,
    Morphology.MILK_OF_CALCIUM: 0.07,
    Morphology.DYSTROPHIC: 0.05,
    Morphology.SUTURE: 0.02,
}


def random_morphology(rng: Generator, *, suspicious: bool) -> Morphology:
    """Return a morphology drawn as often as it occurs."""
    shares = _SUSPICIOUS_SHARES if suspicious else _BENIGN_SHARES
    kinds = list(shares)
    return kinds[int(rng.choice(len(kinds), p=list(shares.values())))]


def random_lesions(rng: Generator, *, suspicious: float = 0.8, benign: float = 1.1) -> tuple[LesionPlan, ...]:
    """Return a mix of lesions, `suspicious` and `benign` of each on average; sometimes none at all."""
    calls = [True] * int(rng.poisson(suspicious)) + [False] * int(rng.poisson(benign))
    return tuple(
        plan_lesion(random_morphology(rng, suspicious=call), int(rng.integers(2**31)), rng) for call in calls
    )
