"""mammocalc realism: how much whole phantom images are like mammograms, in numbers and on a contact sheet."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from lab.phantom.realism import (
    REAL_BETA,
    REAL_FALL,
    REAL_POWER,
    GreyScale,
    NoRoomForSpectrum,
    Texture,
    measure_grey,
    measure_texture,
)
from lab.phantom.truth import Scene
from mammography.progress import tracked
from mammography.view import SCREENING_SET, ViewPosition

DETECTOR_MM = (233.0, 179.0)
FIRST_SEED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """One measured image. `texture`: None where no square fits into the breast. `density`: 0 to 3."""

    seed: int
    vendor: str
    view: str
    density: int
    spacing_mm: float
    texture: Texture | None
    grey: GreyScale


def register(app: typer.Typer) -> None:
    """Add mammocalc realism."""
    app.command("realism")(realism)


def realism(
    scenes: Annotated[int, typer.Option(min=1, help="How many whole images.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first image.")] = FIRST_SEED,
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet, .jpg or .png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers of each image as JSON.")] = False,
) -> None:
    """Measure whole phantom images of every vendor, view and density beside real mammograms.

    Example: mammocalc realism --scenes 40 --sheet sheet.jpg
    """
    from lab.phantom.sheet import shown, write_sheet

    measured: list[Surveyed] = []
    tiles: list[NDArray[Any]] = []
    for scene in tracked(survey(scenes, seed=seed), label="Measuring images", total=scenes):
        measured.append(measure(scene))
        tiles.append(shown(scene))
    if sheet is not None:
        write_sheet(tiles, sheet)
    lines = [json.dumps(asdict(each)) for each in measured] if as_json else table(measured)
    typer.echo("\n".join(lines))


def survey(scenes: int, *, seed: int = FIRST_SEED) -> Iterator[Scene]:
    """Yield whole images without lesions: every vendor in turn at its own pitch, every view and every density."""
    from lab.phantom.presentation import VENDORS
    from lab.phantom.scene import make_scene

    views = sorted(SCREENING_SET, key=str)
    for number in range(scenes):
        turn, place = divmod(number, len(VENDORS))
        vendor = VENDORS[place]
        rows, columns = (round(side / vendor.spacing_mm) for side in DETECTOR_MM)
        yield make_scene(
            seed + number,
            view=views[(turn + place) % len(views)],
            rows=rows,
            columns=columns,
            spacing_mm=vendor.spacing_mm,
            vendor=vendor,
            density=(turn + turn // 4) % 4,
            lesions=(),
        )


def measure(scene: Scene) -> Surveyed:
    """Return the numbers of one image."""
    try:
        texture = measure_texture(scene.pixels, scene.breast, scene.spacing_mm)
    except NoRoomForSpectrum:
        texture = None
    return Surveyed(
        seed=scene.seed,
        vendor=scene.vendor,
        view=str(scene.view),
        density=scene.density,
        spacing_mm=scene.spacing_mm,
        texture=texture,
        grey=measure_grey(scene.pixels, scene.breast, scene.spacing_mm),
    )


def table(measured: list[Surveyed]) -> list[str]:
    """Return the lines of a Markdown table: medians by vendor, then of all beside the real ranges."""
    lines = [
        "| vendor | n | beta | P(1/mm) in 1e-4 mm2 | P(1)/P(6.5) | p5/25/50/75/95 | noise | fine | local |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for vendor in dict.fromkeys(each.vendor for each in measured):
        own = [each for each in measured if each.vendor == vendor]
        lines.append(f"| {vendor} | {len(own)} | {_textures(own)} | {_greys([each.grey for each in own])} |")
    lines.append(f"| all | {len(measured)} | {_textures(measured)} | | | | |")
    ranges = (REAL_BETA, tuple(value * 1e4 for value in REAL_POWER), REAL_FALL)
    lines.append("| real | 8 | " + " | ".join(f"{low:g}-{high:g}" for low, high in ranges) + " | | | | |")
    inside = sum(each.texture is not None and each.texture.like_a_mammogram for each in measured)
    lines += ["", f"{inside} of {len(measured)} images lie inside all three bands."]
    for position in (ViewPosition.CC, ViewPosition.MLO):
        fills = [100 * each.grey.fill for each in measured if each.view.endswith(position.value)]
        if fills:
            span = f"{min(fills):.0f}-{max(fills):.0f} % (median {median(fills):.0f} %)"
            lines.append(f"{position.value}: the breast fills {span} of the frame.")
    return lines


def _textures(measured: list[Surveyed]) -> str:
    """Return the medians of the three texture numbers as cells."""
    textures = [each.texture for each in measured if each.texture is not None]
    if not textures:
        return "- | - | -"
    beta = median(texture.beta for texture in textures)
    power = median(texture.power for texture in textures)
    fall = median(texture.fall for texture in textures)
    return f"{beta:.2f} | {power * 1e4:.1f} | {fall:.0f}"


def _greys(greys: list[GreyScale]) -> str:
    """Return the medians of grey scales as cells."""
    quantiles = "/".join(f"{median(grey.quantiles[index] for grey in greys):.0f}" for index in range(5))
    noise = "/".join(f"{median(grey.noise[index] for grey in greys):.0f}" for index in range(3))
    fine, local = median(grey.fine for grey in greys), median(grey.local for grey in greys)
    return f"{quantiles} | {noise} | {fine:.0f} | {local:.0f}"
