"""Where those who ask us to commit take our reports (PS3.4 J.3.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.callers import ANY_TITLE, Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportAddress:
    """Where a sender takes our reports."""

    port: int
    host: str | None = None
    """None is wherever it asked from."""


class ReportAddresses:
    """Says of a sender where it takes reports: as the first that it is, those with a title of their own before any title."""

    def __init__(self, listed: Sequence[tuple[Caller, ReportAddress]]) -> None:
        self._listed = sorted(listed, key=lambda each: each[0].ae_title == ANY_TITLE)

    def of(self, ae_title: str, address: str) -> ReportAddress | None:
        """Return where a sender at an address takes them; None is on the association on which it asks."""
        found = (taken for caller, taken in self._listed if caller.is_it(ae_title, address))
        return next(found, None)
