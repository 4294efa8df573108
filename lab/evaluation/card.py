"""The figures of a measurement as text: for the card of the weights and for the terminal."""

import math

from lab.evaluation.calibration import Calibration
from lab.evaluation.figures import Asked, Figures, Reached
from lab.evaluation.statistics import Interval

NOT_MEASURED = "not measured"


def told(figures: Figures, command: str) -> str:
    """Return the figures as the text of a card, with the command that measures them again."""
    rows = [
        *(_reached(name, reached, figures) for name, reached in figures.reached.items()),
        *(row for asked in figures.asked for row in _asked(asked)),
        (
            "easy lesions outlined at the operating point",
            f"{said(figures.easy_outlined)}, n = {figures.easy}",
        ),
        ("area under the AFROC curve", _number(figures.afroc_area)),
        *_graded(figures),
        ("images withheld", _withheld(figures)),
    ]
    lines = [f"| {name} | {value} |" for name, value in rows if not value.startswith(NOT_MEASURED)]
    return "\n".join([*_head(figures, command), "", "| | |", "|---|---|", *lines, "", *_foot(figures)])


def said(interval: Interval) -> str:
    """Return a value with its interval: "0.910 [0.830, 0.960]"."""
    if math.isnan(interval.value):
        return NOT_MEASURED
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _head(figures: Figures, command: str) -> list[str]:
    lesions, specks = figures.asked[0].lesions, figures.asked[0].specks
    lines = [
        f"`{command}`: {figures.images} synthetic images of {figures.studies} studies from seeds that were",
        f"never learned from, {lesions} lesions with at least three visible specks in 1 cm2, {specks} visible",
        "specks (d' of 5 or more). Intervals are 95 %: bootstrap over studies at given rates of false marks and",
        "for areas, Wilson for operating points and where all or none are found. An image that the operating point in use withholds",
        "finds nothing and marks nothing.",
    ]
    if figures.not_drawn:
        lines.append(f"{figures.not_drawn} studies could not be drawn.")
    return lines


def _reached(name: str, reached: Reached, figures: Figures) -> tuple[str, str]:
    """Return an operating point's row."""
    chosen = ", in use" if name == figures.operating_point else ""
    unmarked = (
        f"; no mark at all on {said(reached.unmarked)} of {figures.normal_breasts} breasts without lesion"
        if figures.normal_breasts
        else ""
    )
    marks = f"{reached.false_marks:.2f} false marks per image, {reached.others:.2f} on other calcium"
    found = "" if math.isnan(reached.sensitivity.value) else f"{said(reached.sensitivity)}, "
    return (
        f"lesions found at the operating point {name} ({reached.threshold:.4f}{chosen})",
        f"{found}{marks}{unmarked}",
    )


def _asked(asked: Asked) -> list[tuple[str, str]]:
    """Return the rows of a visibility; none where nothing so visible was drawn."""
    lesions = ", ".join(f"{said(share)} at {rate}" for rate, share in asked.lesions_at.items())
    specks = ", ".join(f"{said(share)} at {rate}" for rate, share in asked.specks_at.items())
    kind = f"of d' {asked.d_prime:g} and more"
    rows = [
        (asked.lesions, f"lesions {kind} (n = {asked.lesions}), by false marks per image", lesions),
        (asked.specks, f"specks {kind} (n = {asked.specks}), by false points per image", specks),
    ]
    return [(name, value) for count, name, value in rows if count]


def _graded(figures: Figures) -> list[tuple[str, str]]:
    """Return the rows on suspicion and on calibration."""
    grading = figures.grading
    return [
        (
            "suspicious against benign morphology, area under the curve",
            f"{said(grading.area)}, {grading.suspicious} against {grading.benign} lesions found",
        ),
        (
            "breasts with a suspicious lesion against others, area under the curve",
            f"{said(grading.breast_area)}, {grading.suspicious_breasts} against {grading.other_breasts}",
        ),
        (
            "calibration of detection: ECE, Brier",
            _calibrated(grading.detection),
        ),
        (
            "calibration of suspicion against morphology: ECE, Brier",
            _calibrated(grading.suspicion),
        ),
    ]


def _calibrated(calibration: Calibration) -> str:
    """Return expected calibration error and Brier score."""
    return f"{said(calibration.expected_error)}, {said(calibration.brier)}, n = {calibration.count}"


def _withheld(figures: Figures) -> str:
    """Return how many images were withheld, what that cost and spared, and why."""
    kept = figures.withheld
    counted = f"{kept.images} of {figures.images}"
    if not kept.images:
        return counted
    reasons = "; ".join(f"{count} x {reason}" for reason, count in figures.reasons.items())
    return (
        f"{counted}; {kept.lesions} lesions on them, of which {kept.found} had been found, and "
        f"{kept.false_marks} false marks: {reasons}"
    )


def _foot(figures: Figures) -> list[str]:
    """Return what is told in sentences below the table."""
    sentences = [
        f"Found at the operating point, by {title}: {', '.join(rows)}."
        for title in ("morphology", "density", "vendor", "pitch in mm")
        if (
            rows := [
                f"{row.name} {round(row.found.value * row.lesions)}/{row.lesions}"
                for row in figures.tables[title]
                if row.lesions
            ]
        )
    ]
    if figures.large:
        kinds = ", ".join(
            f"{kind} {marked}/{asked}, {called} by name"
            for kind, (asked, marked, called) in figures.large.items()
        )
        sentences.append(
            f"Large benign calcifications marked: {kinds}; {figures.false_large:.2f} false per image."
        )
    if figures.pairs:
        sentences.append(
            f"{figures.right_pairs} of {figures.pairs} findings paired between two views are one lesion."
        )
    return sentences


def _number(value: float) -> str:
    return NOT_MEASURED if math.isnan(value) else f"{value:.3f}"
