"""The parsers under a fuzzer that looks for inputs which reach new code (atheris, libFuzzer); `make fuzz` runs it for an hour.

python -m tests.reception.coverage_guided SECONDS FOLDER

What it finds is written into the folder, with the trace on the standard error, and the exit status is not 0.
"""

import logging
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["node", "mammography.view", "pydicom", "pynetdicom"]):
    from tests.reception.parsers import seeds, understand

_LONGEST_INPUT = 20_000
_LONGEST_SECONDS = 10
_MOST_MEGABYTES = 2048


def main() -> None:
    """Fuzz; the library ends the process."""
    seconds, folder = int(sys.argv[1]), Path(sys.argv[2])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    logging.disable()
    warnings.simplefilter("ignore")
    options = {
        "max_total_time": seconds,
        "max_len": _LONGEST_INPUT,
        "timeout": _LONGEST_SECONDS,
        "rss_limit_mb": _MOST_MEGABYTES,
        "artifact_prefix": f"{folder}/",
    }
    atheris.Setup(
        [sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)], understand
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
