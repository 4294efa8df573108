"""The lessons of a run as files: drawn by processes beside the one that learns, waited for, and let go again."""

import multiprocessing
import os
import time
from ctypes import c_int
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Self

import torch

from lab.training.scenes import lesson_file, write_lesson_of

AHEAD = 200
"""Lessons that are drawn before they are needed: 1.3 GB of files."""
_LOOK_AGAIN_SECONDS = 0.2


class DrawingFailed(Exception):
    """A process that draws lessons has ended before its time; it has said why."""


class Supply:
    """The lessons of one seed in a folder. Which lesson is which depends on its number alone, never on who drew it."""

    def __init__(self, folder: Path, *, seed: int, keep: bool = False) -> None:
        """Take a folder; `keep`: lessons that are no longer needed stay in it."""
        self.folder = folder
        self._seed = seed
        self._keep = keep
        self._drawing: list[BaseProcess] = []
        self._spawning = multiprocessing.get_context("spawn")
        self._wanted: Synchronized[int] = self._spawning.Value(c_int, 0)

    def __enter__(self) -> Self:
        """Return the supply itself; nothing is drawn yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        for drawing in self._drawing:
            drawing.terminate()
            drawing.join()
        self._drawing.clear()

    def draw(self, first: int, last: int, *, processes: int) -> None:
        """Begin to draw the lessons from `first` to before `last`, those that are not there, in processes beside."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in range(processes):
            numbers = range(first + part, last, processes)
            drawing = self._spawning.Process(
                target=_draw, args=(self.folder, numbers, self._seed, self._wanted), daemon=True
            )
            drawing.start()
            self._drawing.append(drawing)

    def files(self, first: int, last: int) -> list[Path]:
        """Return the files of the lessons from `first` to before `last`; waits until they are there.

        Raises:
            DrawingFailed: if one is missing and nobody draws it.
        """
        self._wanted.value = max(self._wanted.value, last)
        paths = [self.folder / lesson_file(number, seed=self._seed) for number in range(first, last)]
        for path in reversed(paths):
            while not path.exists():
                idle = not any(drawing.is_alive() for drawing in self._drawing)
                if any(drawing.exitcode for drawing in self._drawing) or (idle and not path.exists()):
                    raise DrawingFailed(f"The lesson {path} is missing and cannot be drawn.")
                time.sleep(_LOOK_AGAIN_SECONDS)
        return paths

    def let_go(self, before: int) -> None:
        """Delete the lessons before a number, unless they are to be kept: they can be drawn again from the seed."""
        if self._keep:
            return
        oldest = lesson_file(before, seed=self._seed)
        for path in self.folder.glob(lesson_file(0, seed=self._seed).replace("000000", "??????")):
            if path.name < oldest:
                path.unlink()

    def clear(self) -> None:
        """Delete every lesson of this seed, unless they are to be kept."""
        self.let_go(10**6 - 1)


def _draw(folder: Path, numbers: range, seed: int, wanted: "Synchronized[int]") -> None:
    """Write lessons, never far ahead of those that are wanted, in a process that stands back behind the others.

    It ends with the process that learns, however that ends.
    """
    os.nice(10)
    torch.set_num_threads(1)
    learning = multiprocessing.parent_process()
    for number in numbers:
        while number >= wanted.value + AHEAD and learning is not None and learning.is_alive():
            time.sleep(_LOOK_AGAIN_SECONDS)
        if learning is None or not learning.is_alive():
            return
        write_lesson_of(number, folder, seed=seed)
