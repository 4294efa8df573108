"""The folders of studies' images: durable themselves, and where an arrival gets its name."""

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from node.arrival import Arrival
from node.data_set_digest import data_set_digest
from node.durable_files import make_folder, sync_file, sync_folder

_FOLDERS_REMEMBERED = 4096


class ImageFolders:
    """Where the images of studies lie below a data folder; `sync` is whether names have to survive a power cut."""

    def __init__(self, data_dir: Path, *, sync: bool) -> None:
        self._data_dir, self._sync = data_dir, sync
        self._durable: set[Path] = set()
        self._images_of = lru_cache(_FOLDERS_REMEMBERED)(lambda uid: data_dir / "studies" / uid / "images")

    def name(self, arrival: Arrival, study_instance_uid: str) -> Path:
        """Give a sealed arrival its final name in a study's folder, and return it; the folder is durable, and to be synced later.

        Where the name is taken by other bytes, these stand beside. Whatever the ledger then decides, the path that it is told
        holds these bytes. One that is small still when this returns is the first of its name, and not synced.

        Raises:
            OSError: if the disk does not take it.
        """
        images = self._images_of(study_instance_uid)
        self._make_durable(images)
        try:
            return self._name(arrival, images)
        except FileNotFoundError:  # somebody removed the folder
            self._durable.discard(images)
            self._make_durable(images)
            return self._name(arrival, images)

    def set_beside(self, arrival: Arrival, path: Path) -> None:
        """Keep these bytes beside those that the ledger knows the instance by, and free the name that it knows, where they took that.

        The study is locked: nobody else decides about its names meanwhile. What others put under any of them stays.

        Raises:
            OSError: if the disk does not take it.
        """
        whole = arrival.in_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        names = _beside(arrival, path.parent)
        beside = next(name for name in names if _is_taken_by(whole, arrival, name))
        with suppress(FileNotFoundError):
            if path != beside and path.samefile(whole):
                path.unlink()
        if self._sync:
            sync_folder(path.parent)

    def _name(self, arrival: Arrival, images: Path) -> Path:
        return next(path for path in _names(arrival, images) if self._has_taken(arrival, path))

    def _has_taken(self, arrival: Arrival, path: Path) -> bool:
        """Take a name, and return whether these bytes have it now; a link, unlike a rename, never replaces what another sender put there."""
        try:
            arrival.link(path)
        except FileExistsError:
            arrival.in_file()
            arrival.compared[path] = data_set_digest(path)
            if arrival.compared[path] != arrival.digest:
                return False
            if self._sync:  # whoever brought it may not have been promised it yet
                sync_file(path)
        return True

    def _make_durable(self, folder: Path) -> None:
        """Make a folder and its parents, whose names are synced, too, once."""
        if folder in self._durable:
            return
        if self._sync:
            make_folder(self._data_dir, folder.relative_to(self._data_dir))
        else:
            folder.mkdir(parents=True, exist_ok=True)
        if len(self._durable) >= _FOLDERS_REMEMBERED:
            self._durable.clear()
        self._durable.add(folder)


def _names(arrival: Arrival, images: Path) -> Iterator[Path]:
    """Yield the names that an arrival may have in a folder."""
    yield images / f"{arrival.announced.sop_instance_uid}.dcm"
    yield from _beside(arrival, images)


def _beside(arrival: Arrival, images: Path) -> Iterator[Path]:
    """Yield names for what is kept beside: the usual one; others where that has other bytes whose digest begins alike."""
    uid, digest = arrival.announced.sop_instance_uid, arrival.digest
    yield images / f"{uid}.conflict-{digest[:8]}.dcm"
    for number in itertools.count(2):
        yield images / f"{uid}.conflict-{digest[:8]}-{number}.dcm"


def _is_taken_by(whole: Path, arrival: Arrival, name: Path) -> bool:
    """Return whether a name has these bytes: those of the whole file, or of another that came with them."""
    with suppress(FileExistsError):
        os.link(whole, name)
        return True
    return name.samefile(whole) or data_set_digest(name) == arrival.digest
