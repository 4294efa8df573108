"""The report of a measurement: figures as JSON, and one HTML file that needs nothing beside it."""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.evaluation import plots
from lab.evaluation.card import said
from lab.evaluation.dataset_figures import DatasetFigures
from lab.evaluation.figures import Figures, images_of, lesions_of
from lab.evaluation.matching import Verdict
from lab.evaluation.records import StudyRecord
from lab.evaluation.statistics import Interval
from mammography.reader.plan import ReaderPlan

MOST_PICTURES = 24
"""Misses, and false marks, that are shown: the worst of each."""


def as_json(figures: Figures | DatasetFigures, command: str) -> str:
    """Return the figures as JSON; an interval becomes value, low and high, what was not measured null."""
    return json.dumps({"command": command, "figures": _plain(asdict(figures))}, indent=2)


def write_report(
    figures: Figures, records: Sequence[StudyRecord], plan: ReaderPlan, command: str, path: Path
) -> None:
    """Write the report: curves, tables, confusions, and the worst misses and false marks as pictures."""
    environment = Environment(
        loader=PackageLoader("lab.evaluation", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["said"] = said
    ordered = sorted((record for record in records if record.images), key=lambda record: record.study)
    pictures = path.parent / "pictures"
    page = environment.get_template("report.html.j2").render(
        figures=figures,
        plan=plan,
        command=command,
        plots=plots.plots_of(figures, ordered),
        misses=_misses(ordered, plan, pictures),
        false_marks=_false_marks(ordered, pictures),
    )
    path.write_text(page)


def _misses(records: Sequence[StudyRecord], plan: ReaderPlan, folder: Path) -> list[tuple[str, str]]:
    """Return picture and caption of the most visible lesions that the operating point misses."""
    missed = [
        each
        for each in lesions_of(records)
        if each.detection < plan.detection_score and each.lesion.picture is not None
    ]
    missed.sort(key=lambda each: -each.lesion.visibility)
    return [
        (
            _inline(folder / str(each.lesion.picture)),
            f"study {records[each.unit].study}, {each.image.laterality} {each.image.position}, "
            f"{each.lesion.morphology}: {each.lesion.specks} visible specks, d' {each.lesion.visibility:.0f}, "
            f"median {each.lesion.diameter_mm:.2f} mm; {each.image.vendor}, density "
            f"{'ABCD'[each.image.density]}; "
            + (each.image.reason or ("no mark" if each.mark is None else f"scored {each.detection:.2f}")),
        )
        for each in missed[:MOST_PICTURES]
    ]


def _false_marks(records: Sequence[StudyRecord], folder: Path) -> list[tuple[str, str]]:
    """Return picture and caption of the surest false marks."""
    false = [
        (records[unit].study, image, mark)
        for unit, image in images_of(records)
        for mark in image.shown
        if mark.verdict is Verdict.FALSE and mark.picture is not None
    ]
    false.sort(key=lambda each: -each[2].detection)
    return [
        (
            _inline(folder / str(mark.picture)),
            f"study {study}, {image.laterality} {image.position}: scored {mark.detection:.2f}, {mark.specks} specks; "
            f"{image.vendor}, density {'ABCD'[image.density]}"
            + (f"; beside {mark.near}" if mark.near else ""),
        )
        for study, image, mark in false[:MOST_PICTURES]
    ]


def _inline(picture: Path) -> str:
    """Return a picture as the address that holds it whole."""
    return "data:image/jpeg;base64," + base64.b64encode(picture.read_bytes()).decode()


def _plain(value: object) -> object:
    """Return a value as JSON can hold it."""
    if isinstance(value, Interval):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
