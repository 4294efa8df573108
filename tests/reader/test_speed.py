"""Images side by side: in order, with every answer, beat and refusal that one after another has."""

import mmap
import os
import threading
import time
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.bench.measuring import peak_memory_gb, taking_turns
from lab.bench.reading import measure_reading
from mammography.finding import ReadStatus
from mammography.reader import hardware
from mammography.reader.hardware import Rest, give_memory_back, hardware_here, keep_memory, processors
from mammography.reader.pipeline import side_by_side
from mammography.reader.reader import Reader
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights
from tests.reader.conftest import mammogram_file

READ_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TWO = replace(hardware_here(), lanes=2, threads=1)


class Interrupted(Exception):
    """What a beat raises where the study was taken away."""


def test_answers_come_in_the_order_of_the_things_whichever_is_ready_first():
    second_is_done = threading.Event()

    def work(number):
        assert second_is_done.wait(10) if number == 0 else True
        if number == 1:
            second_is_done.set()
        return number

    assert list(side_by_side(work, range(5), TWO)) == [0, 1, 2, 3, 4]


def test_no_more_things_are_at_work_than_there_are_lanes():
    at_work, most, lock = 0, 0, threading.Lock()

    def work(_):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.01)
        with lock:
            at_work -= 1

    list(side_by_side(work, range(8), TWO))
    assert most == 2


def test_a_caller_that_stops_waits_for_the_work_at_hand_and_no_more_is_begun():
    begun = []

    def work(number):
        begun.append(number)
        threading.Event().wait(0.05)
        return number

    def take_one():
        for _ in side_by_side(work, range(50), TWO):
            raise Interrupted

    with pytest.raises(Interrupted):
        take_one()
    seen = len(begun)
    assert seen <= 5
    threading.Event().wait(0.2)
    assert len(begun) == seen


def test_what_one_thing_raises_is_raised_in_its_place():
    answers = side_by_side(lambda number: 12 // (number - 2), range(5), TWO)
    assert [next(answers), next(answers)] == [-6, -12]
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_a_lane_keeps_the_context_and_has_its_share_of_the_threads():
    study = ContextVar("study", default="none")
    token = study.set("1.2.3")
    for count, threads in ((2, 3), (1, 6)):
        work = side_by_side(
            lambda _: (study.get(), torch.get_num_threads()), range(count), replace(TWO, threads=3)
        )
        assert list(work) == [("1.2.3", threads)] * count
    study.reset(token)


def test_there_is_nothing_to_do_for_no_things():
    assert list(side_by_side(lambda thing: thing, [], TWO)) == []


def test_a_study_gets_the_same_answer_one_image_after_another_and_two_at_once(easy_scene, tmp_path):
    paths = _study(easy_scene, tmp_path)
    answers = []
    for lanes in (1, 2):
        beats = []
        reader = Reader(open_weights(SHIPPED_WEIGHTS), replace(TWO, lanes=lanes))
        assessment = reader.read_study(paths, read_at=READ_AT, beat=lambda: beats.append(1))  # noqa: B023
        assert len(beats) == 3
        answers.append(assessment)
    assert answers[0] == answers[1]
    assert [image.sop_instance_uid for image in answers[0].images] == ["1.1", "1.2", "1.3"]
    assert [image.status for image in answers[0].images] == [
        ReadStatus.READ,
        ReadStatus.NOT_READ,
        ReadStatus.READ,
    ]
    assert answers[0].images[0].findings


def test_memory_is_kept_between_studies_and_returned_in_a_rest():
    keep_memory()
    give_memory_back()
    rest = Rest(after=timedelta(milliseconds=300))
    before = _resident_mb()
    pages = [np.ones(1_000_000) for _ in range(20)]
    pages.clear()
    rest.begin()
    rest.interrupt()
    time.sleep(0.6)
    assert _resident_mb() > before + 100
    rest.begin()
    deadline = time.monotonic() + 20
    while _resident_mb() > before + 50 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _resident_mb() < before + 50


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def test_a_control_group_that_grants_one_processor_is_believed(tmp_path, monkeypatch):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(hardware, "_CPU_QUOTA", quota)
    everything = processors()
    quota.write_text("100000 100000\n")
    assert processors() == 1
    quota.write_text("50000 100000\n")
    assert processors() == 1
    quota.write_text("max 100000\n")
    assert processors() == everything


def test_every_piece_of_a_benchmark_runs_once_a_round_and_once_before():
    runs = []
    costs = taking_turns({"one": lambda: runs.append(1), "two": lambda: runs.append(2)}, rounds=3)
    assert runs == [1, 2] * 4
    assert set(costs) == {"one", "two"}
    assert all(cost.cpu_seconds < 1 and cost.wall_seconds < 1 for cost in costs.values())


def test_the_peak_of_memory_is_that_of_the_work_alone():
    before = peak_memory_gb(lambda: None)
    assert peak_memory_gb(_touch_320_mb) == pytest.approx(before + 0.32, abs=0.1)


def _touch_320_mb() -> None:
    """Use fresh pages of the kernel's: NumPy may hold freed ones that are resident already."""
    with mmap.mmap(-1, 320_000_000) as pages:
        np.frombuffer(pages, np.uint8)[:: mmap.PAGESIZE] = 1


def test_the_benchmark_counts_the_whole_study_beside_its_network(easy_scene, tmp_path):
    reader = Reader(open_weights(SHIPPED_WEIGHTS), replace(TWO, lanes=1))
    (tmp_path / "explicit").mkdir()
    mammogram_file(tmp_path / "explicit" / "1.dcm", easy_scene.pixels, ImagerPixelSpacing=[0.1, 0.1])
    speed = measure_reading(tmp_path, reader, rounds=1)
    assert (speed.images, speed.rounds) == (1, 1)
    assert 0.8 < speed.ratio < 5
    assert sum(speed.parts.values()) == pytest.approx(speed.study.cpu_seconds)
    assert set(speed.decoding) == {"explicit"}
    assert set(speed.decoding["explicit"]) == {"ours", "pydicom"}
    assert 0.1 < speed.memory_gb < 3


def _study(scene, folder):
    """Write the scene twice, with a broken file between."""
    paths = [
        mammogram_file(
            folder / f"{number}.dcm",
            scene.pixels,
            SOPInstanceUID=f"1.{number}",
            ImagerPixelSpacing=[0.1, 0.1],
            ViewPosition=position,
        )
        for number, position in enumerate(("CC", "MLO", "ML"), start=1)
    ]
    paths[1].write_bytes(paths[1].read_bytes()[:9000])
    return paths
