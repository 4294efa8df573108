"""Reading without network and database: files in, objects, pictures and findings.json out."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydicom.dataset import Dataset

from mammography.finding import Assessment, Finding, ImageReading, ReadStatus
from mammography.mammogram import MAMMOGRAPHY_CLASSES, UnreadableMammogram, open_header, open_mammogram
from mammography.progress import tracked

if TYPE_CHECKING:
    from mammography.reader.reader import Reader


EXTRA, NEEDS = "worker", ("torch",)
"""What brings these commands, and what they cannot do without."""


Object = Literal["cad-sr", "gsps", "tid1500", "picture"]
"""One of the kinds of objects that can be written."""


class Written(StrEnum):
    """The same kinds, as the command line offers them."""

    CAD_SR = "cad-sr"
    GSPS = "gsps"
    TID1500 = "tid1500"
    PICTURE = "picture"


OBJECTS: tuple[Object, ...] = ("cad-sr", "gsps", "tid1500", "picture")
USUAL_OBJECTS: frozenset[Object] = frozenset({"cad-sr", "gsps"})
"""What is written unless something else is asked for."""


class NothingToRead(Exception):
    """No file was named, or none of them exists."""


def register(app: typer.Typer) -> None:
    """Add mammocalc read."""
    app.command("read")(read)


def read(
    paths: Annotated[list[Path], typer.Argument(help="Mammograms (DICOM files), or folders of them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the answer; made where it is missing.")],
    weights: Annotated[
        Path | None, typer.Option(help="Folder of weights; the shipped ones otherwise.")
    ] = None,
    objects: Annotated[
        list[Written] | None, typer.Option("--object", help="What to write; cad-sr and gsps otherwise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings.json as well.")] = False,
) -> None:
    """Read mammograms offline: findings.json, a CAD SR and presentation states, and pictures with the marks.

    No network, no database. Each study gets a folder of its own under --out.

    Example: mammocalc read study-folder --out answer
    """
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.reader import Reader

    try:
        files = dicom_candidates(paths)
        reader = Reader.load(weights)
    except (NothingToRead, UnusableWeights) as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from mistake
    kinds = frozenset(kind for kind in OBJECTS if kind in (objects or USUAL_OBJECTS))
    entries = read_files(files, reader, out, datetime.now(UTC).astimezone(), kinds=kinds)
    text = json.dumps(entries, indent=2)
    out.mkdir(parents=True, exist_ok=True)
    (out / "findings.json").write_text(text + "\n")
    if as_json:
        typer.echo(text)
        return
    for entry in entries:
        said = entry["reason"] or f"{len(entry['findings'])} finding(s)"
        typer.echo(f"{entry['file']}: {entry['status']}, {said}")
    typer.echo(f"The answer is in {out}.")


def dicom_candidates(paths: Iterable[Path]) -> list[Path]:
    """Return the files that paths name; a folder names all files below it.

    Raises:
        NothingToRead: if a path does not exist or there is no file at all.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise NothingToRead(f"There is no file or folder {path}.")
        files += sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    if not files:
        raise NothingToRead("The folders hold no file.")
    return files


def read_files(
    files: Sequence[Path],
    reader: "Reader",
    out: Path,
    read_at: datetime,
    *,
    kinds: frozenset[Object] = USUAL_OBJECTS,
) -> list[dict[str, Any]]:
    """Read files study by study, write each study's answer under `out`, and return one entry a file.

    `kinds` are the objects that are written. A file that is no mammogram gets an entry with the reason; it ends nothing.
    """
    entries: dict[Path, dict[str, Any]] = {}
    studies: dict[str, dict[Path, Dataset]] = defaultdict(dict)
    for file in files:
        try:
            header = open_header(file)
        except UnreadableMammogram as reason:
            entries[file] = _not_read(file, str(reason))
            continue
        if (
            str(header.get("SOPClassUID")) in MAMMOGRAPHY_CLASSES
            and header.get("StudyInstanceUID")
            and header.get("SOPInstanceUID")
        ):
            studies[str(header.StudyInstanceUID)][file] = header
        else:
            entries[file] = _not_read(file, _what_it_is(header), header)
    for uid, members in tracked(studies.items(), label="Reading studies", total=len(studies)):
        assessment = reader.read_study(list(members), read_at=read_at)
        said = {image.sop_instance_uid: image for image in assessment.images}
        write_answer(out / uid, uid, members, assessment, kinds=kinds)
        for file, header in members.items():
            entries[file] = _entry(file, said[str(header.SOPInstanceUID)])
    return [entries[file] for file in files]


def write_answer(
    folder: Path,
    study_instance_uid: str,
    members: Mapping[Path, Dataset],
    assessment: Assessment,
    *,
    kinds: frozenset[Object],
) -> None:
    """Write the objects of these kinds, the PNG pictures and the text of one study; `members` are its files."""
    from mammography.results.compose import compose
    from mammography.results.options import ComposeOptions
    from mammography.results.picture import draw
    from mammography.results.text import report_text

    folder.mkdir(parents=True, exist_ok=True)
    headers = list(members.values())
    paths = {str(header.SOPInstanceUID): file for file, header in members.items()}
    composed = compose(
        headers=headers,
        assessment=assessment,
        study_instance_uid=study_instance_uid,
        revision=1,
        predecessor=None,
        options=ComposeOptions(kinds=kinds),
        open_image=lambda uid: open_mammogram(paths[uid]),
    )
    for thing in composed:
        (folder / f"{thing.kind}-{thing.sop_instance_uid}.dcm").write_bytes(thing.encode())
    (folder / "report.txt").write_text(report_text(assessment, headers))
    said = {image.sop_instance_uid: image for image in assessment.images}
    for file, header in members.items():
        reading = said[str(header.SOPInstanceUID)]
        if reading.status is ReadStatus.READ:
            draw(open_mammogram(file), reading, reader=assessment.reader).save(
                folder / f"{reading.sop_instance_uid}.png"
            )


def _what_it_is(header: Dataset) -> str:
    """Return why an object that is no mammogram is not read."""
    name = header.get("SOPClassUID")
    return f"The object is {name.name if name else 'of no stated class'}, not a mammogram."


def _not_read(file: Path, reason: str, header: Dataset | None = None) -> dict[str, Any]:
    uid = str(header.get("SOPInstanceUID") or "") if header is not None else ""
    entry = {"file": str(file), "sop_instance_uid": uid, "laterality": None, "view": None}
    return entry | {"status": ReadStatus.NOT_READ.value, "reason": reason, "findings": []}


def _entry(file: Path, reading: ImageReading) -> dict[str, Any]:
    """Return what findings.json says of one image."""
    return {
        "file": str(file),
        "sop_instance_uid": reading.sop_instance_uid,
        "laterality": reading.view.laterality.value if reading.view else None,
        "view": reading.view.position.value if reading.view else None,
        "status": reading.status.value,
        "reason": reading.reason,
        "findings": [_finding(finding) for finding in reading.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    """Return one finding; points are [column, row] in the standard's frame (PS3.3 C.18.6)."""
    return {
        "outline": [list(point) for point in finding.outline],
        "specks": [[*speck.center, speck.score] for speck in finding.specks],
        "detection": finding.detection,
        "suspicion": finding.suspicion,
        "morphology": finding.morphology.value if finding.morphology else None,
        "distribution": finding.distribution.value if finding.distribution else None,
        "assessment": finding.assessment.value,
    }
