"""mammocalc evaluate: what a reader finds on synthetic studies that it never learned from."""

import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from lab.evaluation.campaign import Campaign
    from lab.evaluation.records import StudyRecord

EXTRA, NEEDS = "lab", ("torch", "matplotlib")
"""What brings these commands, and what they cannot do without."""
FIGURES_FILE, REPORT_FILE = "figures.json", "report.html"
SILENT_OPTIONS = ("--card", "--json", "--jobs", "--out", "--tables")
"""Options that change no figure: the command in the card lacks them."""


def register(app: typer.Typer) -> None:
    """Add this group's commands to mammocalc."""
    app.command("evaluate")(evaluate)


Seed = Annotated[int, typer.Option(min=0, max=999_999_999, help="Seed of the first study.")]
Weights = Annotated[Path | None, typer.Option(help="Weights folder; the shipped weights without it.")]
ConditionName = Annotated[
    Literal["usual", "shifted", "normal"],
    typer.Option(help="usual: as in training; shifted: other machines; normal: no calcification."),
]
Pitch = Annotated[
    float | None,
    typer.Option(min=0.05, max=0.15, help="Pitch of the detector in mm; each machine's own without it."),
]
Rows = Annotated[int | None, typer.Option(min=512, help="Rows of an image; a whole detector's without it.")]
Columns = Annotated[
    int | None, typer.Option(min=384, help="Columns of an image; a whole detector's without it.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder for the report, its pictures and every study's results; a second run goes on."),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="KIND=FOLDER: measure on a public data set instead; cbis-ddsm, inbreast, vindr, cmmd or bmcd."
    ),
]
SplitName = Annotated[
    Literal["training", "validation", "test"], typer.Option(help="Which patients of the data set.")
]
Tables = Annotated[
    Path | None,
    typer.Option(help="Also write truth.csv and model.csv, tables of a reader study, into this folder."),
]
Card = Annotated[bool, typer.Option("--card", help="Add the figures to the card of the weights folder.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where and how figures are told. `weights`: the folder whose card takes them, with `card`."""

    weights: Path
    out: Path | None
    as_json: bool
    card: bool

    def tell(self, text: str, as_json: str) -> None:
        """Print the figures, as text or as JSON, and write them where they were asked for."""
        from lab.training.finishing import write_measured

        if self.card:
            write_measured(self.weights, text)
        if self.out:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / FIGURES_FILE).write_text(as_json + "\n")
        typer.echo(as_json if self.as_json else text)


def evaluate(
    *,
    studies: Annotated[int, typer.Option(min=1, help="How many synthetic studies of four views.")] = 25,
    seed: Seed = 1,
    weights: Weights = None,
    condition: ConditionName = "usual",
    easy: Annotated[
        bool, typer.Option("--easy", help="Only studies whose lesions anyone would see.")
    ] = False,
    spacing_mm: Pitch = None,
    rows: Rows = None,
    columns: Columns = None,
    out: Out = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that measure side by side.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    card: Card = False,
    tables: Tables = None,
    data: Data = None,
    split: SplitName = "test",
) -> None:
    """Measure the reader on synthetic studies whose truth is known, or on a public data set.

    About 20 s of processor time per study. Seeds below 1,000,000,000 are never learned from. With --out a
    measurement that was stopped goes on, and report.html shows curves, tables, misses and false marks.

    Example: mammocalc evaluate --studies 25 --seed 1 --jobs 2 --out evaluation
    """
    from lab.evaluation.campaign import Campaign
    from lab.phantom.condition import Condition
    from mammography.reader.weights_folder import SHIPPED_WEIGHTS

    answer = Answer(weights=weights or SHIPPED_WEIGHTS, out=out, as_json=as_json, card=card)
    if data is not None and tables is not None:
        raise typer.BadParameter("is of synthetic studies only, not of --data.", param_hint="--tables")
    if data is not None:
        _evaluate_dataset(data, split, answer)
        return
    campaign = Campaign(
        first=seed,
        studies=studies,
        weights=answer.weights,
        condition=Condition(condition),
        easy=easy,
        spacing_mm=spacing_mm,
        rows=rows,
        columns=columns,
    )
    _evaluate_phantom(campaign, jobs, answer, tables)


def _evaluate_phantom(campaign: "Campaign", jobs: int, answer: Answer, tables: Path | None) -> None:
    """Measure the reader on synthetic studies, and tell the figures."""
    from lab.evaluation.campaign import OtherMeasurement
    from lab.evaluation.card import told
    from lab.evaluation.figures import figures_of
    from lab.evaluation.report import as_json, write_report
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.weights_folder import open_weights

    try:
        plan = open_weights(campaign.weights).plan
        records = _measured(campaign, jobs, answer.out)
    except (UnusableWeights, OtherMeasurement) as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    figures, command = figures_of(records, plan), _command(sys.argv[1:])
    answer.tell(told(figures, command), as_json(figures, command))
    if not answer.as_json:
        typer.echo(
            f"\nMedian {figures.seconds_per_study:.1f} s per study from files to findings, on one of "
            f"{os.cpu_count()} processor threads beside whatever else ran."
        )
    if tables:
        from lab.readerstudy.evaluated import write_tables

        write_tables(records, plan, tables)
        typer.echo(f"The tables of a reader study are in {tables}.", err=True)
    if answer.out:
        write_report(figures, records, plan, command, answer.out / REPORT_FILE)
        typer.echo(f"The report is {answer.out / REPORT_FILE}.", err=True)


def _measured(campaign: "Campaign", jobs: int, out: Path | None) -> "list[StudyRecord]":
    """Return every study's record; a process that dies ends the command with a sentence."""
    from lab.evaluation.campaign import measure
    from mammography.progress import tracked

    steps = measure(campaign, jobs=jobs, out=out)
    try:
        return list(tracked(steps, label="measuring synthetic studies", total=campaign.studies))
    except BrokenProcessPool as cause:
        again = (
            f"type the same command again and it goes on from {out}" if out else "use --out to keep results"
        )
        typer.echo(
            f"A process that measured a study was ended, perhaps for want of memory: {again}; fewer --jobs "
            "need less.",
            err=True,
        )
        raise typer.Exit(2) from cause


def _evaluate_dataset(data: str, split: str, answer: Answer) -> None:
    """Measure the reader on the split of a data set, and tell the figures."""
    from lab.datasets import Split, UnusableDataset
    from lab.datasets.case import DatasetKind
    from lab.evaluation.dataset import cases_of, observe
    from lab.evaluation.dataset_figures import dataset_figures, told_of_dataset
    from lab.evaluation.report import as_json
    from mammography.progress import tracked
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.weights_folder import open_weights

    name, _, place = data.partition("=")
    if name not in list(DatasetKind) or not place:
        known = ", ".join(DatasetKind)
        raise typer.BadParameter(f"{data} is not KIND=FOLDER with a kind of {known}.", param_hint="--data")
    kind = DatasetKind(name)
    try:
        opened = open_weights(answer.weights)
        skipped, cases = cases_of(kind, Path(place), Split(split))
    except (UnusableWeights, UnusableDataset) as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    seen = [*skipped, *tracked(observe(cases, opened), label=f"reading {kind}", total=len(cases))]
    figures, command = dataset_figures(kind, Split(split), seen, opened.plan), _command(sys.argv[1:])
    answer.tell(told_of_dataset(figures, command), as_json(figures, command))


def _command(arguments: Sequence[str]) -> str:
    """Return the command that measures the same figures again."""
    kept, skip = [], False
    for word in arguments:
        name = word.partition("=")[0]
        if name in SILENT_OPTIONS:
            skip = name in ("--jobs", "--out", "--tables") and "=" not in word
        elif skip:
            skip = False
        else:
            kept.append(word)
    return shlex.join(["mammocalc", *kept])
