"""A progress bar for whatever takes more than two seconds, drawn on standard error."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Thing = TypeVar("Thing")


def tracked(things: Iterable[Thing], *, label: str, total: int) -> Iterator[Thing]:
    """Yield each thing, and show how many of `total` are done and when the rest will be."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(label, total=total)
        for thing in things:
            yield thing
            bar.advance(task)
