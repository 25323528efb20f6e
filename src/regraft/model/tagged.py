"""What models of tags and of numbers answer, as data and as text."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from regraft.backbones.store import Store
from regraft.data.inline import inline_text
from regraft.errors import Unreadable, UsageError
from regraft.model.answers import AnswerList
from regraft.model.encoded import MEMORY
from regraft.model.vectors import VectorAnswers, VectorModel
from regraft.progress import Progress

CHUNK = 2048  # files whose features are in memory at once


@dataclass(frozen=True)
class Tagged:
    """The answer for one example of a model of tags.

    file    as the user named it; a text that is no file: itself
    tags    that were answered, the surest first, with their calibrated probabilities
    top     the most probable tags, answered or not
    unlike  the example looks unlike those that the model learned from
    error   why there is no answer
    """

    file: str
    tags: tuple[tuple[str, float], ...] = ()
    top: tuple[tuple[str, float], ...] = ()
    unlike: bool = False
    error: str | None = None

    HEAD = ("file", "tags", "probabilities", "unlike", "error")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def cells(self) -> tuple[Any, ...]:
        """A row of CSV: tags and probabilities joined by ;"""
        names, sure = ";".join(n for n, _ in self.tags), ";".join(f"{p:.4f}" for _, p in self.tags)
        return (self.file, names, sure, self.unlike, self.error)


@dataclass(frozen=True)
class Value:
    """A number, and the ends of the interval that holds the truth at the model's coverage.

    None where the model learned from too few examples to tell any.
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Valued:
    """The answer for one example of a model of numbers; see `Tagged`."""

    file: str
    values: tuple[Value, ...] = ()
    unlike: bool = False
    error: str | None = None

    HEAD = ("file", "name", "value", "low", "high", "unlike", "error")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def cells(self) -> Iterator[tuple[Any, ...]]:
        """Rows of CSV, one for each number."""
        for one in self.values or (Value(""),):
            yield (self.file, one.name, one.value, one.low, one.high, self.unlike, self.error)


A = TypeVar("A", Tagged, Valued)


class _Table(AnswerList[A]):
    """Answers that are rows of a table."""

    HEAD: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """A row for each answer, under the names of HEAD."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.HEAD)
        for one in self:
            for row in self.rows(one):
                writer.writerow(["" if value is None else value for value in row])
        return out.getvalue()

    @staticmethod
    def rows(one: A) -> Iterator[tuple[Any, ...]]:
        """The rows of an answer."""
        raise NotImplementedError


class TaggedList(_Table[Tagged]):
    """Answers of a model of tags."""

    HEAD = Tagged.HEAD

    @staticmethod
    def rows(one: Tagged) -> Iterator[tuple[Any, ...]]:
        yield one.cells()


class ValuedList(_Table[Valued]):
    """Answers of a model of numbers."""

    HEAD = Valued.HEAD

    @staticmethod
    def rows(one: Valued) -> Iterator[tuple[Any, ...]]:
        yield from one.cells()


def tags_in_turn(model: VectorModel, source: Any, **settings: Any) -> Iterator[Any]:
    """Tags of examples, with bounded memory; see `in_turn`."""
    least = settings.get("least")
    if least is not None and not 0 <= least <= 1:
        raise UsageError(f"least: expected a probability from 0 to 1, got {least!r}")
    yield from in_turn(model, source, told_tags, Tagged, **settings)


def numbers_in_turn(model: VectorModel, source: Any, **settings: Any) -> Iterator[Any]:
    """Numbers for examples, with bounded memory; see `in_turn`."""
    if settings.get("least") is not None:
        raise UsageError("least: is for boxes and tags; the model tells numbers")
    yield from in_turn(model, source, told_values, Valued, **settings)


def in_turn(
    model: VectorModel,
    source: Any,
    told: Callable[..., Any],
    lost: Callable[..., Any],
    *,
    top: int = 5,
    least: float | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Iterator[Any]:
    """Answers one after the other.

    told   (model, name, answers, place, top, least) → an answer
    lost   an answer with an error
    top    how many tags to list for each example
    least  probability from which a tag is answered; None: the model's own for each
    """
    from regraft.model.named import files
    from regraft.model.predict import in_memory, refuse_top

    refuse_top(top)
    if in_memory(source):
        yield _in_memory(model, source, told, lost, top, least)
        return
    names = files(source, model.modality)
    for start in range(0, len(names), CHUNK):
        some = names[start : start + CHUNK]
        seen = model.features(some, store=store, progress=progress)
        answers = model.answer(seen.features)  # type: ignore[arg-type]
        for i, name in enumerate(some):
            shown = inline_text(name) or name
            if i in seen.verdicts:
                yield lost(shown, error=seen.verdicts[i].reason)
            else:
                yield told(model, shown, answers, i, top, least)


def tags_encoded(model: VectorModel, examples: Sequence[bytes], top: int) -> list[Tagged]:
    """Tags of encoded examples in memory; the same as of each alone."""
    return _encoded(model, examples, told_tags, Tagged, top)


def numbers_encoded(model: VectorModel, examples: Sequence[bytes], top: int) -> list[Valued]:
    """Numbers for encoded examples in memory; the same as for each alone."""
    return _encoded(model, examples, told_values, Valued, top)


def _encoded(
    model: VectorModel, examples: Sequence[bytes], told: Any, lost: Any, top: int
) -> list[Any]:
    features, errors = model.encoded(examples)
    if len(errors) == len(examples):
        return [lost(MEMORY, error=errors[i]) for i in range(len(examples))]
    answers, places = model.answer(features), iter(range(len(features)))
    return [
        lost(MEMORY, error=errors[i])
        if i in errors
        else told(model, MEMORY, answers, next(places), top, None)
        for i in range(len(examples))
    ]


def _in_memory(
    model: VectorModel, source: Any, told: Any, lost: Any, top: int, least: float | None
) -> Any:
    from regraft.model.predict import encoded

    try:
        data = source if isinstance(source, bytes) else encoded(source)
    except Unreadable as error:
        return lost(MEMORY, error=error.reason)
    features, errors = model.encoded([data])
    if errors:
        return lost(MEMORY, error=errors[0])
    return told(model, MEMORY, model.answer(features), 0, top, least)


def told_tags(
    model: VectorModel, name: str, answers: VectorAnswers, i: int, top: int, least: float | None
) -> Tagged:
    """The answer for the example of that number; see `in_turn`."""
    p = answers.values[i]
    cuts = model.cuts if least is None else np.full(len(p), least)
    order = np.argsort(-p, kind="stable")
    every = [(model.classes[k], float(p[k])) for k in order]
    said = tuple(pair for k, pair in zip(order, every, strict=True) if p[k] >= cuts[k])
    return Tagged(name, said, tuple(every[:top]), bool(answers.unlike[i]))


def told_values(
    model: VectorModel, name: str, answers: VectorAnswers, i: int, top: int, least: float | None
) -> Valued:
    """The answer for the example of that number; see `in_turn`."""
    numbers = zip(model.classes, map(float, answers.values[i]), map(float, model.cuts), strict=True)
    values = tuple(
        Value(n, v, *((v - cut, v + cut) if np.isfinite(cut) else ())) for n, v, cut in numbers
    )
    return Valued(name, values, bool(answers.unlike[i]))
