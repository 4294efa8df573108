"""Print the figures of the worked example of reader-study.md: known skill beside what an analysis found."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from lab.evaluation.statistics import Interval
from lab.readerstudy.report import interval

FIGURES = {
    "area under the ROC curve": "area",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "lesions found": "missed",
}


def told(figure: dict[str, float | None]) -> str:
    """Return a figure with its interval, as the report does."""
    return interval(
        Interval(*(math.nan if figure[part] is None else figure[part] for part in Interval._fields))
    )


def lines(study: Path, report: Path) -> Iterator[str]:
    """Yield the table of means, the difference, and how many single intervals hold the known value."""
    skills = json.loads((study / "skills.json").read_text())
    analysis = json.loads((report / "report.json").read_text())["analysis"]
    rows = {row["figure"]: row for row in analysis["multi_reader"] if row["random"] == "readers-and-cases"}
    yield f"{analysis['cases']} cases, {analysis['lesions']} lesions, {analysis['positive']} malignant\n"
    yield "| | known, without | found, without | known, with | found, with |\n|---|---|---|---|---|"
    for figure, name in FIGURES.items():
        cells = []
        for condition in ("without", "with"):
            known = mean(skill[name] for skill in skills if skill["condition"] == condition)
            cells += [
                f"{1 - known if name == 'missed' else known:.3f}",
                told(rows[figure][f"{condition}_model"]),
            ]
        yield f"| {figure} | {' | '.join(cells)} |"
    area = rows["area under the ROC curve"]
    known = {
        condition: mean(skill["area"] for skill in skills if skill["condition"] == condition)
        for condition in ("without", "with")
    }
    yield (
        f"\nDifference in area: known {known['with'] - known['without']:.3f}, found {told(area['difference'])}, "
        f"P = {area['p']:.3f}"
    )
    arms = {arm["name"]: arm for arm in analysis["arms"]}
    held = [
        low <= skill[name] <= high
        for skill in skills
        for name, (low, high) in bounds(arms[f"{skill['reader']} {skill['condition']} the model"]).items()
    ]
    yield f"{sum(held)} of {len(held)} intervals of single figures hold the known value"


def bounds(arm: dict[str, dict[str, dict[str, list[float]]]]) -> dict[str, tuple[float, float]]:
    """Return the intervals of one way to read: DeLong's of the area, Wilson's of shares."""
    shares = {**arm["accuracy"], "missed": arm["missed"]}
    found = {name: tuple(shares[name]["wilson"]) for name in ("sensitivity", "specificity", "missed")}
    return {"area": (arm["area"]["low"], arm["area"]["high"]), **found}


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines(Path(sys.argv[1]), Path(sys.argv[2])))
