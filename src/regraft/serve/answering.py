"""What serving needs of a model, and the models by their names, read anew when their files change.

A new file takes the place of the old one in a single step, after it was read, checked and opened:
requests that are being answered end with the model they began with, and none is lost. A file that
is no model changes nothing, and is told.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from regraft.errors import RegraftError, UsageError
from regraft.modalities.parts import Part

Answer = dict[str, Any]  # plain data for JSON; `error` says why there is none
Stamp = tuple[int, int, int]  # of a file: changes when its content does

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Answering(Protocol):
    """An opened model. `answer` may be called from several threads.

    name      as it calls itself
    version   of its content: changes with it
    modality  what it reads: a key of the registry
    sayable   whether an example can be given by what it says
    ranked    whether an answer lists the most probable classes in `top`
    together  examples that are best answered in one call
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def sayable(self) -> bool: ...
    @property
    def ranked(self) -> bool: ...
    @property
    def together(self) -> int: ...

    def answer(self, examples: Sequence[bytes], top: int) -> list[Answer]:
        """One answer for each encoded example, in order, the same whatever is beside it."""
        ...

    def parts(self, example: bytes) -> list[Part]:
        """The example as it is and without each of its parts. Raises Unreadable."""
        ...

    def about(self) -> dict[str, Any]:
        """What it is, as plain data: task, classes, networks, licences."""
        ...

    def card(self) -> str:
        """The model card, in Markdown."""
        ...


Open = Callable[[Path], Answering]  # reads and checks a file; raises RegraftError


@dataclass
class Served:
    """One model under its name; `now` is what answers."""

    name: str
    path: Path
    now: Answering
    stamp: Stamp | None
    open: Open
    reloads: int = 0
    trouble: str | None = None
    _seen: Stamp | None = field(default=None, repr=False)

    def changed(self) -> bool:
        """Whether the file is another one than what answers, and has been so for two looks: a
        copy that is still being written waits.
        """
        found = stamp_of(self.path)
        settled, self._seen = found == self._seen, found
        return found is not None and found != self.stamp and settled

    def reload(self) -> bool:
        """Read the file anew; on any trouble the model stays as it is. Returns whether it worked.

        Takes as long as opening a model: not for the thread that answers requests.
        """
        self.stamp = stamp_of(self.path)
        try:
            self.now = self.open(self.path)
        except RegraftError as error:
            self.trouble = str(error)
            return False
        self.reloads, self.trouble = self.reloads + 1, None
        return True


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no file; of a folder the newest of what is in it counts."""
    try:
        inside = [path, *path.iterdir()] if path.is_dir() else [path]
        found = [one.stat() for one in inside]
    except OSError:
        return None
    return (
        max(s.st_mtime_ns for s in found),
        sum(s.st_size for s in found),
        sum(s.st_ino for s in found),
    )


class Models(Mapping[str, Served]):
    """The served models by name; the first one answers where none is named."""

    def __init__(self, served: Iterable[Served]) -> None:
        self._served = {one.name: one for one in served}

    def __getitem__(self, name: str) -> Served:
        return self._served[name]

    def __iter__(self) -> Any:
        return iter(self._served)

    def __len__(self) -> int:
        return len(self._served)

    def items(self) -> Any:
        """Of one moment, whatever replaces them meanwhile."""
        return self._served.items()

    def values(self) -> Any:
        """Of one moment, whatever replaces them meanwhile."""
        return self._served.values()

    def replace(self, others: "Models") -> None:
        """Serve others from now on; requests that are being answered end with their own."""
        self._served = others._served

    @property
    def first(self) -> Served:
        return next(iter(self._served.values()))


def open_all(named: Sequence[str], open_one: Open) -> Models:
    """Open ``path`` or ``name=path``, one after the other; all mistakes are told together.

    Without a name the model's own is taken. Raises UsageError.
    """
    mistakes, found = [], []
    for text in named:
        name, path = _split(text)
        stamp = stamp_of(path)
        try:
            now = open_one(path)
        except RegraftError as error:
            mistakes.append(str(error))
            continue
        found.append(Served(name or _fit(now.name), path, now, stamp, open_one))
    names = [one.name for one in found]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            mistakes.append(
                f"MODEL: {names.count(name)} models are called {name!r}; name them yourself, such "
                "as new=model.regraft"
            )
        if not NAME.fullmatch(name):
            mistakes.append(
                f"MODEL: {name!r} is no name; expected up to 64 letters, digits, dots, dashes and "
                "underscores"
            )
    if mistakes:
        raise UsageError(*mistakes)
    return Models(found)


def _split(text: str) -> tuple[str, Path]:
    """``name=path`` → both; a path that exists is a path, whatever is in it."""
    name, equals, path = text.partition("=")
    if equals and not Path(text).exists():
        return name, Path(path)
    return "", Path(text)


def _fit(name: str) -> str:
    """A model's own name as one that fits into an address."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "model"
