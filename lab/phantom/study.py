"""A whole screening study: both breasts in two views, and the lesions of a breast in both of its views."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from lab.phantom.anatomy import BreastPlan, plan_breast
from lab.phantom.condition import Acquisition, Condition, draw_acquisition
from lab.phantom.fields import generator
from lab.phantom.lesions import LesionPlan, plan_lesion, random_lesions
from lab.phantom.scene import make_scene
from lab.phantom.truth import Scene
from mammography.finding import Morphology
from mammography.view import Laterality, View, ViewPosition

VIEWS = tuple(
    View(laterality=side, position=position)
    for side in (Laterality.RIGHT, Laterality.LEFT)
    for position in (ViewPosition.CC, ViewPosition.MLO)
)
"""In the order in which a radiographer takes them here: R CC, R MLO, L CC, L MLO."""

USUAL_SPACING_MM = 0.07
DETECTOR_MM = (232.96, 179.2)
"""Height and width of the detector: 3328 by 2560 pixels of 0.07 mm."""
MOST_TRIES = 8
"""How often a view of an easy study is drawn anew, until its lesion is easy there too."""

NORMAL_BREASTS = 0.35
"""The share of breasts without any lesion in a study that is not easy."""


class NotEasy(Exception):
    """No try made every lesion of an easy study easy; a matrix that is too small shows too little of a breast."""


def draw_study(
    seed: int,
    *,
    easy: bool = False,
    rows: int | None = None,
    columns: int | None = None,
    spacing_mm: float | None = None,
    condition: Condition = Condition.USUAL,
    views: Sequence[View] = VIEWS,
    implant: bool = False,
) -> Iterator[Scene]:
    """Yield the views of a screening study, or those asked for, each as soon as it is drawn.

    The same arguments always give the same study. A lesion has the same specks in both views of its breast, at the
    same depth behind the nipple. In an easy study, never on film, each breast holds one cluster that anyone can see,
    a suspicious one in the right. Without `spacing_mm` the pitch is the drawn machine's own, but 0.07 mm in an easy
    study and where sides are given;
    without sides the matrix is that of a detector of 23.3 x 17.9 cm.

    Raises:
        NotEasy: if an easy cluster could not be placed.
    """
    rng = generator(seed, "study")
    taken = draw_acquisition(condition, rng)
    taken = replace(taken, film=None) if easy else taken
    asked = easy or rows is not None or columns is not None
    pitch = spacing_mm if spacing_mm is not None else USUAL_SPACING_MM if asked else taken.spacing_mm
    height, width = (side // 2 * 2 for side in (round(mm / pitch) for mm in DETECTOR_MM))
    matrix = (rows if rows is not None else height, columns if columns is not None else width, pitch)
    density = int(rng.choice(3)) if easy else None
    for side in (Laterality.RIGHT, Laterality.LEFT):
        breast = plan_breast(rng, density=density)
        reach_mm = breast.protrusion * matrix[1] * pitch
        lesions = _easy_lesions(side, reach_mm, rng) if easy else _lesions(reach_mm, rng)
        lesions = () if condition is Condition.NORMAL else lesions
        for view in (view for view in views if view.laterality is side):
            shared = _Shared(
                breast=breast,
                lesions=lesions,
                taken=taken,
                condition=condition,
                easy=easy,
                implant=implant,
                matrix=matrix,
            )
            yield _view(seed, view, shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What the two views of a breast share; `matrix`: rows, columns, pitch in mm."""

    breast: BreastPlan
    lesions: tuple[LesionPlan, ...]
    taken: Acquisition
    condition: Condition
    easy: bool
    implant: bool
    matrix: tuple[int, int, float]


def _view(seed: int, view: View, shared: _Shared) -> Scene:
    """Return one view; of an easy study the first try in which every lesion is easy."""
    rows, columns, spacing_mm = shared.matrix
    easy, lesions = shared.easy, shared.lesions
    for attempt in range(MOST_TRIES if easy else 1):
        scene = make_scene(
            seed * 1000 + attempt,
            view=view,
            rows=rows,
            columns=columns,
            spacing_mm=spacing_mm,
            lesions=lesions,
            breast=shared.breast,
            singles=0.0 if easy else 2.0,
            condition=shared.condition,
            acquisition=shared.taken,
            implant=shared.implant,
        )
        if not easy or (len(scene.groups) == len(lesions) and all(group.easy for group in scene.groups)):
            return scene
    raise NotEasy(f"Study {seed} has no easy cluster in {view}; take another seed or a larger matrix.")


def _easy_lesions(side: Laterality, reach_mm: float, rng: Generator) -> tuple[LesionPlan, ...]:
    """Return one cluster that anyone can see: suspicious in the right breast, benign in the left."""
    suspicious = (Morphology.FINE_PLEOMORPHIC, Morphology.COARSE_HETEROGENEOUS)
    kinds = suspicious if side is Laterality.RIGHT else (Morphology.PUNCTATE, Morphology.ROUND)
    kind = kinds[int(rng.choice(len(kinds)))]
    depth_mm = float(rng.uniform(0.3, 0.6) * reach_mm)
    return (plan_lesion(kind, int(rng.integers(2**31)), rng, depth_mm=depth_mm, easy=True),)


def _lesions(reach_mm: float, rng: Generator) -> tuple[LesionPlan, ...]:
    """Return what a breast holds: nothing, or a mix; each lesion at one depth in both views."""
    if rng.random() < NORMAL_BREASTS:
        return ()
    return tuple(
        replace(lesion, depth_mm=float(rng.uniform(0.2, 0.75) * reach_mm)) for lesion in random_lesions(rng)
    )
