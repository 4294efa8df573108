"""An image of a kind that was never taught is withheld with the reason; a mammogram is not."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from scipy import ndimage

from lab.evaluation.matching import Verdict
from lab.phantom.presentation import VENDORS
from lab.phantom.scene import make_scene
from lab.training.fitting import Case, HeldOut, SceneCases
from lab.training.thresholds import quality_bounds
from mammography.finding import ReadStatus
from mammography.mammogram import FOR_PROCESSING, Mammogram
from mammography.reader.plan import QualityBounds
from mammography.reader.preprocessing import density_values, prepare
from mammography.reader.quality import Quality, Texture, fault_of, flood_of, measure_quality, remarks_of
from mammography.view import Laterality, View, ViewModifier, ViewPosition

BOUNDS = QualityBounds()
L_CC = View(laterality=Laterality.LEFT, position=ViewPosition.CC)
FAMILIAR = Quality(
    texture=Texture(beta=2.8, power=3e-4, fall=25.0),
    noise=0.04,
    edges=5.0,
    blocks=1.0,
    flat=0.01,
    area_mm2=10_000.0,
    unread=0.0,
)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A synthetic left breast, 12 bit, 0.1 mm, without anything to find."""
    sides = {"rows": 1664, "columns": 1280, "spacing_mm": 0.1}
    scene = make_scene(3, view=L_CC, vendor=VENDORS[0], lesions=[], singles=0.0, **sides)
    return scene.pixels.astype(np.float32)


def opened(pixels: np.ndarray, **header: object) -> Mammogram:
    data_set = Dataset()
    for keyword, value in header.items():
        setattr(data_set, keyword, value)
    return Mammogram(
        path=None,  # type: ignore[arg-type]
        sop_instance_uid="1.2.3",
        sop_class_uid=str(header.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1.2")),
        study_instance_uid="1.2",
        view=L_CC,
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        spacing_mm=0.1,
        inverted=False,
        pixels=np.clip(pixels, 0, 4095).astype(np.uint16),
        header=data_set,
    )


def inside(pixels: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return pixels changed where there is breast."""
    return np.where(pixels > 150, np.clip(pixels + change, 0, 4095), pixels)


def compressed(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray((pixels / 16).astype(np.uint8)).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file)).astype(np.float32) * 16


def noise(pixels: np.ndarray, deviation: float, grain: float = 0.0) -> np.ndarray:
    rough = ndimage.gaussian_filter(np.random.default_rng(2).normal(0, 1, pixels.shape), grain)
    return inside(pixels, rough * (deviation / rough.std()))


def squares(pixels: np.ndarray) -> np.ndarray:
    """Return pixels with 1,200 sharp squares of three pixels."""
    rng, marked = np.random.default_rng(3), pixels.copy()
    places = np.argwhere(pixels > 200)
    for row, column in places[rng.integers(0, len(places), 1200)]:
        marked[row : row + 3, column : column + 3] += 1200
    return marked


FAULTS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "enlarged twofold": (
        lambda p: np.kron(p[::2, ::2], np.ones((2, 2))),
        "equal their neighbours|sharper than",
    ),
    "smoothed by an enlargement": (
        lambda p: ndimage.zoom(p[::3, ::3], 3, order=3)[:1664, :1280],
        "sharpness|strength",
    ),
    "rounded to 16 levels": (lambda p: p // 256 * 256, "equal their neighbours"),
    "compressed with loss": (compressed, "blocks|sharper than"),
    "sharpened to death": (
        lambda p: inside(p, 12 * (p - ndimage.gaussian_filter(p, 2))),
        "noise or sharpening",
    ),
    "nothing but noise": (lambda p: noise(np.where(p > 150, 1500.0, 0.0), 200.0), "noise or sharpening"),
    "heavy grain": (lambda p: noise(p, 900.0, 1.5), "power law|noise|sharpness"),
}


@pytest.mark.parametrize(("change", "sentence"), FAULTS.values(), ids=FAULTS)
def test_an_image_of_another_kind_is_at_fault(reader, pixels, change, sentence):
    fault = fault_of(measure_quality(prepare(change(pixels), spacing_mm=0.1, plan=reader.plan)), BOUNDS)
    assert fault is not None
    assert fault.startswith("The result is withheld: ")
    assert any(word in fault for word in sentence.split("|"))


@pytest.mark.parametrize("change", [FAULTS["enlarged twofold"][0], squares, lambda p: noise(p, 900.0, 1.5)])
def test_an_image_of_another_kind_is_withheld_with_the_reason(reader, pixels, change):
    reading = reader.read_image(opened(change(pixels)))
    assert (reading.status, reading.findings) == (ReadStatus.NOT_READ, ())
    assert "withheld" in str(reading.reason)


def test_a_breast_without_a_lesion_is_read(reader, pixels):
    assert reader.read_image(opened(pixels)).status is ReadStatus.READ


@pytest.mark.parametrize("gain", [0.25, 1.0, 4.0])
def test_quality_does_not_depend_on_the_grey_scale(reader, pixels, gain):
    one, other = (
        measure_quality(prepare(values, spacing_mm=0.1, plan=reader.plan))
        for values in (pixels, pixels * gain + 7)
    )
    assert one.texture is not None
    assert other.texture is not None
    assert other.texture.beta == pytest.approx(one.texture.beta, abs=0.02)
    assert other.noise == pytest.approx(one.noise, rel=0.05)


def test_each_bound_is_a_bound():
    assert fault_of(FAMILIAR, BOUNDS) is None
    texture = FAMILIAR.texture
    for changed in (
        replace(FAMILIAR, area_mm2=900.0),
        replace(FAMILIAR, unread=0.6),
        replace(FAMILIAR, flat=0.4),
        replace(FAMILIAR, blocks=1.6),
        replace(FAMILIAR, edges=600.0),
        replace(FAMILIAR, noise=0.13),
        replace(FAMILIAR, texture=replace(texture, beta=1.2)),
        replace(FAMILIAR, texture=replace(texture, power=1e-2)),
        replace(FAMILIAR, texture=replace(texture, fall=0.5)),
    ):
        assert str(fault_of(changed, BOUNDS)).startswith("The result is withheld: ")


def test_only_a_familiar_image_gets_many_marks():
    strange = replace(FAMILIAR, texture=replace(FAMILIAR.texture, beta=4.0))
    grainy = replace(FAMILIAR, noise=0.11)
    soft_film = replace(FAMILIAR, texture=replace(FAMILIAR.texture, fall=3000.0))
    assert flood_of(FAMILIAR, BOUNDS, marks=8, scattered=10) is None
    assert flood_of(strange, BOUNDS, marks=6, scattered=10) is None
    assert flood_of(soft_film, BOUNDS, marks=8, scattered=10) is None
    for quality in (strange, grainy):
        assert "7 marks on an image unlike" in str(flood_of(quality, BOUNDS, marks=7, scattered=10))
    assert "among 200 scattered points" in str(flood_of(FAMILIAR, BOUNDS, marks=7, scattered=200))
    assert "13 marks" in str(flood_of(FAMILIAR, BOUNDS, marks=13, scattered=0))


SIDES = [
    ({}, False, ""),
    ({}, True, "right, where that of a left breast is not expected"),
    ({"PatientOrientation": ["A", "R"]}, False, ""),
    ({"PatientOrientation": ["P", "R"]}, True, ""),
    ({"PatientOrientation": ["A", "R"]}, True, "right, where the orientation in the header puts the nipple"),
    ({"PatientOrientation": ["P", "L"]}, False, "left, where the orientation in the header puts the nipple"),
    (
        {"PatientOrientation": ["P", "FL"]},
        True,
        "calls the breast left, but its orientation is that of the other one",
    ),
    ({"PatientOrientation": ["A", "F"]}, False, ""),
]


@pytest.mark.parametrize(("header", "mirrored", "remark"), SIDES)
def test_a_side_that_the_image_contradicts_is_remarked(reader, pixels, header, mirrored, remark):
    mammogram = opened(pixels[:, ::-1] if mirrored else pixels, **header)
    prepared = prepare(density_values(mammogram), spacing_mm=0.1, plan=reader.plan)
    remarks = remarks_of(mammogram, prepared)
    assert [remark in sentence for sentence in remarks] == ([True] if remark else [])


@pytest.mark.parametrize(
    ("header", "remark"),
    [
        ({"BreastImplantPresent": "YES"}, "implant that is not displaced"),
        ({"SOPClassUID": FOR_PROCESSING, "PixelIntensityRelationshipSign": -1}, "For Processing was read"),
        ({"BitsStored": 8}, "no more than 8 bits"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]}, "generated from a tomosynthesis"),
    ],
)
def test_what_lowers_the_trust_in_a_reading_is_remarked(reader, pixels, header, remark):
    mammogram = opened(pixels, **header)
    prepared = prepare(density_values(mammogram), spacing_mm=0.1, plan=reader.plan)
    assert any(remark in sentence for sentence in remarks_of(mammogram, prepared))


def test_a_displaced_implant_is_not_remarked(reader, pixels):
    mammogram = opened(pixels, BreastImplantPresent="YES")
    displaced = replace(L_CC, modifiers=frozenset({ViewModifier.IMPLANT_DISPLACED}))
    prepared = prepare(density_values(mammogram), spacing_mm=0.1, plan=reader.plan)
    assert remarks_of(replace(mammogram, view=displaced), prepared) == ()


def test_what_scatter_is_strange_follows_from_the_images_of_the_phantom():
    case = Case(
        scene=0,
        measures={},
        verdict=Verdict.LESION,
        lesions=(0,),
        suspicious=None,
        morphology=None,
        distributions={},
        specks=30,
    )
    told = HeldOut(detection=0.8, split=0.5, suspicion=0.5, morphologies={})
    scenes = [
        SceneCases(cases=(case,), asked=(), points=30 + count, area_mm2=10_000.0) for count in range(101)
    ]
    scores = [[told] for _ in scenes]
    assert quality_bounds(scenes, scores, 0.5).familiar_scatter == pytest.approx(0.99 * 1.25, abs=1e-3)
    assert quality_bounds(scenes, scores, 0.9).familiar_scatter == pytest.approx(1.29 * 1.25, abs=1e-3)
    assert quality_bounds(scenes[:5], scores[:5], 0.5) == BOUNDS
