"""The curves of a measurement, as SVG that stands in a page."""

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.evaluation.calibration import Calibration
from lab.evaluation.figures import (
    NOT_STATED,
    VISIBILITIES,
    Figures,
    clusters,
    lesions_of,
    specks,
)
from lab.evaluation.froc import FreeResponse, curve
from lab.evaluation.records import StudyRecord
from lab.evaluation.roc import roc_curve
from lab.evaluation.statistics import Interval

BLUE, ORANGE, GREY = "#0b6e99", "#d4621c", "#8a8f98"
STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "mammocalc",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "grid.color": "#e3e5e8",
    "axes.grid": True,
    "axes.axisbelow": True,
}
_SQUARE, _WIDE = (4.0, 3.7), (5.2, 3.7)
_CURVE_RATES = np.round(np.geomspace(0.02, 5.0, 60), 4)
_SPECK_CURVE_RATES = np.round(np.geomspace(0.1, 20.0, 60), 4)


def plots_of(figures: Figures, records: Sequence[StudyRecord]) -> dict[str, str]:
    """Return every plot of a measurement by its title, as SVG; titles of what was not measured are missing."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # rc keys are literals there
        plots = {
            "FROC: lesions": _froc(
                [clusters(records, d_prime=d_prime) for d_prime in VISIBILITIES],
                _CURVE_RATES.tolist(),
                "false marks per image",
                operating={name: (r.false_marks, r.sensitivity) for name, r in figures.reached.items()},
            ),
            "FROC: single calcifications": _froc(
                [specks(records, d_prime=d_prime) for d_prime in VISIBILITIES],
                _SPECK_CURVE_RATES.tolist(),
                "false points per image",
            ),
        }
        if figures.grading.suspicious and figures.grading.benign:
            plots["ROC: suspicious against benign morphology"] = _roc(figures, records)
        plots["Calibration of detection"] = _reliability(figures.grading.detection, "lesions among marks")
        plots["Suspicion beside morphology"] = _reliability(
            figures.grading.suspicion, "suspicious morphology among lesions found"
        )
        for title, table in (
            ("Morphology: true and stated", figures.morphology),
            ("Distribution: true and stated", figures.distribution),
        ):
            if table:
                plots[title] = _confusion(table)
        for title, rows in figures.tables.items():
            if title.startswith(("visibility", "morphology", "vendor")) and len(rows) > 1:
                named = [(f"{row.name} ({row.lesions})", row.found) for row in rows if row.lesions]
                plots[f"Found at the operating point, by {title.partition(' ')[0]}"] = _shares(named)
    return plots


def _froc(
    experiments: Sequence[FreeResponse],
    rates: Sequence[float],
    label: str,
    *,
    operating: dict[str, tuple[float, Interval]] | None = None,
) -> str:
    """Return the FROC curves of all visibilities with their bands, and the operating points."""
    figure, axes = _axes(_WIDE)
    for data, d_prime, colour in zip(experiments, VISIBILITIES, (GREY, BLUE), strict=True):
        if not len(data.lesion_scores):
            continue
        drawn = curve(data, rates, np.random.default_rng(0))
        name = f"d' of {d_prime:g} and more (n = {len(data.lesion_scores)})"
        axes.plot(drawn.false_marks_per_image, drawn.sensitivity, color=colour, label=name, linewidth=1.8)
        axes.fill_between(
            drawn.false_marks_per_image, drawn.low, drawn.high, color=colour, alpha=0.15, linewidth=0
        )
    for number, (name, (false_marks, reached)) in enumerate((operating or {}).items()):
        if not np.isnan(reached.value):
            place = max(false_marks, rates[0]), reached.value
            axes.plot(*place, "o", color=ORANGE, markersize=5)
            axes.annotate(
                name, place, (6, -13 - 9 * number), textcoords="offset points", color=ORANGE, fontsize=8
            )
    axes.set(xscale="log", ylim=(0, 1.02), xlim=(rates[0], rates[-1]), xlabel=label, ylabel="sensitivity")
    axes.set_xticks(ticks := [rate for rate in (0.1, 0.25, 0.5, 1, 2, 5, 10, 20) if rate <= rates[-1]])
    axes.set_xticklabels([f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    return _svg(figure)


def _roc(figures: Figures, records: Sequence[StudyRecord]) -> str:
    """Return the ROC curve of suspicion over the lesions found at the operating point."""
    threshold = figures.reached[figures.operating_point].threshold
    found = [each for each in lesions_of(records) if each.mark and each.detection >= threshold]
    false, true = roc_curve(
        np.array([each.mark.suspicion for each in found if each.mark]),
        np.array([each.lesion.suspicious for each in found], dtype=np.bool_),
    )
    figure, axes = _axes(_SQUARE)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    axes.plot(false, true, color=BLUE, linewidth=1.8)
    area = figures.grading.area
    axes.text(0.98, 0.06, f"area {area.value:.3f} [{area.low:.3f}, {area.high:.3f}]", ha="right")
    axes.set(
        xlim=(-0.01, 1),
        ylim=(0, 1.01),
        xlabel="benign called suspicious",
        ylabel="suspicious called suspicious",
    )
    return _svg(figure)


def _reliability(calibration: Calibration, label: str) -> str:
    """Return what was said beside what is true, in groups of equal size."""
    figure, axes = _axes(_SQUARE)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    said = [group.said for group in calibration.bins]
    true = [group.true.value for group in calibration.bins]
    below = [group.true.value - group.true.low for group in calibration.bins]
    above = [group.true.high - group.true.value for group in calibration.bins]
    axes.errorbar(said, true, yerr=[below, above], fmt="o", color=BLUE, ecolor=GREY, markersize=4, capsize=2)
    words = f"ECE {calibration.expected_error.value:.3f}\nBrier {calibration.brier.value:.3f}"
    axes.text(0.03, 0.97, words, va="top")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="said", ylabel=label)
    return _svg(figure)


def _confusion(table: dict[str, dict[str, int]]) -> str:
    """Return truths in rows and statements in columns, shaded by the share of their row."""
    rows = sorted(table)
    called = {name for row in table.values() for name in row}
    names = [name for name in rows if name in called] + sorted(called - set(rows) - {NOT_STATED})
    names += [NOT_STATED] if NOT_STATED in called else []
    counts = np.array([[table[row].get(name, 0) for name in names] for row in rows])
    figure, axes = _axes((2.4 + 0.42 * len(names), 1.7 + 0.3 * len(rows)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.set(xlabel="stated", ylabel="true")
    return _svg(figure)


def _shares(rows: Sequence[tuple[str, Interval]]) -> str:
    """Return shares with their intervals, one line each."""
    figure, axes = _axes((5.2, 0.9 + 0.28 * len(rows)))
    places = np.arange(len(rows))[::-1]
    values = np.array([share.value for _, share in rows])
    low = values - np.array([share.low for _, share in rows])
    high = np.array([share.high for _, share in rows]) - values
    axes.errorbar(values, places, xerr=[low, high], fmt="o", color=BLUE, ecolor=GREY, markersize=4, capsize=2)
    axes.set_yticks(places, [name for name, _ in rows])
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(rows) - 0.4), xlabel="sensitivity")
    return _svg(figure)


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return an empty plot; its size is in inches."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    """Return a plot as an svg element; the same figures always give the same text."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
