"""The report of a run: how the losses fell, and what the network says of some of the lessons now."""

import base64
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lab.training.lesson import VISIBLE_D_PRIME, Lesson
from lab.training.loss import Losses
from lab.training.run import Run, averaged, prepared_of
from mammography.reader.detection import Points, maps_of, points_of
from mammography.reader.plan import ReaderPlan

REPORT_FILE = "report.html"
MOST_PICTURES = 10
SIDE = 288
"""Reader pixels, 20 mm at 0.07 mm, that a picture shows; it is enlarged by the next."""
ENLARGED = 1.5
QUALITY = 82
SHOWN_SCORE = 0.1
TRUTH, MARK, TRAP = (92, 214, 120), (255, 150, 60), (220, 110, 230)
_MOST_PLACES = 240
"""Of a curve: more steps than this are averaged."""
_STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "mammocalc",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e5e8",
}


def write_report(run: Run, plan: ReaderPlan, command: str, path: Path) -> None:
    """Write the report of a run as it stands, one HTML file that needs nothing beside it."""
    environment = Environment(
        loader=PackageLoader("lab.training", "."), autoescape=True, undefined=StrictUndefined
    )
    curve = np.array(run.curve, dtype=np.float64).reshape(-1, 2 + len(Losses._fields))
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # rc keys are literals there
        losses, rates = _losses(curve), _rates(curve)
    kinds = [path.parent.name for path in run.data]
    page = environment.get_template("report.html.j2").render(
        command=command,
        steps=run.step,
        asked=run.course.steps,
        crops=run.course.crops,
        seen=run.course.lessons_at(run.step)[1],
        data={kind: kinds.count(kind) for kind in sorted(set(kinds))},
        mined=len(run.looks),
        mistakes=sum(len(places) for places in run.mistakes.values()),
        minutes=run.seconds / 60,
        losses=losses,
        rates=rates,
        pictures=_pictures(run, plan),
    )
    path.write_text(page)


def _losses(curve: NDArray[np.float64]) -> str:
    """Return the parts of the loss over the steps, each in a plot of its own; those never asked for are left out."""
    figure = Figure(figsize=(10.5, 4.8), layout="constrained")
    steps, means = _averaged(curve)
    for place, name in enumerate(Losses._fields):
        values = means[:, 2 + place]
        if not values.any():
            continue
        axes = figure.add_subplot(2, 3, place + 1)
        axes.plot(steps, values, color="#0b6e99", linewidth=1.2)
        if len(values) and values.min() > 0:
            axes.set_yscale("log")
        axes.set_title(name, fontsize=9.5, loc="left")
    figure.supxlabel("step", fontsize=9.5)
    return _svg(figure)


def _rates(curve: NDArray[np.float64]) -> str:
    """Return the learning rate and the number of lessons over the steps."""
    figure = Figure(figsize=(10.5, 2.6), layout="constrained")
    steps, means = _averaged(curve)
    for place, name in enumerate(("learning rate", "lessons known")):
        axes = figure.add_subplot(1, 2, place + 1)
        axes.plot(steps, means[:, place], color="#0b6e99", linewidth=1.2)
        axes.set_title(name, fontsize=9.5, loc="left")
        axes.set_xlabel("step")
    return _svg(figure)


def _averaged(curve: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and means of a curve over as many steps as leave few enough places."""
    size = max(1, -(-len(curve) // _MOST_PLACES))
    parts = [curve[first : first + size].mean(axis=0) for first in range(0, len(curve), size)]
    steps = np.minimum(np.arange(1, len(parts) + 1) * size, len(curve)).astype(np.float64)
    return steps, np.array(parts).reshape(-1, curve.shape[1])


def _svg(figure: Figure) -> str:
    """Return a plot as an svg element; the same figures always give the same text."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _pictures(run: Run, plan: ReaderPlan) -> list[tuple[str, str]]:
    """Return pictures and captions: windows with something to find, and those with most mistakes, by turns."""
    network = averaged(run, plan)
    known = list(run.lessons) + list(run.data)[:MOST_PICTURES]
    mistaken = sorted(known, key=lambda path: -len(run.mistakes.get(path, ())))
    holding = [path for path in reversed(known) if _visible(_lesson(run, path)).any()]
    by_turns = [path for pair in zip(holding, mistaken, strict=False) for path in pair]
    pictures = []
    for path in list(dict.fromkeys(by_turns + mistaken))[:MOST_PICTURES]:
        lesson = _lesson(run, path)
        prepared = prepared_of(lesson)
        points = points_of(maps_of(network, prepared.image), prepared, lowest_score=SHOWN_SCORE)
        mistakes = run.mistakes.get(path, np.zeros((0, 2), dtype=np.float32))
        caption = (
            f"{path.stem}: {int(_visible(lesson).sum())} specks to be found, {len(points)} points from a score "
            f"of {SHOWN_SCORE} on, {len(mistakes)} mistakes remembered"
        )
        pictures.append((_inline(_picture(lesson, points, mistakes)), caption))
    return pictures


def _lesson(run: Run, path: Path) -> Lesson:
    """Return a lesson of the phantom or of a data set."""
    return run.lessons[path] if path in run.lessons else run.data[path]


def _visible(lesson: Lesson) -> NDArray[np.bool_]:
    """Return which specks are to be found."""
    return np.asarray(lesson.specks[:, 3] >= VISIBLE_D_PRIME, dtype=np.bool_)


def _picture(lesson: Lesson, points: Points, mistakes: NDArray[np.float32]) -> Image.Image:
    """Return the part of a lesson around its specks or mistakes: plain, and again with truth and marks."""
    visible = lesson.specks[_visible(lesson)]
    places = visible[:, :2] if len(visible) else mistakes
    height, width = lesson.image.shape[1:]
    middle = places[0] if len(places) else np.array([height / 2, width / 2])
    top, left = (
        int(np.clip(center - SIDE / 2, 0, max(side - SIDE, 0)))
        for center, side in zip(middle, (height, width), strict=True)
    )
    cut = lesson.image[0, top : top + SIDE, left : left + SIDE].astype(np.float32)
    low, high = np.quantile(cut, (0.01, 0.998))
    grey = np.clip((cut - low) / max(float(high - low), 1e-3) * 235 + 10, 0, 255).astype(np.uint8)
    size = round(cut.shape[1] * ENLARGED), round(cut.shape[0] * ENLARGED)
    plain = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)
    drawn = plain.convert("RGB")
    pen = ImageDraw.Draw(drawn)

    def ring(row: float, column: float, reach: float, colour: tuple[int, int, int], width: int) -> None:
        x, y = (column - left) * ENLARGED, (row - top) * ENLARGED
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour, width=width)

    for row, column, diameter_mm, *_ in visible:
        reach = 4.0 if np.isnan(diameter_mm) else diameter_mm / lesson.spacing_mm * ENLARGED / 2 + 4
        ring(row, column, float(reach), TRUTH, 1)
    for row, column in lesson.distractors:
        ring(row, column, 3.0, TRAP, 1)
    for row, column, score in zip(points.rows, points.columns, points.scores, strict=True):
        ring(row, column, 9.0, MARK, 1 + round(2 * score))
    both = Image.new("RGB", (2 * size[0] + 4, size[1]))
    both.paste(plain, (0, 0))
    both.paste(drawn, (size[0] + 4, 0))
    return both


def _inline(picture: Image.Image) -> str:
    """Return a picture as the address that holds it whole."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
