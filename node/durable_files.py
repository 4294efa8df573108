"""Files and folders that are wholly there or not at all, whatever happens while they are made."""

import os
from pathlib import Path
from uuid import uuid4


def make_folder(data_dir: Path, folder: Path) -> None:
    """Make a folder below `data_dir`, so that neither it nor its parents vanish with a power cut."""
    (data_dir / folder).mkdir(parents=True, exist_ok=True)
    for parent in folder.parents:
        _sync_folder(data_dir / parent)


def write_durably(path: Path, content: bytes) -> None:
    """Put a file into its place, complete and synced, over whatever was there.

    Where that fails nothing is left; where the process is ended meanwhile, a file `.NAME.*.part` is.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
