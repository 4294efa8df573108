"""One training from beginning to end: lessons drawn beside, steps, report, and the weights folder."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from rich.console import Console
from torch import Tensor

from lab.datasets import DatasetKind
from lab.training import run
from lab.training.checkpoint import (
    CHECKPOINT_FILE,
    NoCheckpoint,
    averaged_weights,
    course_of,
    resume,
    save,
)
from lab.training.finishing import History, finish, scenes_to_look_at
from lab.training.mixing import KeptLessons, cut_lessons
from lab.training.report import REPORT_FILE, write_report
from lab.training.run import FEWEST_LESSONS, Course, Progress, Run, learn, seconds_per_step
from lab.training.scenes import first_plan
from lab.training.supply import Supply
from mammography.progress import tracked
from mammography.reader.hardware import cpu_precision
from mammography.reader.plan import ReaderPlan, UnusableWeights
from mammography.reader.weights_folder import trainable_network

log = structlog.get_logger()

LESSONS_FOLDER = "lessons"
OVERHEAD = 1.15
"""Time that steps, searches for mistakes and new lessons take, for each second of the steps alone."""
REPORT_EVERY_SECONDS = 900.0


class NoGpu(Exception):
    """A GPU was asked for, and torch sees none; str() is the sentence that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be taught, from what, and for how long.

    `steps`: None turns `minutes` into steps once, by what this machine does in a trial. `lessons`: None keeps them
    below `out` for as long as they are needed. `beginning`: a weights folder or a checkpoint. `windows`, `whole`: how
    many validation scenes the models and thresholds are chosen on.
    """

    out: Path
    scenes: int
    minutes: float
    steps: int | None
    seed: int
    version: str
    windows: int
    whole: int
    lessons: Path | None
    beginning: Path | None
    drawing: int
    device: str
    data: tuple[tuple[DatasetKind, Path], ...]
    resume: bool
    command: str


def teach(request: Request) -> None:
    """Teach a reader, and write its weights, plan, models, card and report.

    Raises:
        NoCheckpoint: if there is no run to go on with.
        NoGpu: if one is asked for and there is none.
        DrawingFailed: if lessons cannot be drawn.
        mammography.reader.plan.UnusableWeights: if the weights to begin with cannot be.
        lab.datasets.UnusableDataset: if a folder does not hold the data set.
        lab.training.fitting.TooLittleLearned: if nothing can be fitted on what the network finds.
    """
    torch.set_num_threads(1)  # other cores draw; a step gains little from more
    plan = first_plan().model_copy(update={"version": request.version})
    checkpoint = request.out / CHECKPOINT_FILE
    if request.resume and not checkpoint.exists():
        raise NoCheckpoint(f"{request.out} holds no {CHECKPOINT_FILE} to go on from: leave out --resume.")
    request.out.mkdir(parents=True, exist_ok=True)
    seed = course_of(checkpoint)[0] if request.resume else request.seed
    folder = request.lessons or request.out / LESSONS_FOLDER
    data = KeptLessons([path for kind, source in request.data for path in _cut(kind, source, plan, folder)])
    with Supply(folder, seed=seed, keep=request.lessons is not None) as supply:
        state = _resumed(plan, supply, request) if request.resume else _begun(plan, supply, request)
        state.data = data
        steps = learn(state, plan, supply=supply, save=lambda state: save(state, checkpoint))
        reported = time.monotonic()
        for _ in tracked(_thousandths(steps), label="learning", total=1000):
            if time.monotonic() - reported > REPORT_EVERY_SECONDS:
                write_report(state, plan, request.command, request.out / REPORT_FILE)
                reported = time.monotonic()
    if state.lessons:  # else every step was taken before, and reported
        write_report(state, plan, request.command, request.out / REPORT_FILE)
    history = History(
        steps=state.step,
        minutes=state.seconds / 60,
        scenes=state.course.lessons_at(state.step)[1],
        seed=seed,
        command=request.command,
        data=tuple(kind.value for kind, _ in request.data),
    )
    average = {name: value.cpu() for name, value in state.average.items()}
    choosing = finish(
        average, plan, request.out, windows=request.windows, whole=request.whole, history=history
    )
    total = scenes_to_look_at(windows=request.windows, whole=request.whole)
    for _ in tracked(choosing, label="choosing thresholds", total=total):
        pass
    supply.clear()


def _cut(kind: DatasetKind, source: Path, plan: ReaderPlan, folder: Path) -> list[Path]:
    """Return the files of a data set's lessons, which are cut where they are not there."""
    paths: list[Path] = []
    with Console(stderr=True).status(f"{kind.value}: cutting windows") as status:
        for path in cut_lessons(kind, source, plan, folder):
            paths.append(path)
            status.update(f"{kind.value}: {len(paths)} windows")
    log.info("dataset-cut", dataset=kind.value, windows=len(paths))
    return paths


def _resumed(plan: ReaderPlan, supply: Supply, request: Request) -> Run:
    """Return the run of the checkpoint in the folder; its lessons that are gone are drawn again."""
    checkpoint = request.out / CHECKPOINT_FILE
    seed, course = course_of(checkpoint)
    device, precision = _hardware(request.device)
    state = run.begin(plan, seed=seed, course=course, device=device, precision=precision)
    resume(state, checkpoint, folder=supply.folder)
    supply.draw(course.lessons_at(state.step)[0], course.taken_up, processes=request.drawing)
    return state


def _begun(plan: ReaderPlan, supply: Supply, request: Request) -> Run:
    """Return a run that has not taken a step."""
    weights = _beginning(request.beginning)
    device, precision = _hardware(request.device)

    def begin(course: Course) -> Run:
        state = run.begin(plan, seed=request.seed, course=course, device=device, precision=precision)
        if weights is not None:
            try:
                run.start_from(state, weights)
            except RuntimeError as cause:
                raise UnusableWeights(f"{request.beginning} holds another kind of network.") from cause
        return state

    supply.clear()
    if request.steps is not None:
        course = Course(steps=request.steps, lessons=request.scenes)
        supply.draw(0, course.taken_up, processes=request.drawing)
        return begin(course)
    supply.draw(0, request.scenes, processes=request.drawing)
    return begin(_course_for(begin(Course(steps=1, lessons=FEWEST_LESSONS)), supply, request))


def _course_for(trial: Run, supply: Supply, request: Request) -> Course:
    """Return as many steps, and at most as many lessons, as this machine is likely to do in the time asked for."""
    waiting = (supply.files(number, number + 1) for number in range(FEWEST_LESSONS))
    arrivals = [time.monotonic() for _ in tracked(waiting, label="first scenes", total=FEWEST_LESSONS)]
    run.load_lessons(trial, supply)
    asked = request.minutes * 60
    steps = max(1, round(asked / (seconds_per_step(trial) * OVERHEAD)))
    each = (arrivals[-1] - arrivals[0]) / (FEWEST_LESSONS - 1)
    drawn = FEWEST_LESSONS + int(run.LAST_LESSON_SHARE * asked / max(each, 1e-3))
    course = Course(steps=steps, lessons=min(request.scenes, drawn))
    log.info("course-chosen", steps=course.steps, lessons=course.lessons, minutes=request.minutes)
    return course


def _beginning(place: Path | None) -> Mapping[str, Tensor] | None:
    """Return the weights of a weights folder or of a checkpoint."""
    if place is None:
        return None
    return averaged_weights(place) if place.is_file() else trainable_network(place).state_dict()


def _hardware(device: str) -> tuple[torch.device, torch.dtype]:
    """Return where steps are taken, and in which precision products are: bfloat16 where it is native."""
    if device == "cuda" and not torch.cuda.is_available():
        raise NoGpu("torch sees no GPU here: leave out --device, or install torch for CUDA.")
    if device != "cpu" and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.device("cuda"), torch.bfloat16 if native else torch.float32
    return torch.device("cpu"), cpu_precision()


def _thousandths(steps: Iterable[Progress]) -> Iterator[int]:
    """Yield once for every thousandth of a run that is done."""
    shown = 0
    for progress in steps:
        while shown < int(progress.share * 1000):
            shown += 1
            yield shown
