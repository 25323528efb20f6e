"""Progress of long work: what it does, how far it is, how long it still takes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Told by long work how far it is."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a stage of `total` steps; the value given is called with steps that are done."""
        ...

    def say(self, message: str) -> None:
        """A plain sentence for the person who waits."""
        ...


class Quiet:
    """Tells nobody."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        yield lambda steps: None

    def say(self, message: str) -> None:
        pass


class Terminal:
    """Bars with the time left, on stderr."""

    def __init__(self, console: Any) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(elapsed_when_finished=True),
        )
        with bars.Progress(*columns, console=self._console, transient=True) as shown:
            task = shown.add_task(name, total=total)
            yield lambda steps: shown.advance(task, steps)

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False)
