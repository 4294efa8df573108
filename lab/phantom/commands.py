"""mammocalc phantom: synthetic studies with known truth, as DICOM files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammography.progress import tracked

if TYPE_CHECKING:
    from lab.phantom.truth import Scene

VIEWS_A_STUDY = 4


def register(app: typer.Typer) -> None:
    """Add mammocalc phantom."""
    app.command("phantom")(phantom)


def phantom(
    folder: Annotated[
        Path, typer.Argument(help="Where the studies go; made where it is missing, else empty.")
    ],
    studies: Annotated[int, typer.Option(min=1, help="How many studies.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first study; the others count on from it.")
    ] = 1,
    easy: Annotated[
        bool, typer.Option("--easy", help="One cluster that anyone can see in each breast.")
    ] = False,
    rows: Annotated[int, typer.Option(min=512, help="Rows of each image.")] = 3328,
    columns: Annotated[int, typer.Option(min=384, help="Columns of each image.")] = 2560,
    syntax: Annotated[str, typer.Option(help="explicit, jpeg2000, jpegls or rle.")] = "explicit",
) -> None:
    """Write synthetic screening studies as a modality would, with truth.json beside the images.

    Each study is four views (R CC, R MLO, L CC, L MLO) in a folder of its own. truth.json names every
    calcification: its centre as [column, row], its diameter in mm, its visibility d', its group; and of every
    group the morphology, the distribution, and whether it is suspicious and easy to see.

    Example: mammocalc phantom phantoms --studies 10 --seed 1
    """
    from lab.phantom.dicom import SYNTAXES
    from lab.phantom.study import NotEasy, draw_study

    if syntax not in SYNTAXES:
        raise typer.BadParameter(f"{syntax} is none of {', '.join(SYNTAXES)}.", param_hint="--syntax")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        typer.echo(f"{folder} is not an empty folder; name another.", err=True)
        raise typer.Exit(2)
    seeds = range(seed, seed + studies)

    def views() -> "Iterable[tuple[int, Scene]]":
        for each in seeds:
            study = draw_study(each, easy=easy, rows=rows, columns=columns, spacing_mm=0.07)
            yield from ((each, scene) for scene in study)

    drawn: dict[int, list[Scene]] = {}
    try:
        for each, scene in tracked(views(), label="Drawing views", total=studies * VIEWS_A_STUDY):
            drawn.setdefault(each, []).append(scene)
            if len(drawn[each]) == VIEWS_A_STUDY:
                save_study(folder / f"study-{each}", drawn.pop(each), seed=each, syntax=syntax)
    except NotEasy as reason:
        typer.echo(str(reason), err=True)
        raise typer.Exit(2) from reason
    typer.echo(f"{studies} synthetic stud{'y' if studies == 1 else 'ies'} in {folder}.")


def write_study(
    folder: Path, *, seed: int, easy: bool = False, rows: int = 3328, columns: int = 2560
) -> None:
    """Draw the study of a seed and write it with its truth, with a progress bar."""
    from lab.phantom.study import draw_study

    views = draw_study(seed, easy=easy, rows=rows, columns=columns, spacing_mm=0.07)
    save_study(folder, list(tracked(views, label="Drawing views", total=VIEWS_A_STUDY)), seed=seed)


def save_study(folder: Path, scenes: "Iterable[Scene]", *, seed: int, syntax: str = "explicit") -> None:
    """Write scenes as files named after their view, such as R_CC.dcm; truth.json comes last."""
    from lab.phantom.dicom import study_uid, to_dicom

    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for scene in scenes:
        name = f"{scene.view.laterality}_{scene.view.position}.dcm"
        data_set = to_dicom(scene, seed=seed, syntax=syntax)
        data_set.save_as(folder / name, enforce_file_format=True)
        images.append({"file": name, "sop_instance_uid": str(data_set.SOPInstanceUID)} | _truth(scene))
    truth = {"study_instance_uid": study_uid(seed), "seed": seed, "synthetic": True, "images": images}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def _truth(scene: "Scene") -> dict[str, Any]:
    """Return what is known of one image; points are [column, row] (PS3.3 C.18.6)."""
    return {
        "laterality": scene.view.laterality.value,
        "view": scene.view.position.value,
        "spacing_mm": scene.spacing_mm,
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
