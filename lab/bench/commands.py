"""mammocalc bench: speed and size as ratios beside peers."""

import json
import logging
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lab.bench.reading import ReadingSpeed
    from lab.readerstudy.calibration import Calibration
    from mammography.reader.hardware import Hardware

EXTRA, NEEDS = "lab", ("torch",)
"""What brings these commands, and what they cannot do without."""


def register(app: typer.Typer) -> None:
    """Add mammocalc bench and what it measures."""
    bench = typer.Typer(help="Measure speed and size, as ratios beside peers.", no_args_is_help=True)
    bench.callback()(_group)
    bench.command("read")(read)
    bench.command("reader-study")(reader_study)
    bench.command("receive")(receive)
    app.add_typer(bench, name="bench")


def _group() -> None:
    """Keep the group without a command of its own."""


def read(
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turns.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic study.")] = 7,
    weights: Annotated[
        Path | None, typer.Option(help="Weights folder; the shipped weights without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure the reading of a four-view study of 3328 by 2560 pixels beside its network alone.

    Everything takes turns in one process, and medians are told: the study from files to findings, the network's
    forward passes, and our decoding beside pydicom's and dcmtk's. About 30 s, and 20 s of processor time a round.

    Example: mammocalc bench read --rounds 5
    """
    from lab.bench.reading import measure_reading, write_study
    from mammography.progress import tracked
    from mammography.reader.plan import UnusableWeights
    from mammography.reader.reader import Reader
    from mammography.telemetry.logging import configure_logging

    configure_logging("bench", lowest=logging.WARNING)
    try:
        reader = Reader.load(weights)
    except UnusableWeights as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(2) from refusal
    with TemporaryDirectory() as folder:
        for _ in tracked(write_study(Path(folder), seed), label="drawing a study", total=4):
            pass
        speed = measure_reading(Path(folder), reader, rounds=rounds)
    command = shlex.join(["mammocalc", *(word for word in sys.argv[1:] if word != "--json")])
    if as_json:
        figures = asdict(speed) | {"ratio": speed.ratio, "command": command} | _versions(reader.hardware)
        typer.echo(json.dumps(figures, indent=2))
    else:
        typer.echo(_told(speed, command, _versions(reader.hardware)))


def receive(
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is measured, in turns.")] = 5,
    sizes: Annotated[
        str, typer.Option(help="Bytes of an instance, separated by commas.")
    ] = "17000000,27000000,65536",
    associations: Annotated[
        str, typer.Option(help="Associations at once, separated by commas.")
    ] = "1,4,16,32",
    megabytes: Annotated[int, typer.Option(min=1, help="Sent in one turn, about.")] = 500,
    memory_disk: Annotated[Path, typer.Option(help="Where the path alone writes.")] = Path("/dev/shm"),  # noqa: S108
    real_disk: Annotated[Path, typer.Option(help="Where the promise is kept.")] = Path(),
) -> None:
    """Measure how fast instances are received beside storescp, Orthanc, stock pynetdicom and a plain pump.

    Two tables: the path alone, on a memory disk without any sync; and the promise kept, every instance synced,
    named, read and in the ledger before it is acknowledged, on a real disk. Receivers take turns under the same
    sender; ratios are of the same round. With the defaults that is 504 turns. A third table: how long another caller
    waits for its C-ECHO while 32 associations send.

    Example: mammocalc bench receive --rounds 3 --sizes 17000000 --associations 1,16 --megabytes 200
    """
    from lab.bench.echoing import echo_table, measure_echoes
    from lab.bench.receivers import PATH_ALONE, PROMISE_KEPT, ReceiverFailed
    from lab.bench.receiving import launch_all, loads_of, measure_receivers, table

    try:
        loads = loads_of(_numbers(sizes), _numbers(associations), megabytes=megabytes)
    except ValueError as failure:
        typer.echo(f"--sizes and --associations take numbers separated by commas: {failure}.", err=True)
        raise typer.Exit(2) from failure
    for title, launches, disk in (
        ("The path alone", PATH_ALONE, memory_disk),
        ("The promise kept", PROMISE_KEPT, real_disk),
    ):
        with TemporaryDirectory(dir=disk, prefix="bench-receive-") as folder:
            running = []
            try:
                running = launch_all(launches, Path(folder).resolve())
                typer.echo(f"{title}, medians of {rounds} rounds in turns.\n")
                kept = launches is PROMISE_KEPT
                measured = measure_receivers(running, loads, rounds=rounds, keep_small=kept)
                typer.echo(table(measured, running) + "\n")
                if kept:
                    typer.echo("A C-ECHO while 32 associations send.\n")
                    asked = [one for one in running if one.name != "plain pump"]
                    busy = loads_of(_numbers(sizes), [32], megabytes=_MEGABYTES_UNDER_ECHOES)
                    typer.echo(echo_table(measure_echoes(asked, busy)))
            except (ReceiverFailed, OSError) as failure:
                typer.echo(f"{failure}", err=True)
                raise typer.Exit(2) from failure
            finally:
                for receiver in running:
                    receiver.stop()


_MEGABYTES_UNDER_ECHOES = 5000
"""Seconds of sending, so that a hundred echoes are asked."""


def _numbers(words: str) -> list[int]:
    """Return positive numbers that are separated by commas."""
    numbers = [int(word) for word in words.split(",")]
    if min(numbers) < 1:
        raise ValueError(f"{min(numbers)} is less than 1")
    return numbers


def reader_study(
    studies: Annotated[int, typer.Option(min=100, help="How many studies are drawn for every check.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn studies.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure whether the tests of reader studies err, and their intervals hold the truth, as often as they say.

    Every check draws its own studies of known truth; a rate may lie three standard errors of the simulation off. Ends
    with 1 where one lies further. About 3 minutes of processor time for 1,000 studies.

    Example: mammocalc bench reader-study --studies 5000
    """
    from lab.readerstudy.calibration import CHECKS, calibrate
    from mammography.progress import tracked

    found = [
        calibrate(name, studies, seed) for name in tracked(CHECKS, label="drawing studies", total=len(CHECKS))
    ]
    if as_json:
        typer.echo(json.dumps([asdict(check) | {"holds": check.holds} for check in found], indent=2))
    else:
        typer.echo(_calibrated(found, seed))
    if not all(check.holds for check in found):
        raise typer.Exit(1)


def _calibrated(found: "list[Calibration]", seed: int) -> str:
    """Return the rates for people, as Markdown."""

    def told(rate: float | None) -> str:
        return "" if rate is None else f"{rate:.3f}"

    return "\n".join(
        [
            f"{found[0].studies} drawn studies for every check, seed {seed}.",
            "",
            "| check | type I error | coverage | demand |",
            "|---|---|---|---|",
            *(
                f"| {check.name} | {told(check.type_one_error)} | {told(check.coverage)} |"
                f" errors {'at most ' if check.exact else ''}{check.level:g} ± {3 * check.monte_carlo_error:.3f}:"
                f" {'held' if check.holds else 'NOT HELD'} |"
                for check in found
            ),
        ]
    )


def _told(speed: "ReadingSpeed", command: str, versions: dict[str, str]) -> str:
    """Return the figures for people, as Markdown."""
    from lab.bench.reading import LARGEST_RATIO, LONGEST_SECONDS, MOST_MEMORY_GB, SYNTAXES

    study, network = speed.study, speed.network
    ratio, longer = speed.ratio, study.wall_seconds / network.wall_seconds
    lines = [
        f"`{command}`: {speed.images} views of 3328 by 2560 pixels, {speed.findings} findings;",
        f"medians of {speed.rounds} rounds in turns.",
        ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        "",
        "| reading a study | here | demand |",
        "|---|---|---|",
        f"| files to findings / network alone, processor seconds | {ratio:.2f} | at most {LARGEST_RATIO:g} |",
        f"| files to findings / network alone, wall seconds | {longer:.2f} | |",
        f"| wall seconds | {study.wall_seconds:.1f} | at most {LONGEST_SECONDS:g}, two free processors |",
        f"| processor seconds | {study.cpu_seconds:.1f} | |",
        f"| most resident memory, GB | {speed.memory_gb:.2f} | at most {MOST_MEMORY_GB:g} |",
        "",
        "| processor seconds a study | |",
        "|---|---|",
        *(f"| {part} | {seconds:.2f} |" for part, seconds in speed.parts.items()),
        "",
        "| decoding four views, processor seconds | ours | beside pydicom's own | beside dcmtk's |",
        "|---|---|---|---|",
    ]
    for syntax, costs in speed.decoding.items():
        ours = costs["ours"].cpu_seconds
        beside = (
            f"{ours / costs[peer].cpu_seconds:.2f}" if peer in costs else "not measured"
            for peer in ("pydicom", "dcmtk")
        )
        lines.append(f"| {SYNTAXES[syntax]} | {ours:.2f} | {' | '.join(beside)} |")
    return "\n".join(lines)


def _versions(hardware: "Hardware") -> dict[str, str]:
    """Return what was measured on, by name."""
    import pydicom
    import torch

    return {
        "processor": str(torch.cpu.get_capabilities().get("cpu_name", "unknown")),
        "device": str(hardware.device),
        "precision": str(hardware.precision).removeprefix("torch."),
        "lanes": f"{hardware.lanes} of {hardware.threads} threads",
        "torch": torch.__version__,
        "pydicom": pydicom.__version__,
    }
