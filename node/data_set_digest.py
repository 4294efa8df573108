"""What tells two contents of one SOP Instance UID apart: the XXH3-128 of the data set as received, without its Part 10 header.

It protects against accident, not against a sender that wants two of its own images to look alike (ADR 0017). It is taken from the
file, and only once somebody asks: while images come their bytes need not be seen (ADR 0022).
"""

from collections.abc import Iterator
from pathlib import Path

import xxhash

from node.part10 import data_set_begin

_PIECE_BYTES = 1 << 20


class DataSetDigest:
    """The digest of the data set in a file that this node wrote, taken piece by piece.

    Each step of the iteration is the bytes that it read; `digest` is in 32 hexadecimal digits once the iteration is over. Of a file that a power cut
    left without a header of ours it is empty: no data set has that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.digest = ""

    def __iter__(self) -> Iterator[int]:
        """Read, and say how many bytes each piece had.

        Raises:
            OSError: if the file cannot be read.
        """
        digest = xxhash.xxh3_128()
        with self._path.open("rb", buffering=0) as file:
            begin = data_set_begin(file)
            if begin is None:
                return
            file.seek(begin)
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                yield len(piece)
        self.digest = digest.hexdigest()


def data_set_digest(path: Path) -> str:
    """Take the digest of a file at once.

    Raises:
        OSError: if the file cannot be read.
    """
    taking = DataSetDigest(path)
    for _ in taking:
        pass
    return taking.digest
