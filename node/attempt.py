"""Work whose fault is somebody else's business: it comes back as an outcome, and whose it is hears of it."""

from collections.abc import Callable
from typing import TypeVar

Outcome = TypeVar("Outcome")


def attempt(work: Callable[[], Outcome]) -> Outcome | Exception:
    """Return what `work` returns, or what it raises."""
    try:
        return work()
    except Exception as failure:  # noqa: BLE001  whoever is given it raises it
        return failure
