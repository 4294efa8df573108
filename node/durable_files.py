"""Files and folders that are wholly there or not at all, whatever happens while they are made."""

import ctypes
import os
from pathlib import Path
from uuid import uuid4


def make_folder(data_dir: Path, folder: Path) -> None:
    """Make a folder below `data_dir`, so that neither it nor its parents vanish with a power cut."""
    (data_dir / folder).mkdir(parents=True, exist_ok=True)
    for parent in folder.parents:
        sync_folder(data_dir / parent)


def write_durably(path: Path, content: bytes) -> None:
    """Put a file into its place, complete and synced, over whatever was there; its name, too."""
    write_whole(path, content, sync=True)
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes, *, sync: bool) -> None:
    """Put a file into its place, complete, over whatever was there; `sync` is whether it is on the disk before it has its name.

    Where that fails nothing is left; where the process is ended meanwhile, a file `.NAME.*.part` is.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make what stands in a file durable, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Make whatever was written to a file system durable: files, folders, names (syncfs(2)).

    Raises:
        OSError: if that fails, or something did since the descriptor was opened or last asked with.
    """
    if _libc.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)
