"""A synthetic mammogram with known calcifications: anatomy, lesions, detector and presentation in one go."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.phantom.anatomy import Anatomy, BreastPlan, Window, draw_anatomy, plan_breast
from lab.phantom.calcification import Shape
from lab.phantom.condition import Acquisition, Condition, draw_acquisition
from lab.phantom.detector import DetectorPlan, Exposure, attenuation, d_prime, expose, plan_detector
from lab.phantom.distractors import draw_traps
from lab.phantom.fields import Field, enlarge, generator
from lab.phantom.film import FilmPlan, develop, draw_film_marks, screen, share_kept
from lab.phantom.lesions import LesionPlan, SpeckPlan, random_lesions
from lab.phantom.overlay import (
    draw_collimator,
    draw_detector_faults,
    draw_dust,
    draw_letters,
    draw_neighbour,
)
from lab.phantom.placement import (
    DrawnSpeck,
    Site,
    add_to,
    choose_site,
    large_structures,
    place_lesion,
    vessel_of,
)
from lab.phantom.presentation import Presentation, Vendor, present
from lab.phantom.tissue import Tissue, draw_tissue, draw_tube
from lab.phantom.truth import (
    EASY_D_PRIME,
    EASY_EXTENT_MM,
    EASY_SPECKS,
    NOTHING_LARGE,
    Distractor,
    Scene,
    TruthGroup,
    TruthSpeck,
)
from lab.phantom.views import PART_OF_BREAST, draw_implant, drawn_as, magnification_of, spot_distance
from mammography.coordinates import ImagePoint
from mammography.finding import SUSPICIOUS_MORPHOLOGIES, Morphology
from mammography.view import Laterality, View, ViewModifier

MULTIPLE = 32
"""Fields are computed on sides that are multiples of this; the rest is cut off."""
DETECTOR_MM = (233.0, 179.0)
"""Height and width of the detector of which a window shows a part."""
VISIBLE_RAW = 16383


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """What a scene is put together from, chest wall on the left, sides still multiples of MULTIPLE."""

    anatomy: Anatomy
    lesions: tuple[LesionPlan, ...]
    specks: list[DrawnSpeck]
    exposure: Exposure
    presentation: Presentation
    vendor: str
    film: FilmPlan | None
    implant: bool
    metal: Field
    found: list[tuple[str, float, float]]


def make_scene(
    seed: int,
    *,
    view: View,
    rows: int = 3328,
    columns: int = 2560,
    spacing_mm: float = 0.07,
    lesions: Sequence[LesionPlan] | None = None,
    vendor: Vendor | None = None,
    breast: BreastPlan | None = None,
    density: int | None = None,
    singles: float = 2.0,
    window: bool = False,
    condition: Condition = Condition.USUAL,
    acquisition: Acquisition | None = None,
    implant: bool = False,
) -> Scene:
    """Return a synthetic mammogram and its truth; the same arguments always give the same scene.

    The matrix shows the whole detector, so a small one holds a small breast; with `window` it shows a part of a
    full-sized detector instead (23 x 18 cm), cut at a random place of the breast: the crops that training wants.
    `lesions`: None draws a mix of all morphologies, an empty sequence none. `singles`: calcifications of
    their own, on average. `acquisition`: how the image is acquired, else drawn from `condition`, and `vendor`
    goes before both; the pitch is always `spacing_mm`. A normal scene holds no calcification, whatever is
    asked. Magnified and spot views (`view.modifiers`) are windows; of a magnified one `spacing_mm` is the
    detector's pitch, and the scene's is that in the breast. `implant`: the breast holds one, drawn back where
    the view displaces it. About half a second of processor time per million pixels.
    """
    rng = generator(seed, "scene", str(view))
    plan = breast if breast is not None else plan_breast(rng, density=density)
    taken = acquisition if acquisition is not None else draw_acquisition(condition, rng)
    taken = taken if vendor is None else replace(taken, vendor=vendor, film=None)
    planned = random_lesions(rng) if lesions is None else tuple(lesions)
    if condition is Condition.NORMAL:
        planned, singles = (), 0.0
    sides = (-(-rows // MULTIPLE) * MULTIPLE, -(-columns // MULTIPLE) * MULTIPLE)
    window = window or bool(view.modifiers & PART_OF_BREAST)
    pitch = spacing_mm / magnification_of(view)
    shown = _window(sides, pitch, plan, rng) if window else _whole(sides, pitch)
    drawn = _draw(shown, view, plan, planned, taken, singles, whole=not window, implant=implant, rng=rng)
    return _finished(drawn, seed=seed, view=view, rows=rows, columns=columns)


def _whole(sides: tuple[int, int], spacing_mm: float) -> Window:
    """Return a window that shows the whole of a detector of that matrix."""
    return Window(
        rows=sides[0],
        columns=sides[1],
        spacing_mm=spacing_mm,
        top_mm=0.0,
        left_mm=0.0,
        detector_height_mm=sides[0] * spacing_mm,
        detector_width_mm=sides[1] * spacing_mm,
    )


def _window(sides: tuple[int, int], spacing_mm: float, plan: BreastPlan, rng: Generator) -> Window:
    """Return a window somewhere on the breast of a full-sized detector."""
    height, width = (side * spacing_mm for side in sides)
    full_height, full_width = max(DETECTOR_MM[0], height), max(DETECTOR_MM[1], width)
    reach = plan.protrusion * full_width
    across = rng.uniform(0, max(reach * 1.05 - width, 0) + 1e-6)
    middle = 0.52 + rng.uniform(-0.75, 0.75) * plan.height * (1 - 0.5 * across / reach)
    top = np.clip(middle * full_height - height / 2, 0, full_height - height)
    return Window(
        rows=sides[0],
        columns=sides[1],
        spacing_mm=spacing_mm,
        top_mm=float(top),
        left_mm=float(min(across, full_width - width)),
        detector_height_mm=full_height,
        detector_width_mm=full_width,
    )


def _draw(
    shown: Window,
    view: View,
    plan: BreastPlan,
    lesions: tuple[LesionPlan, ...],
    taken: Acquisition,
    singles: float,
    *,
    whole: bool,
    implant: bool,
    rng: Generator,
) -> _Drawn:
    """Return a view of a breast with its chest wall on the left."""
    anatomy = draw_anatomy(plan, drawn_as(view), shown, rng)
    tissue = draw_tissue(anatomy, rng)
    behind = None
    if implant:
        behind = draw_implant(anatomy, rng, displaced=ViewModifier.IMPLANT_DISPLACED in view.modifiers)
        tissue = replace(tissue, gland=tissue.gland * (1 - 0.9 * enlarge(behind.where, 2)))
    if ViewModifier.SPOT_COMPRESSION in view.modifiers:
        anatomy = replace(anatomy, depth=np.minimum(anatomy.depth, spot_distance(shown, rng)))
    placed_in = anatomy if behind is None else behind.beside(anatomy)
    specks = _place_all(placed_in, tissue, lesions, view, singles, whole=whole, rng=rng)
    calcium = np.zeros((shown.rows, shown.columns), np.float32)
    for speck in specks:
        add_to(calcium, speck.thickness, speck.top, speck.left)
    traps = draw_traps(anatomy, tissue.gland, rng)
    exposure = expose(
        attenuation(anatomy, tissue, traps.line),
        anatomy.inside.astype(np.float32),
        calcium,
        traps.metal,
        _detector(taken, shown, rng),
        rng,
    )
    found = traps.found
    if taken.film is None:
        found += draw_detector_faults(exposure.signal, rng)
        presentation = present(exposure, anatomy, taken.vendor, rng)
        if behind is not None:
            behind.show(presentation)
            exposure = behind.before(exposure)
    else:
        exposure = exposure if behind is None else behind.before(exposure)
        presentation = develop(exposure, anatomy, taken.film, rng)
        found += draw_film_marks(presentation.values, anatomy, taken.film, rng)
    found += _overlay(presentation, anatomy, taken.vendor.air, view, whole=whole, rng=rng)
    return _Drawn(
        anatomy=anatomy,
        lesions=lesions,
        specks=specks,
        exposure=exposure,
        presentation=presentation,
        vendor=taken.name,
        film=taken.film,
        implant=implant,
        metal=traps.metal,
        found=found,
    )


def _detector(taken: Acquisition, shown: Window, rng: Generator) -> DetectorPlan:
    """Return the exposure of a view: the acquisition's own, a film's screen, or one drawn as usual."""
    if taken.film is not None:
        return screen(taken.film, shown.spacing_mm, rng)
    return taken.detector if taken.detector is not None else plan_detector(rng, shown.spacing_mm)


def _overlay(
    picture: Presentation, anatomy: Anatomy, air: float, view: View, *, whole: bool, rng: Generator
) -> list[tuple[str, float, float]]:
    """Draw what lies on the picture and not in the breast; return where."""
    values, half = picture.values, picture.window_width / 2
    found = draw_dust(values, picture.window_width, rng)
    if whole:
        level = (picture.window_center - half, picture.window_center + half)
        found += draw_neighbour(values, anatomy, level, rng)
        mirrored = view.laterality is Laterality.RIGHT
        text = f"{view.laterality}{view.position}"
        found += draw_letters(values, anatomy.inside, text, rng, mirrored=mirrored)
    return found + draw_collimator(values, anatomy, air, rng)


def _place_all(
    anatomy: Anatomy,
    tissue: Tissue,
    lesions: tuple[LesionPlan, ...],
    view: View,
    singles: float,
    *,
    whole: bool,
    rng: Generator,
) -> list[DrawnSpeck]:
    """Return every speck of every lesion, and singles; vessels that carry calcium are drawn into the tissue."""
    specks: list[DrawnSpeck] = []
    sites: tuple[Site, ...] = ()
    for number, lesion in enumerate(lesions):
        site = choose_site(
            anatomy, tissue.gland, rng, depth_mm=lesion.depth_mm, near_skin=lesion.near_skin, taken=sites
        )
        sites += (site,)
        if lesion.vessel_mm:
            draw_tube(tissue.tubes, vessel_of(lesion, site, drawn_as(view), rng), anatomy, 0.9)
        specks += place_lesion(anatomy, lesion, site, number, drawn_as(view), whole=whole)
    for _ in range(int(rng.poisson(singles))):
        shape = Shape(diameter_mm=rng.uniform(0.2, 0.6), elongation=rng.uniform(1, 1.2), roughness=0.05)
        single = LesionPlan(
            morphology=Morphology.PUNCTATE,
            distribution=None,
            specks=(SpeckPlan(back_mm=0, across_cc_mm=0, across_mlo_mm=0, shape=shape),),
            depth_mm=None,
            seed=int(rng.integers(2**31)),
        )
        site = choose_site(anatomy, tissue.gland, rng, margin_mm=5, taken=sites)
        specks += place_lesion(anatomy, single, site, -1, drawn_as(view), whole=whole)
    return specks


def _finished(drawn: _Drawn, *, seed: int, view: View, rows: int, columns: int) -> Scene:
    """Return the scene: cut to the asked sides, quantised, mirrored for a right breast, truth put together."""
    mirrored = view.laterality is Laterality.RIGHT
    anatomy = drawn.anatomy
    spacing = anatomy.window.spacing_mm

    def point(row: float, column: float) -> ImagePoint:
        return ImagePoint(columns - column if mirrored else column, row)

    def stored(values: NDArray[np.float32], highest: int) -> NDArray[np.uint16]:
        cut = np.clip(np.rint(values[:rows, :columns]), 0, highest).astype(np.uint16)
        return np.ascontiguousarray(cut[:, ::-1]) if mirrored else cut

    def reduced(kinds: NDArray[np.int8], nothing: int) -> NDArray[np.int8]:
        """Blocks of 4 x 4 are counted from the stored matrix's corner, also when it is mirrored."""
        fine = np.repeat(np.repeat(kinds, 4, axis=0), 4, axis=1)[:rows, :columns]
        fine = fine[:, ::-1] if mirrored else fine
        padded = np.pad(fine, ((0, -rows % 4), (0, -columns % 4)), constant_values=nothing)
        blocks = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 4, 4)
        return np.asarray(blocks.max(axis=(1, 3)))

    seen = [speck for speck in drawn.specks if 0 <= speck.row < rows and 0 <= speck.column < columns]
    truth = [(speck, _visibility(drawn, speck)) for speck in seen]
    large = large_structures(seen, drawn.lesions, drawn.metal)
    full = float(np.quantile(drawn.exposure.clean[::16, ::16], 0.98))
    nipple = point(
        (anatomy.nipple_down_mm - anatomy.window.top_mm) / spacing,
        (anatomy.nipple_across_mm - anatomy.window.left_mm) / spacing,
    )
    return Scene(
        seed=seed,
        pixels=stored(drawn.presentation.values, 4095),
        raw=stored(drawn.exposure.signal * np.float32(0.8 * VISIBLE_RAW / full), VISIBLE_RAW),
        view=view,
        spacing_mm=spacing,
        specks=tuple(
            TruthSpeck(
                center=point(speck.row, speck.column),
                diameter_mm=speck.diameter_mm,
                d_prime=visibility,
                group=speck.group,
            )
            for speck, visibility in truth
        ),
        groups=tuple(_groups(drawn, truth)),
        large=reduced(large, NOTHING_LARGE),
        breast=reduced(anatomy.inside.astype(np.int8), 0).astype(np.bool_),
        distractors=tuple(
            Distractor(kind=kind, center=point(row, column))
            for kind, row, column in drawn.found
            if 0 <= row < rows and 0 <= column < columns
        ),
        density=anatomy.plan.density,
        nipple=nipple,
        vendor=drawn.vendor,
        thickness_mm=float(anatomy.thickness.max()),
        window_center=drawn.presentation.window_center,
        window_width=drawn.presentation.window_width,
        implant=drawn.implant,
    )


def _visibility(drawn: _Drawn, speck: DrawnSpeck) -> float:
    """Return d' of a speck; film takes its share."""
    seen = d_prime(speck, drawn.exposure)
    if drawn.film is None:
        return seen
    return seen * share_kept(drawn.exposure, drawn.anatomy, drawn.film, speck.row, speck.column)


def _groups(drawn: _Drawn, truth: list[tuple[DrawnSpeck, float]]) -> list[TruthGroup]:
    """Return the groups that have a speck on the image, each with whether it is easy."""
    spacing = drawn.anatomy.window.spacing_mm
    depth = drawn.anatomy.depth
    groups = []
    for number, lesion in enumerate(drawn.lesions):
        own = [(speck, visibility) for speck, visibility in truth if speck.group == number]
        if not own:
            continue
        places = np.array([(speck.row, speck.column) for speck, _ in own]) * spacing
        others = [(speck.row, speck.column) for speck, _ in truth if speck.group not in (number, -1)]
        clear = [visibility for _, visibility in own if visibility >= EASY_D_PRIME]
        extent = float(np.hypot(*np.ptp(places, axis=0)))
        well_inside = all(
            depth[
                min(int(speck.row) // 4, depth.shape[0] - 1), min(int(speck.column) // 4, depth.shape[1] - 1)
            ]
            > 3
            for speck, _ in own
        )
        apart = all(float(np.hypot(*(places - np.array(other) * spacing).T).min()) > 10 for other in others)
        groups.append(
            TruthGroup(
                number=number,
                morphology=lesion.morphology,
                distribution=lesion.distribution,
                suspicious=lesion.morphology in SUSPICIOUS_MORPHOLOGIES,
                easy=len(clear) >= EASY_SPECKS and extent <= EASY_EXTENT_MM and well_inside and apart,
            )
        )
    return groups
