"""How answers are written: forms for programs, tables for people, by the task of a model."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from regraft.cli.tables import table


class Form(NamedTuple):
    """How answers are written for a program: their text, of which `heading` lines come once.

    whole   whether all answers are one document
    binary  whether that is bytes, which no terminal shows
    """

    text: Callable[[Any], Any]
    heading: int = 0
    whole: bool = False
    binary: bool = False


ONE_CLASS = ("csv", "parquet")  # forms with a row for each file
FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "jsonl": Form(lambda answers: answers.to_json_lines()),
        "csv": Form(lambda answers: answers.to_csv(), 1),
        "coco": Form(lambda answers: answers.to_coco(), whole=True),
        "parquet": Form(lambda answers: answers.to_parquet(), whole=True, binary=True),
    }
)
ENDINGS = {"jsonl": "jsonl", "csv": "csv", "json": "coco", "parquet": "parquet"}


def _table(answers: Sequence[Any], top: int | None) -> Any:
    more = () if top is None else (f"top {top}",)
    columns = ("file", "label", "probability", "set", "note", *more)
    return table(columns, (_cells(one, bool(more)) for one in answers), ("probability",))


def _cells(one: Any, with_top: bool) -> list[str]:
    from regraft.evaluation.report import share

    note = one.error or ("unlike the training data" if one.unlike else "")
    cells = [one.file, one.label or "", "" if one.error else share(one.probability)]
    top = ", ".join(f"{name} {share(p)}" for name, p in one.top)
    return [*cells, ", ".join(one.set), note, *([top] if with_top else [])]


def _found_table(answers: Sequence[Any], top: int | None) -> Any:
    columns = ("file", "objects", "surest", "time", "note")
    return table(columns, (_found_cells(one) for one in answers), ("time",))


def _found_cells(one: Any) -> list[str]:
    counts = Counter(o.label for o in one.objects)
    told = ", ".join(f"{n} {label}" for label, n in counts.most_common())
    surest = f"{one.objects[0].label} {one.objects[0].score:.2f}" if one.objects else ""
    spent = "" if one.error else f"{1000 * one.seconds:.0f} ms"
    return [one.file, told or ("" if one.error else "none"), surest, spent, one.error or ""]


def _said_table(answers: Sequence[Any], top: int | None) -> Any:
    return table(("file", "text", "confidence", "note"), map(_said_cells, answers), ("confidence",))


def _said_cells(one: Any) -> list[str]:
    sure = "" if one.error else f"{one.confidence:.2f}"
    return [one.file, one.text or "", sure, one.error or ""]


def _tagged_table(answers: Sequence[Any], top: int | None) -> Any:
    more = () if top is None else (f"top {top}",)
    return table(
        ("file", "tags", "note", *more), (_tagged_cells(one, bool(more)) for one in answers)
    )


def _tagged_cells(one: Any, with_top: bool) -> list[str]:
    from regraft.evaluation.report import share

    note = one.error or ("unlike the training data" if one.unlike else "")
    said, top = (", ".join(f"{n} {share(p)}" for n, p in some) for some in (one.tags, one.top))
    said = said or ("" if one.error else "none")
    return [one.file, said, note, *([top] if with_top else [])]


def _valued_table(answers: Sequence[Any], top: int | None) -> Any:
    return table(("file", "answer", "interval", "note"), map(_valued_cells, answers))


def _valued_cells(one: Any) -> list[str]:
    note = one.error or ("unlike the training data" if one.unlike else "")
    said = ", ".join(f"{v.name} {v.value:.4g}" for v in one.values)
    ends = ", ".join(f"{v.low:.4g} to {v.high:.4g}" for v in one.values if v.low is not None)
    return [one.file, said, ends, note]


class Kind(NamedTuple):
    """How the answers of a task are put.

    forms   that there are
    gather  from answers to what has their texts
    lost    an answer for a file that is not there
    draws   whether they can be drawn
    top     whether several answers can be listed
    """

    forms: tuple[str, ...]
    gather: Callable[[Iterable[Any]], Any]
    lost: Callable[[str, str], Any]
    table: Callable[[Sequence[Any], int | None], Any]
    draws: bool = False
    top: bool = True


def _predictions(answers: Iterable[Any]) -> Any:
    from regraft.model.predict import Predictions

    return Predictions(answers)


def _found_list(answers: Iterable[Any]) -> Any:
    from regraft.model.found import FoundList

    return FoundList(answers)


def _said_list(answers: Iterable[Any]) -> Any:
    from regraft.model.said import SaidList

    return SaidList(answers)


def _nothing_said(name: str, reason: str) -> Any:
    from regraft.model.said import Said

    return Said(name, error=reason)


def _no_prediction(name: str, reason: str) -> Any:
    from regraft.model.predict import Prediction

    return Prediction(name, error=reason)


def _nothing_found(name: str, reason: str) -> Any:
    from regraft.model.found import Found

    return Found(name, error=reason)


def _tagged_list(answers: Iterable[Any]) -> Any:
    from regraft.model.tagged import TaggedList

    return TaggedList(answers)


def _no_tags(name: str, reason: str) -> Any:
    from regraft.model.tagged import Tagged

    return Tagged(name, error=reason)


def _valued_list(answers: Iterable[Any]) -> Any:
    from regraft.model.tagged import ValuedList

    return ValuedList(answers)


def _no_value(name: str, reason: str) -> Any:
    from regraft.model.tagged import Valued

    return Valued(name, error=reason)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "classification": Kind(("jsonl", "csv", "parquet"), _predictions, _no_prediction, _table),
        "detection": Kind(
            ("jsonl", "csv", "coco"), _found_list, _nothing_found, _found_table, True, False
        ),
        "transcription": Kind(("jsonl", "csv"), _said_list, _nothing_said, _said_table, top=False),
        "tags": Kind(("jsonl", "csv"), _tagged_list, _no_tags, _tagged_table),
        "regression": Kind(("jsonl", "csv"), _valued_list, _no_value, _valued_table, top=False),
    }
)


def unfit(kind: Kind, top: int | None, form: str, draw: Path | None) -> Iterator[str]:
    """What was asked of a model that its answers do not have."""
    if form in FORMS and form not in kind.forms:
        yield f"--format: such answers have no form {form}; choose {' or '.join(kind.forms)}"
    if draw is not None and not kind.draws:
        yield "--draw: the model finds no boxes; there are none to draw"
    if top is not None and not kind.top:
        yield "--top: is for classes and tags"
