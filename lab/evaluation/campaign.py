"""Many studies measured by several processes, each study kept as soon as it is done: a stopped measurement goes on."""

import hashlib
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files as resource_files
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import torch
from pydantic import ValidationError

from lab.evaluation.observation import Observer, one_lane
from lab.evaluation.pictures import with_pictures
from lab.evaluation.records import STUDY_LINE, StudyRecord
from lab.phantom.condition import Condition
from lab.phantom.dicom import to_dicom
from lab.phantom.study import NotEasy, draw_study
from mammography.reader.plan import PLAN_FILE
from mammography.reader.weights_folder import open_weights
from mammography.telemetry.logging import configure_logging

RESULTS_FILE = "results.jsonl"
"""A first line that says what is measured, then one line for every study."""
MEASURED_SOURCES = {
    "lab.phantom": "*.py",
    "lab.evaluation": "[mor]*.py",
    "mammography": "[cfmv]*.py",
    "mammography.reader": "*.py",
}
"""The sources that decide what is measured (matching, observation and records; coordinates, finding, ...)."""


class OtherMeasurement(Exception):
    """The folder holds results of other weights, studies or programs; str() says what to do."""


@cache
def sources_digest() -> str:
    """Return what stands for the programs that draw, read and judge; once, as this process runs what it imported."""
    digest = hashlib.sha256()
    for package, pattern in MEASURED_SOURCES.items():
        for source in sorted(resource_files(package).iterdir(), key=lambda entry: entry.name):
            if fnmatch(source.name, pattern):
                digest.update(source.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """What is measured. `spacing_mm`, `rows`, `columns`: None leaves every machine its own detector."""

    first: int
    studies: int
    weights: Path
    condition: Condition = Condition.USUAL
    easy: bool = False
    spacing_mm: float | None = None
    rows: int | None = None
    columns: int | None = None

    @property
    def seeds(self) -> range:
        """The seeds of the studies."""
        return range(self.first, self.first + self.studies)

    def measured(self) -> dict[str, str]:
        """Return what decides a study's record beside its seed: results of another measurement are not mixed in."""
        hardware = one_lane()
        return {
            "weights": hashlib.sha256((self.weights / PLAN_FILE).read_bytes()).hexdigest(),
            "condition": self.condition.value,
            "easy": str(self.easy),
            "detector": f"{self.rows} x {self.columns} x {self.spacing_mm} mm",
            "device": f"{hardware.device.type} {hardware.precision}",
            "sources": sources_digest(),
        }


def measure(campaign: Campaign, *, jobs: int, out: Path | None = None) -> Iterator[StudyRecord]:
    """Yield a record of every study: those that `out` already holds, then the others as they are done.

    The records do not depend on `jobs`. Raises when a process dies: the studies that are done are kept.

    Raises:
        OtherMeasurement: if `out` holds the results of another measurement.
    """
    done = kept_results(campaign, out) if out else []
    yield from done
    missing = sorted(set(campaign.seeds) - {record.study for record in done})
    if not missing:
        return
    pictures = None if out is None else out / "pictures"
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        min(jobs, len(missing)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(campaign, pictures),
    )
    measured = 0
    try:
        for future in as_completed([executor.submit(_measured_study, seed) for seed in missing]):
            record = future.result()
            if out:
                with (out / RESULTS_FILE).open("ab") as results:
                    results.write(STUDY_LINE.dump_json(record) + b"\n")
            measured += 1
            yield record
    finally:
        executor.shutdown(wait=measured == len(missing), cancel_futures=True)
        if measured < len(missing):
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()


def kept_results(campaign: Campaign, out: Path) -> list[StudyRecord]:
    """Return the records of a campaign's studies that a folder holds; a folder without any is begun.

    Raises:
        OtherMeasurement: if the folder holds the results of another measurement.
    """
    path = out / RESULTS_FILE
    header = json.dumps(campaign.measured())
    if not path.exists():
        (out / "pictures").mkdir(parents=True, exist_ok=True)
        path.write_text(header + "\n")
        return []
    first, *lines = path.read_text().split("\n")
    if first != header:
        differs = _differences(first, campaign.measured())
        raise OtherMeasurement(
            f"{path} holds another measurement ({differs}): give --out another folder, or remove this one."
        )
    records = [record for line in lines if (record := _record_of(line)) is not None]
    path.write_text("\n".join([header, *(STUDY_LINE.dump_json(record).decode() for record in records), ""]))
    return [record for record in records if record.study in campaign.seeds]


def _differences(first: str, measured: dict[str, str]) -> str:
    """Return what differs between a results file's first line and a measurement, in words."""
    try:
        kept = json.loads(first)
    except json.JSONDecodeError:
        return "its first line cannot be read"
    return "other " + ", ".join(name for name in measured if kept.get(name) != measured[name])


def _record_of(line: str) -> StudyRecord | None:
    """Return a line's record; none of a line that was being written when the measurement was stopped."""
    try:
        return STUDY_LINE.validate_json(line)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What a process measures with."""

    campaign: Campaign
    observer: Observer
    pictures: Path | None


_bench: list[_Bench] = []
"""The one of this process."""


def _begin(campaign: Campaign, pictures: Path | None) -> None:
    """Make a process ready: one thread, for results that do not depend on how many there are."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that is waited for
    configure_logging("evaluation", lowest=logging.WARNING)
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()
    observer = Observer(open_weights(campaign.weights))
    _bench.append(_Bench(campaign=campaign, observer=observer, pictures=pictures))


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _measured_study(seed: int) -> StudyRecord:
    """Return the record of one study, drawn, written to files and read."""
    bench = _bench[0]
    campaign = bench.campaign
    try:
        drawn = draw_study(
            seed,
            easy=campaign.easy,
            rows=campaign.rows,
            columns=campaign.columns,
            spacing_mm=campaign.spacing_mm,
            condition=campaign.condition,
        )
        scenes = list(drawn)
    except NotEasy:
        return StudyRecord(study=seed, seconds=0.0, images=(), breasts=(), pairs=0, right_pairs=0)
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.dcm" for number in range(len(scenes))]
        for scene, file in zip(scenes, files, strict=True):
            to_dicom(scene, seed=seed).save_as(file, enforce_file_format=True)
        observation = bench.observer.observe(seed, scenes, files)
    if bench.pictures is None:
        return observation.record
    return with_pictures(observation, scenes, bench.observer.plan, bench.pictures)
