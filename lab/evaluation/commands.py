"""mammocalc evaluate: what a reader finds on synthetic studies that it never learned from."""

import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from lab.evaluation.campaign import Campaign
    from lab.evaluation.figures import Figures
    from lab.evaluation.records import StudyRecord
    from mammography.reader.plan import ReaderPlan

EXTRA, NEEDS = "lab", ("torch", "matplotlib")
"""What brings these commands, and what they cannot do without."""
FIGURES_FILE, REPORT_FILE = "figures.json", "report.html"
SILENT_OPTIONS = ("--card", "--json", "--jobs", "--out")
"""Options that change no figure: the command in the card lacks them."""


def register(app: typer.Typer) -> None:
    """Add this group's commands to mammocalc."""
    app.command("evaluate")(evaluate)


def evaluate(
    *,
    studies: Annotated[int, typer.Option(min=1, help="How many synthetic studies of four views.")] = 25,
    seed: Annotated[int, typer.Option(min=0, max=999_999_999, help="Seed of the first study.")] = 1,
    weights: Annotated[
        Path | None, typer.Option(help="Weights folder; the shipped weights without it.")
    ] = None,
    condition: Annotated[
        Literal["usual", "shifted", "normal"],
        typer.Option(help="usual: as in training; shifted: other machines; normal: no calcification."),
    ] = "usual",
    easy: Annotated[
        bool, typer.Option("--easy", help="Only studies whose lesions anyone would see.")
    ] = False,
    spacing_mm: Annotated[
        float | None,
        typer.Option(min=0.05, max=0.15, help="Pitch of the detector in mm; each machine's own without it."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=512, help="Rows of each image; a whole detector's without it.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option(min=384, help="Columns of each image; a whole detector's without it.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the report, its pictures and every study's results; a second run goes on."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that measure side by side.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    card: Annotated[
        bool, typer.Option("--card", help="Add the figures to the card of the weights folder.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="KIND=FOLDER: measure on a public data set instead; cbis-ddsm, inbreast, vindr, cmmd or bmcd."
        ),
    ] = None,
    split: Annotated[
        Literal["training", "validation", "test"], typer.Option(help="Which patients of the data set.")
    ] = "test",
) -> None:
    """Measure the reader on synthetic studies whose truth is known, or on a public data set.

    About 45 s of processor time per study. Seeds below 1,000,000,000 are never learned from. With --out a
    measurement that was stopped goes on, and report.html shows curves, tables, misses and false marks.

    Example: mammocalc evaluate --studies 25 --seed 1 --jobs 2 --out evaluation
    """
    from lab.evaluation.campaign import Campaign, OtherMeasurement
    from lab.evaluation.figures import figures_of
    from lab.phantom.condition import Condition
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights

    folder = weights or SHIPPED_WEIGHTS
    if data is not None:
        _evaluate_dataset(data, split, folder=folder, out=out, as_json=as_json, card=card)
        return
    try:
        plan = open_weights(folder).plan
        campaign = Campaign(
            first=seed,
            studies=studies,
            weights=folder,
            condition=Condition(condition),
            easy=easy,
            spacing_mm=spacing_mm,
            rows=rows,
            columns=columns,
        )
        records = _measured(campaign, jobs, out)
    except (UnusableWeights, OtherMeasurement) as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    _tell(figures_of(records, plan), records, plan, folder=folder, out=out, as_json=as_json, card=card)


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


def _tell(
    figures: "Figures",
    records: "Sequence[StudyRecord]",
    plan: "ReaderPlan",
    *,
    folder: Path,
    out: Path | None,
    as_json: bool,
    card: bool,
) -> None:
    """Print the figures, and write them where they were asked for."""
    from lab.evaluation.card import told
    from lab.evaluation.report import as_json as json_of
    from lab.evaluation.report import write_report
    from lab.training.finishing import write_measured

    command = _command(sys.argv[1:])
    text = told(figures, command)
    if card:
        write_measured(folder, text)
    if out:
        (out / FIGURES_FILE).write_text(json_of(figures, command) + "\n")
        write_report(figures, records, plan, command, out / REPORT_FILE)
    typer.echo(json_of(figures, command) if as_json else text)
    if not as_json:
        typer.echo(
            f"\nMedian {figures.seconds_per_study:.1f} s per study from files to findings, on one of "
            f"{os.cpu_count()} processor threads beside whatever else ran."
        )
    if out:
        typer.echo(f"The report is {out / REPORT_FILE}.", err=True)


def _evaluate_dataset(
    data: str, split: str, *, folder: Path, out: Path | None, as_json: bool, card: bool
) -> None:
    """Measure the reader on the split of a data set, and tell the figures."""
    from lab.datasets import Split, UnusableDataset
    from lab.datasets.case import DatasetKind
    from lab.evaluation.dataset import cases_of, observe
    from lab.evaluation.dataset_figures import dataset_figures, told_of_dataset
    from lab.evaluation.report import as_json as json_of
    from lab.training.finishing import write_measured
    from mammography.progress import tracked
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.weights_folder import open_weights

    name, _, place = data.partition("=")
    if name not in list(DatasetKind) or not place:
        known = ", ".join(DatasetKind)
        raise typer.BadParameter(f"{data} is not KIND=FOLDER with a kind of {known}.", param_hint="--data")
    kind = DatasetKind(name)
    try:
        opened = open_weights(folder)
        skipped, cases = cases_of(kind, Path(place), Split(split))
    except (UnusableWeights, UnusableDataset) as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    seen = [*skipped, *tracked(observe(cases, opened), label=f"reading {kind}", total=len(cases))]
    figures = dataset_figures(kind, Split(split), seen, opened.plan)
    command = _command(sys.argv[1:])
    text = told_of_dataset(figures, command)
    if card:
        write_measured(folder, text)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / FIGURES_FILE).write_text(json_of(figures, command) + "\n")
    typer.echo(json_of(figures, command) if as_json else text)


def _command(arguments: Sequence[str]) -> str:
    """Return the command that measures the same figures again."""
    kept, skip = [], False
    for word in arguments:
        name = word.partition("=")[0]
        if name in SILENT_OPTIONS:
            skip = name in ("--jobs", "--out") and "=" not in word
        elif skip:
            skip = False
        else:
            kept.append(word)
    return shlex.join(["mammocalc", *kept])
