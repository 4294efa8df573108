"""The settings of the door to the GPU: what the worker takes from the one settings file."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mammography.settings_file import LedgerSection, QueueSection, ReaderSection


class FolderSection(BaseModel):
    """What the worker needs of [node]: where the images are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data_dir: Path = Path("var")


class WorkerSettings(BaseModel):
    """Everything that a worker is told; the node's own sections are the node's to check."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node: FolderSection = FolderSection()
    ledger: LedgerSection = LedgerSection()
    queue: QueueSection = QueueSection()
    reader: ReaderSection = ReaderSection()
