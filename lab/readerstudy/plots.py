"""The curves of a reader study, for page and paper."""

import io
from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.evaluation.bootstrap import intervals
from lab.evaluation.froc import curve, free_response
from lab.evaluation.plots import BLUE, GREY, ORANGE, STYLE
from lab.evaluation.roc import roc_curve
from lab.readerstudy.analysis import Analysis
from lab.readerstudy.arms import measurable
from lab.readerstudy.readings import Level, Reading, Study
from lab.readerstudy.tables import Condition

COLOURS = {Condition.WITHOUT: ORANGE, Condition.WITH: BLUE}
GREEN = "#3b7a3b"
GRID = np.linspace(0, 1, 101)
LOWEST_RATE = 0.02
ROC, FROC, READERS = "ROC curves", "FROC curves", "Area under the ROC curve, reader by reader"


def plots_of(study: Study, analysis: Analysis, seed: int) -> dict[str, Figure]:
    """Return every plot by its title; those that a study's tables do not allow are missing."""
    level = analysis.level
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # rc keys are literals there
        plots: dict[str, Figure] = {}
        units = study.units(level)
        if measurable(units.positive, units.patients):
            plots[ROC] = _roc(study, level, seed)
        if len(study.lesion_case):
            plots[FROC] = _froc(study, seed)
        areas = {
            reader: {
                condition: next(
                    (arm.area for arm in analysis.arms if arm.name == f"{reader} {condition} the model"), None
                )
                for condition in Condition
            }
            for reader in study.readers
        }
        if any(area for row in areas.values() for area in row.values()):
            plots[READERS] = _readers(areas)
    return plots


def svg(figure: Figure) -> str:
    """Return a plot as an svg element; the same figures always give the same text."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # rc keys are literals there
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def png(figure: Figure) -> bytes:
    """Return a plot as a PNG of 200 dots per inch."""
    picture = io.BytesIO()
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # rc keys are literals there
        figure.savefig(picture, format="png", dpi=200, metadata={"Software": None})
    return picture.getvalue()


def mean_curve(study: Study, readings: Sequence[Reading], level: Level, draws: np.ndarray) -> np.ndarray:
    """Return the readers' mean sensitivity at every false positive share of GRID; NaN where it is undefined.

    `draws`: [patients], how often each patient counts.
    """
    units = study.units(level)
    curves = []
    for reading in readings:
        opinion = reading.opinion(level)
        times = draws[units.patients] * opinion.read
        scores, positive = np.repeat(opinion.scores, times), np.repeat(units.positive, times)
        if positive.all() or not positive.any():
            return np.full(len(GRID), np.nan)
        curves.append(np.interp(GRID, *roc_curve(scores, positive)))
    return np.mean(curves, axis=0)


def _roc(study: Study, level: Level, seed: int) -> Figure:
    """Return the readers' mean ROC curves with bands over patients, their operating points, and the model's curve."""
    figure, axes = _axes((4.6, 4.2))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    for name, colour, readings in _kinds(study):
        units = study.units(level)
        patients = int(study.cases.patients.max()) + 1
        rng = np.random.default_rng(seed)
        points = intervals(partial(mean_curve, study, readings, level), patients, rng)
        mean = [point.value for point in points]
        axes.plot([0, *GRID], [0, *mean], color=colour, linewidth=1.8, label=name)
        axes.fill_between(
            GRID,
            [point.low for point in points],
            [point.high for point in points],
            color=colour,
            alpha=0.13,
            linewidth=0,
        )
        for reading in readings:
            opinion = reading.opinion(level)
            there = opinion.read
            positive = units.positive & there
            axes.plot(
                opinion.calls[there & ~positive].mean(),
                opinion.calls[positive].mean(),
                "o",
                color=colour,
                markersize=4,
                markeredgecolor="white",
                markeredgewidth=0.5,
            )
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), xlabel="1 − specificity", ylabel="sensitivity")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def _kinds(study: Study) -> list[tuple[str, str, list[Reading]]]:
    """Return name, colour and readings of readers without, readers with, and the model."""
    kinds = [
        (
            f"readers {condition} the model",
            COLOURS[condition],
            [each for each in study.readings if each.condition is condition],
        )
        for condition in Condition
    ]
    kinds += [("the model alone", GREEN, [study.model])] if study.model else []
    return [kind for kind in kinds if kind[2]]


def _froc(study: Study, seed: int) -> Figure:
    """Return the FROC curves of all readers together, with bands over patients."""
    figure, axes = _axes((5.2, 4.2))
    highest = 0.1
    for name, colour, readings in _kinds(study):
        patients = study.cases.patients
        lesions = [
            (float(score), int(study.lesions.patients[number]))
            for reading in readings
            for number, score in enumerate(reading.lesion_marks)
            if not np.isnan(score)
        ]
        false = [(score, int(patients[case])) for reading in readings for score, case in reading.false_marks]
        read = np.sum([reading.cases.read for reading in readings], axis=0)
        images = np.bincount(patients, weights=read).astype(np.int64)
        most = max(len(false) / max(int(images.sum()), 1), LOWEST_RATE * 2)
        highest = max(highest, most)
        drawn = curve(
            free_response(lesions, false, images.tolist()),
            np.geomspace(LOWEST_RATE, most, 40).tolist(),
            np.random.default_rng(seed),
        )
        axes.plot(drawn.false_marks_per_image, drawn.sensitivity, color=colour, linewidth=1.8, label=name)
        axes.fill_between(
            drawn.false_marks_per_image, drawn.low, drawn.high, color=colour, alpha=0.13, linewidth=0
        )
    axes.set(xlim=(0, highest * 1.05), ylim=(0, 1.02), xlabel="false marks per case", ylabel="lesions marked")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def _readers(areas: Mapping[str, Mapping[Condition, tuple[float, float, float] | None]]) -> Figure:
    """Return every reader's areas with their intervals, with and without the model."""
    figure, axes = _axes((5.2, 1.2 + 0.42 * len(areas)))
    places = np.arange(len(areas))[::-1]
    for condition, shift in ((Condition.WITHOUT, 0.12), (Condition.WITH, -0.12)):
        rows = [
            (place + shift, area)
            for place, row in zip(places, areas.values(), strict=True)
            if (area := row[condition])
        ]
        if not rows:
            continue
        values = np.array([area[0] for _, area in rows])
        reach = [values - [area[1] for _, area in rows], [area[2] for _, area in rows] - values]
        axes.errorbar(
            values,
            [place for place, _ in rows],
            xerr=reach,
            fmt="o",
            color=COLOURS[condition],
            markersize=4,
            capsize=2,
            label=f"{condition} the model",
        )
    axes.set_yticks(places, list(areas))
    axes.set(ylim=(-0.6, len(areas) - 0.4), xlabel="area under the ROC curve")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 1.2 if len(areas) < 4 else 1.12),
        ncols=2,
        frameon=False,
        fontsize=8,
    )
    return figure


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return an empty plot; its size is in inches."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()
