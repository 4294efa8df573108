"""Lessons of public data sets, cut once into files, and read from there as they are needed."""

import json
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path

from typing_extensions import override

from lab.datasets import DatasetKind, lessons_of
from lab.training.lesson import Lesson, read_lesson, write_lesson
from mammography.reader.plan import ReaderPlan

MOST_KEPT = 48
"""Lessons of data sets in memory at once: 0.3 GB."""
MOST_CUT = 3000
"""Windows that are cut from one data set: 19 GB."""
DONE_FILE = "whole.json"
"""Stands in a data set's folder of lessons once all of them are there."""
MANIFEST_FILE = "manifest.jsonl"


class KeptLessons(Mapping[Path, Lesson]):
    """Lessons by their files, each read when it is asked for; those asked for last stay in memory."""

    def __init__(self, paths: list[Path]) -> None:
        """Take the files, in the order in which they count."""
        self._paths = dict.fromkeys(paths)
        self._kept: OrderedDict[Path, Lesson] = OrderedDict()

    @override
    def __getitem__(self, path: Path) -> Lesson:
        """Return the lesson of a file."""
        if path not in self._paths:
            raise KeyError(path)
        if path not in self._kept:
            self._kept[path] = read_lesson(path)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(path)
        return self._kept[path]

    @override
    def __iter__(self) -> Iterator[Path]:
        """Yield the files in their order."""
        return iter(self._paths)

    @override
    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._paths)

    @override
    def __contains__(self, path: object) -> bool:
        """Return whether a file is one of them; nothing is read."""
        return path in self._paths


def cut_lessons(kind: DatasetKind, folder: Path, plan: ReaderPlan, lessons: Path) -> Iterator[Path]:
    """Write the lessons of a data set's training patients below `lessons`, unless all are there; yields each file.

    `folder` holds the data set in its own layout. A manifest with every image's hash lies beside the lessons.

    Raises:
        lab.datasets.UnusableDataset: if it does not.
    """
    place = lessons / kind.value
    done = place / DONE_FILE
    source = {"folder": str(folder.resolve()), "most": MOST_CUT}
    if done.exists() and json.loads(done.read_text()) == source:
        yield from sorted(place.glob("*.npz"))
        return
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    windows = lessons_of(kind, folder, plan, manifest=place / MANIFEST_FILE)
    for number, lesson in zip(range(MOST_CUT), windows, strict=False):
        path = place / f"{kind.value}-{number:06d}.npz"
        write_lesson(lesson, path)
        yield path
    done.write_text(json.dumps(source))
