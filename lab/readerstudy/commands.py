"""mammocalc reader-study: plan a study, simulate one, and say whether the model helped its readers."""

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from lab.readerstudy.arms import Options
    from lab.readerstudy.design import PowerRow

EXTRA, NEEDS = "lab", ("statsmodels", "matplotlib", "reportlab")
"""What brings these commands, and what they cannot do without."""
HTML_FILE, PDF_FILE, JSON_FILE = "report.html", "report.pdf", "report.json"
SKILLS_FILE = "skills.json"


def register(app: typer.Typer) -> None:
    """Add this group's commands to mammocalc."""
    group = typer.Typer(
        no_args_is_help=True, help="Plan and analyse studies of readers with and without the model."
    )
    group.command("analyze")(analyze)
    group.command("design")(design)
    group.command("simulate")(simulate)
    app.add_typer(group, name="reader-study")


Folders = Annotated[
    list[Path],
    typer.Argument(help="Folder of reads.csv, truth.csv and perhaps model.csv; several are sites, merged."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of whatever is random.")]
LevelName = Annotated[
    Literal["case", "lesion"], typer.Option("--unit", help="What is judged: whole cases, or every lesion.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]


def analyze(
    studies: Folders,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, report.pdf and report.json.")
    ] = None,
    unit: LevelName = "case",
    pair: Annotated[
        list[str] | None, typer.Option(help="FIRST+SECOND: readers to combine; may be repeated.")
    ] = None,
    arbiter: Annotated[
        str | None, typer.Option(help="Reader who decides where a pair disagrees; the model without it.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0.0001, max=1, help="Margin of non-inferiority, such as 0.05.")
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            min=0.00001,
            max=0.99999,
            help="Share of malignant cases or lesions, such as 0.006, for predictive values.",
        ),
    ] = None,
    positive_score: Annotated[
        float,
        typer.Option(min=0, max=100, help="From this score on, a line without BI-RADS or call is positive."),
    ] = 50.0,
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Say whether readers do better with the model than without it, from CSV tables.

    Every mistake of every table is told at once, by line; docs/reader-study.md describes the columns.

    Example: mammocalc reader-study analyze study --unit lesion --out report
    """
    from lab.readerstudy.arms import Options

    options = Options(
        level=unit,
        pairs=_pairs(pair) if pair else None,
        arbiter=arbiter,
        margin=margin,
        positive_score=positive_score,
        prevalence=prevalence,
        seed=seed,
    )
    command = shlex.join(["mammocalc", *(word for word in sys.argv[1:] if word != "--json")])
    _analyze(studies, options, command, out, as_json=as_json)


def _analyze(
    studies: list[Path], options: "Options", command: str, out: Path | None, *, as_json: bool
) -> None:
    """Analyse tables, write the report where one is wanted, and tell the figures."""
    from lab.readerstudy.analysis import NothingToJudge, analyse
    from lab.readerstudy.arms import UnknownReader
    from lab.readerstudy.report import as_json as told_as_json
    from lab.readerstudy.report import provenance, sections_of
    from lab.readerstudy.tables import BrokenTables, open_study

    try:
        study, analysis = analyse(open_study(studies), options)
    except BrokenTables as broken:
        _refuse(str(broken))
    except (UnknownReader, NothingToJudge) as refusal:
        _refuse(str(refusal))
    source = provenance(studies, command)
    machine = told_as_json(analysis, options, source)
    if out:
        from lab.readerstudy.pages import write_html, write_pdf
        from lab.readerstudy.plots import plots_of

        out.mkdir(parents=True, exist_ok=True)
        sections = sections_of(analysis, options, source, plots_of(study, analysis, options.seed))
        write_html(sections, out / HTML_FILE)
        write_pdf(sections, out / PDF_FILE)
        (out / JSON_FILE).write_text(machine + "\n")
        typer.echo(f"The report is {out / HTML_FILE} and {out / PDF_FILE}.", err=True)
    if as_json:
        typer.echo(machine)
        return
    first, *_ = sections_of(analysis, options, source, {})
    for paragraph in (*first.paragraphs, *analysis.notes):
        typer.echo(paragraph + "\n")
    for table in first.tables:
        typer.echo(f"{table.title}\n")
        for row in (table.head, *table.rows):
            typer.echo("  " + "  |  ".join(row))


def design(
    truth: Annotated[
        Path, typer.Argument(help="truth.csv of the cases to be read, or a study's folder that holds it.")
    ],
    *,
    out: Annotated[Path, typer.Option(help="File for the reads.csv that readers fill in; must not exist.")],
    readers: Annotated[str, typer.Option(help="Readers' pseudonyms with commas between, or how many.")] = "5",
    washout_days: Annotated[int, typer.Option(min=0, help="Days between a reader's two sessions.")] = 28,
    pilot: Annotated[
        Path | None, typer.Option(help="Folder of a pilot study whose variances give the power.")
    ] = None,
    effect: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Difference in area under the ROC curve to be shown.")
    ] = 0.05,
    wanted: Annotated[float, typer.Option("--power", min=0.05, max=0.99, help="Wanted power.")] = 0.8,
    unit: LevelName = "case",
    seed: Seed = 1,
    as_json: AsJson = False,
) -> None:
    """Plan a fully crossed study: who reads which case when, with or without the model, and its power.

    Each reader reads half of the cases with the model in the first session and the others without it; after the
    wash-out the other way round, each time in a random order.

    Example: mammocalc reader-study design study --readers R1,R2,R3,R4,R5 --out plan.csv
    """
    from lab.readerstudy.design import cases_of, plan
    from lab.readerstudy.tables import TRUTH_FILE, BrokenTables, ReadRow, open_truth, write_rows

    names = _names(readers)
    if out.exists():
        _refuse(f"{out} exists; name another file, so that nobody's readings are lost.")
    try:
        rows = open_truth(truth / TRUTH_FILE if truth.is_dir() else truth)
    except BrokenTables as broken:
        _refuse(str(broken))
    cases = cases_of(rows)
    count = sum(1 for row in rows if row.lesion) if unit == "lesion" else len(cases)
    powers = _powers(pilot, unit, effect, len(names), count, wanted) if pilot else []
    write_rows(out, ReadRow, plan(cases, names, seed))
    if as_json:
        facts = {
            "file": str(out),
            "readers": names,
            "cases": len(cases),
            "washout_days": washout_days,
            "seed": seed,
        }
        typer.echo(json.dumps(facts | {"power": [asdict(row) for row in powers]}, indent=2))
        return
    typer.echo(
        f"{out}: {len(names)} readers read {len(cases)} cases twice, in two sessions; a reader's second session begins "
        f"at the earliest {washout_days} days after the end of the first. Seed {seed}."
    )
    for row in powers:
        typer.echo(_told(row, unit))
    if not pilot:
        typer.echo("Power needs the variances of a study: give one with --pilot, simulated or read.")


def _powers(
    pilot: Path, unit: Literal["case", "lesion"], effect: float, readers: int, count: int, wanted: float
) -> "list[PowerRow]":
    """Return the power of a plan from a pilot study's variances, or end the command with what is wrong with it."""
    from lab.readerstudy.arms import Options
    from lab.readerstudy.design import power_of
    from lab.readerstudy.multireader import multi_reader
    from lab.readerstudy.readings import study_of
    from lab.readerstudy.tables import BrokenTables, open_study

    try:
        _, variances = multi_reader(study_of(open_study([pilot])), Options(level=unit))
    except BrokenTables as broken:
        _refuse(str(broken))
    if variances is None:
        _refuse(
            f"{pilot} is no pilot: at least two readers have to have read its cases with and without the model."
        )
    try:
        return power_of(variances, difference=effect, readers=readers, cases=count, wanted=wanted)
    except ValueError as cause:
        _refuse(f"{pilot} tells no power: {cause}")


def _told(row: "PowerRow", unit: str) -> str:
    """Return a power in words."""
    from lab.readerstudy.report import RANDOM

    needed = f"{row.needed} {unit}s" if row.needed else f"no number of {unit}s: more readers are needed"
    return (
        f"A difference of {row.difference:g} in area, {RANDOM[row.random]}: power {row.power:.2f} with {row.cases} "
        f"{unit}s; {row.wanted:g} takes {needed}."
    )


def simulate(
    study: Annotated[Path, typer.Argument(help="Folder of a truth.csv; reads.csv is written beside it.")],
    *,
    readers: Annotated[int, typer.Option(min=1, max=50, help="How many readers.")] = 5,
    seed: Seed = 1,
) -> None:
    """Let simulated readers of known skill read the cases of a truth.csv, with and without a model.

    skills.json tells what they can do: what an analysis of their readings by lesion has to find again.

    Example: mammocalc reader-study simulate study --readers 5 --seed 1
    """
    from lab.readerstudy.simulated import simulate as simulated
    from lab.readerstudy.simulated import skills
    from lab.readerstudy.tables import READS_FILE, TRUTH_FILE, BrokenTables, ReadRow, open_truth, write_rows

    reads = study / READS_FILE
    if reads.exists():
        _refuse(f"{reads} exists; simulated readings never take the place of others.")
    try:
        truth = open_truth(study / TRUTH_FILE)
    except BrokenTables as broken:
        _refuse(str(broken))
    every = skills(readers)
    write_rows(reads, ReadRow, simulated(truth, every, seed))
    facts = [
        asdict(skill) | {name: getattr(skill, name) for name in ("sensitivity", "specificity", "area")}
        for skill in every
    ]
    (study / SKILLS_FILE).write_text(json.dumps(facts, indent=2) + "\n")
    typer.echo(f"{readers} simulated readers read {len(truth)} lesions and normal cases: {reads}.")


def _pairs(words: list[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs that were asked for."""
    found = []
    for word in words:
        first, plus, second = word.partition("+")
        if not (first and plus and second) or first == second:
            _refuse(f"--pair {word} is not FIRST+SECOND: name two readers as reads.csv does.")
        found.append((first, second))
    return tuple(found)


def _names(readers: str) -> list[str]:
    """Return the readers' pseudonyms."""
    if readers.isdigit() and 0 < int(readers) <= 999:
        return [f"R{number}" for number in range(1, int(readers) + 1)]
    names = [name.strip() for name in readers.split(",")]
    if not all(names) or len(set(names)) < len(names):
        _refuse(f"--readers {readers} names nobody, or somebody twice.")
    return names


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)
