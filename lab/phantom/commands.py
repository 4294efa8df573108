"""mammocalc phantom: synthetic studies with known truth, as DICOM files."""

import json
from collections.abc import Iterable
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from mammography.progress import tracked

if TYPE_CHECKING:
    from lab.phantom.truth import Scene
    from mammography.view import View

VIEWS_A_STUDY = 4
_MODIFIERS = {
    "spot": "spot compression",
    "magnification": "magnification",
    "displaced": "implant displaced",
}
_POSITIONS = ("CC", "MLO", "ML", "LM", "LMO", "FB", "SIO", "ISO", "XCCL", "XCCM")

_Views: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help='A view such as "R CC", "L ML" or "L CC spot magnification"; again for more. Else all four.'
    ),
]
_Spacing: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.04, max=0.2, help="Pixel pitch in mm; else the machine's own, or 0.07 with --rows."),
]
_Syntax: TypeAlias = Annotated[
    str | None,
    typer.Option(help="explicit, implicit, jpeg, jpeg2000, jpegls or rle; else the vendor's habit."),
]


def register(app: typer.Typer) -> None:
    """Add mammocalc phantom, and what measures its calcifications."""
    app.command("phantom")(phantom)
    app.command("visibility")(visibility)


def phantom(
    folder: Annotated[
        Path, typer.Argument(help="Where the studies go; made where it is missing, else empty.")
    ],
    *,
    studies: Annotated[int, typer.Option(min=1, help="How many studies.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first study; the others count on from it.")
    ] = 1,
    easy: Annotated[
        bool, typer.Option("--easy", help="One cluster that anyone can see in each breast.")
    ] = False,
    condition: Annotated[
        str, typer.Option(help="usual, shifted (what training never draws) or normal (no calcification).")
    ] = "usual",
    view: _Views = None,
    implants: Annotated[bool, typer.Option("--implants", help="Both breasts hold an implant.")] = False,
    rows: Annotated[
        int | None, typer.Option(min=512, help="Rows of each image; else the machine's own.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option(min=384, help="Columns of each image; else the machine's own.")
    ] = None,
    spacing: _Spacing = None,
    syntax: _Syntax = None,
    processing: Annotated[
        bool, typer.Option("--processing", help="Also write each exposure For Processing.")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet, .jpg or .png.")] = None,
) -> None:
    """Write synthetic screening studies as a modality would, with truth.json beside the images.

    Each study is four views (R CC, R MLO, L CC, L MLO), or those asked for, in a folder of its own. truth.json
    names every calcification: its centre as column and row, its diameter in mm, its visibility d', its group; of
    every group the morphology, the distribution, and whether it is suspicious and easy to see; and the clips,
    folds, dust and the like that are no calcifications.

    Example: mammocalc phantom phantoms --studies 10 --seed 1
    """
    from lab.phantom.condition import Condition
    from lab.phantom.study import VIEWS, draw_study

    _refuse(folder, easy=easy, condition=condition, syntax=syntax, sheet=sheet)
    views = tuple(_view(text) for text in view) if view else VIEWS
    study = partial(
        draw_study,
        easy=easy,
        rows=rows,
        columns=columns,
        spacing_mm=spacing,
        condition=Condition(condition),
        views=views,
        implant=implants,
    )
    seeds = range(seed, seed + studies)
    drawn = ((each, scene) for each in seeds for scene in study(each))
    counted = tracked(drawn, label="Drawing views", total=studies * len(views))
    _write(folder, counted, syntax=syntax, processing=processing, sheet=sheet)
    typer.echo(f"{studies} synthetic stud{'y' if studies == 1 else 'ies'} in {folder}.")


def _write(
    folder: Path,
    drawn: "Iterable[tuple[int, Scene]]",
    *,
    syntax: str | None,
    processing: bool,
    sheet: Path | None,
) -> None:
    """Write scenes by the seed of their study, each study as soon as it is drawn, and the sheet of all."""
    from lab.phantom.sheet import shown, write_sheet
    from lab.phantom.study import NotEasy

    tiles = []
    try:
        for seed, group in groupby(drawn, key=itemgetter(0)):
            scenes = [scene for _, scene in group]
            save_study(folder / f"study-{seed}", scenes, seed=seed, syntax=syntax, processing=processing)
            tiles += [shown(scene) for scene in scenes] if sheet else []
    except NotEasy as reason:
        typer.echo(str(reason), err=True)
        raise typer.Exit(2) from reason
    if sheet is not None:
        write_sheet(tiles, sheet)


def _refuse(folder: Path, *, easy: bool, condition: str, syntax: str | None, sheet: Path | None) -> None:
    """End with a sentence where what is asked for cannot be."""
    from lab.phantom.condition import Condition
    from lab.phantom.dicom import SYNTAXES

    if syntax is not None and syntax not in SYNTAXES:
        raise typer.BadParameter(f"{syntax} is none of {', '.join(SYNTAXES)}.", param_hint="--syntax")
    if condition not in list(Condition):
        raise typer.BadParameter(f"{condition} is none of {', '.join(Condition)}.", param_hint="--condition")
    if easy and condition == Condition.NORMAL:
        raise typer.BadParameter("A normal breast holds no easy cluster; leave one of both out.")
    if sheet is not None and sheet.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
        raise typer.BadParameter(f"{sheet} is neither .jpg nor .png.", param_hint="--sheet")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        typer.echo(f"{folder} is not an empty folder; name another.", err=True)
        raise typer.Exit(2)


def _view(text: str) -> "View":
    """Return the view that a text such as "L CC spot" names."""
    from mammography.view import Laterality, View, ViewModifier, ViewPosition

    side, position, *modifiers = (*text.split(), "", "") if len(text.split()) < 2 else text.split()
    known = side in {"R", "L"} and position in _POSITIONS and set(modifiers) <= _MODIFIERS.keys()
    if not known:
        raise typer.BadParameter(
            f'"{text}" is no view that is drawn; write a side, a view and modifiers '
            f'({", ".join(_MODIFIERS)}), such as "L CC spot".',
            param_hint="--view",
        )
    return View(
        laterality=Laterality(side),
        position=ViewPosition(position),
        modifiers=frozenset(ViewModifier(_MODIFIERS[modifier]) for modifier in modifiers),
    )


def visibility(
    scenes: Annotated[int, typer.Option(min=1, help="How many windows of 8 x 6 cm.")] = 80,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first window.")] = 700,
) -> None:
    """Measure how large and how visible the phantom's groups of calcifications are, beside real ones.

    Example: mammocalc visibility --scenes 80
    """
    from lab.phantom.visibility import measured_groups, table, windows

    drawn = tracked(windows(scenes, seed), label="Drawing windows", total=scenes)
    groups = [group for scene in drawn for group in measured_groups(scene)]
    if not groups:
        typer.echo("No window shows a whole group; ask for more --scenes.", err=True)
        raise typer.Exit(2)
    typer.echo("\n".join(table(groups)))


def write_study(
    folder: Path, *, seed: int, easy: bool = False, rows: int | None = None, columns: int | None = None
) -> None:
    """Draw the study of a seed and write it with its truth, with a progress bar."""
    from lab.phantom.study import draw_study

    views = draw_study(seed, easy=easy, rows=rows, columns=columns)
    save_study(folder, list(tracked(views, label="Drawing views", total=VIEWS_A_STUDY)), seed=seed)


def save_study(
    folder: Path,
    scenes: "Iterable[Scene]",
    *,
    seed: int,
    syntax: str | None = None,
    processing: bool = False,
) -> None:
    """Write scenes as files named after their view, such as R_CC.dcm; truth.json comes last.

    With `processing` R_CC_processing.dcm is the same exposure For Processing.
    """
    from lab.phantom.dicom import study_uid, to_dicom

    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for scene in scenes:
        modifiers = sorted(modifier.replace(" ", "-") for modifier in scene.view.modifiers)
        name = "_".join([scene.view.laterality, scene.view.position, *modifiers])
        data_set = to_dicom(scene, seed=seed, syntax=syntax)
        data_set.save_as(folder / f"{name}.dcm", enforce_file_format=True)
        if processing:
            linear = to_dicom(scene, seed=seed, syntax=syntax, for_processing=True)
            linear.save_as(folder / f"{name}_processing.dcm", enforce_file_format=True)
        images.append(
            {"file": f"{name}.dcm", "sop_instance_uid": str(data_set.SOPInstanceUID)} | _truth(scene)
        )
    truth = {"study_instance_uid": study_uid(seed), "seed": seed, "synthetic": True, "images": images}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def _truth(scene: "Scene") -> dict[str, Any]:
    """Return what is known of one image; points are [column, row] (PS3.3 C.18.6)."""
    return {
        "laterality": scene.view.laterality.value,
        "view": scene.view.position.value,
        "modifiers": sorted(scene.view.modifiers),
        "vendor": scene.vendor,
        "spacing_mm": scene.spacing_mm,
        "implant": scene.implant,
        "density": scene.density,
        "nipple": [round(value, 2) for value in scene.nipple],
        "specks": [
            {
                "center": [round(value, 2) for value in speck.center],
                "diameter_mm": round(speck.diameter_mm, 3),
                "d_prime": round(speck.d_prime, 2),
                "group": speck.group,
            }
            for speck in scene.specks
        ],
        "groups": [
            {
                "number": group.number,
                "morphology": group.morphology.value,
                "distribution": group.distribution.value if group.distribution else None,
                "suspicious": group.suspicious,
                "easy": group.easy,
            }
            for group in scene.groups
        ],
        "distractors": [
            {"kind": trap.kind, "center": [round(value, 2) for value in trap.center]}
            for trap in scene.distractors
        ],
    }
