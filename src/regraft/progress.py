"""Progress of long work: what it does, how far it is, how long it still takes."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol, TextIO

Advance = Callable[[int], None]


class Progress(Protocol):
    """Told by long work how far it is."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a stage of `total` steps; the value given is called with steps that are done."""
        ...

    def say(self, message: str) -> None:
        """A plain sentence for the person who waits."""
        ...

    def found(self, what: str, facts: Mapping[str, Any]) -> None:
        """A result on the way, such as a rung of the ladder, as plain data for JSON.

        `facts` has a sentence for a person under ``told``.
        """
        ...


class Quiet:
    """Tells nobody."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        yield lambda steps: None

    def say(self, message: str) -> None:
        pass

    def found(self, what: str, facts: Mapping[str, Any]) -> None:
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

    def found(self, what: str, facts: Mapping[str, Any]) -> None:
        self.say(f"{what}: {facts['told']}")


class Lines:
    """One JSON document a line, each with what happened under ``event``: for another program.

    stage  begun: its number, name, total (null where that is not known)
    step   of a stage: steps done; at most one in EVERY seconds
    end    of a stage: steps done, seconds, whether it came to its end
    say    a sentence
    found  a result on the way, such as a rung, and what is told of it

    ``at`` is seconds since the first. Nobody need read them: a pipe that was closed is no error.
    """

    EVERY = 0.2

    def __init__(self, out: TextIO) -> None:
        self._out, self._start, self._stages = out, time.monotonic(), 0

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        self._stages += 1
        number, begun, done, last = self._stages, time.monotonic(), 0, 0.0

        def advance(steps: int) -> None:
            nonlocal done, last
            done += steps
            if (now := time.monotonic()) - last >= self.EVERY:
                last = now
                self._write("step", stage=number, done=done)

        self._write("stage", stage=number, name=name, total=total)
        complete = False
        try:
            yield advance
            complete = True
        finally:
            spent = round(time.monotonic() - begun, 3)
            self._write("end", stage=number, done=done, seconds=spent, complete=complete)

    def say(self, message: str) -> None:
        self._write("say", message=message)

    def found(self, what: str, facts: Mapping[str, Any]) -> None:
        self._write("found", what=what, **facts)

    def _write(self, event: str, **facts: Any) -> None:
        at = round(time.monotonic() - self._start, 3)
        with suppress(OSError, ValueError):
            self._out.write(json.dumps({"event": event, "at": at, **facts}) + "\n")
            self._out.flush()
