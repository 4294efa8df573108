"""The command that looks at finished objects: mammocalc check."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from mammography.results.check_files import Answer


class NothingToCheck(Exception):
    """A file is missing, or was named and is no DICOM."""


def register(app: typer.Typer) -> None:
    """Add mammocalc check."""
    app.command("check")(check)


def check(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Objects of ours and, if at hand, the images they are about: files or folders."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Check CAD reports, presentation states and measurement reports for what public validators do not look at.

    References, coordinates, layers, numbers of points, summaries, and that all objects of a study say the same.
    Ends with 0 where all is well, 1 where a fault was found, 2 where nothing could be checked.

    Example: mammocalc check answer/ study-folder/
    """
    from mammography.results.check_files import judge

    try:
        files = files_of(paths)
    except NothingToCheck as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from mistake
    answers = judge(list(files.values()))
    if not answers:
        typer.echo("No file is a CAD report, presentation state, measurement report or picture.", err=True)
        raise typer.Exit(2)
    names = {str(dataset.SOPInstanceUID): str(path) for path, dataset in files.items()}
    typer.echo(
        json.dumps([_entry(each, names) for each in answers], indent=2) if as_json else _text(answers, names)
    )
    raise typer.Exit(1 if any(each.faults for each in answers) else 0)


def files_of(paths: Iterable[Path]) -> dict[Path, "Dataset"]:
    """Return the data set of each DICOM file that paths name, without its pixels; a folder names all files below it.

    Raises:
        NothingToCheck: if a path does not exist, or a file named by itself is no DICOM. Others in folders are skipped.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    found: dict[Path, Dataset] = {}
    for path in paths:
        if not path.exists():
            raise NothingToCheck(f"There is no file or folder {path}.")
        for file in sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]:
            try:
                dataset = dcmread(file, stop_before_pixels=True)
            except (InvalidDicomError, OSError) as reason:
                if file == path:
                    raise NothingToCheck(f"{file} cannot be read as DICOM: {reason}") from reason
                continue
            if "SOPInstanceUID" in dataset:
                found[file] = dataset
    return found


def _entry(answer: "Answer", names: Mapping[str, str]) -> dict[str, object]:
    """Return one answer for --json."""
    return {
        "study_instance_uid": answer.study_instance_uid,
        "files": [names[str(each.SOPInstanceUID)] for each in answer.objects],
        "replaced_by": answer.replaced_by,
        "faults": list(answer.faults),
        "unchecked": list(answer.unchecked),
    }


def _text(answers: Sequence["Answer"], names: Mapping[str, str]) -> str:
    """Return the answers in words; a fault is followed by the file whose object it names."""
    from mammography.results.check_files import CHECKED

    lines: list[str] = []
    for answer in answers:
        kinds = Counter(CHECKED[str(each.SOPClassUID)] for each in answer.objects)
        counted = ", ".join(
            f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items())
        )
        lines.append(f"Study {answer.study_instance_uid}: {counted}")
        if answer.replaced_by is not None:
            lines.append(f"  replaced by {names.get(answer.replaced_by, answer.replaced_by)}")
        for fault in answer.faults:
            files = [name for uid, name in names.items() if uid in fault]
            lines.append(f"  fault: {fault}{f' ({files[0]})' if files else ''}")
        lines += [f"  not checked: {each}" for each in answer.unchecked]
    faults = sum(len(answer.faults) for answer in answers)
    lines.append("No fault found." if not faults else f"{faults} fault{'s' if faults > 1 else ''} found.")
    return "\n".join(lines)
