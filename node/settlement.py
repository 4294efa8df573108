"""Everything that was written and committed so far, brought to the disk."""

import os
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from mammography.ledger.engine import Ledger
from node.durable_files import sync_file_system


class Settlement:
    """Brings to the disk, each time it is called, what was committed to a ledger and written below a data folder before.

    The data folder is in one file system; the ledger may be elsewhere. The folder stays open, since the system tells of a failure
    only those who had a descriptor when it happened.
    """

    def __init__(self, ledger: Ledger, data_dir: Path) -> None:
        self._ledger = ledger
        self._descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __call__(self) -> None:
        """Do it.

        Raises:
            OSError: if the disk does not take it.
        """
        try:
            self._ledger.sync()
        except SQLAlchemyError as failure:
            raise OSError(0, str(failure)) from failure
        sync_file_system(self._descriptor)

    def close(self) -> None:
        """Let go of the folder."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
