"""Labels of a manifest that are more than the name of one class: several tags, or numbers.

Tags stand in one column as a list (``cat;dog``, ``cat|dog``, ``["cat", "dog"]``, or a list of
Parquet and JSON lines) or in a column of 0 and 1 for each of them; numbers in one column or in
several. What an empty cell says is nothing: an example with none of the tags has ``[]`` or the
separator alone, or 0 in all columns.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.labels import FORMS, natural_key, numbers_text, tags_text
from regraft.data.odd_labels import odd_labels
from regraft.data.sheets import MISSING
from regraft.errors import DataError

SEPARATORS = (";", "|")  # that are guessed
YES_NO = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
SEVERAL = 0.02  # share of the cells with a separator, from which it is believed to be one


@dataclass(frozen=True)
class Asked:
    """What a user says of the labels in a manifest.

    task       None: guessed
    columns    of tags (0 or 1) or of numbers; empty: the column of labels
    separator  between the tags of a cell; None: guessed
    """

    task: str | None = None
    columns: tuple[str, ...] = ()
    separator: str | None = None


class Read(NamedTuple):
    """Labels that were read: (n,) texts as `labels` has them, and the classes."""

    cells: list[str | None]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """Cells as they stand; rows are what messages call them."""

    name: str
    cells: Sequence[Any]
    rows: Sequence[int]


Reader = Callable[[Sequence[Column], str | None, list[str]], Read]


# What the labels are for -------------------------------------------------------------------------


class Guess(NamedTuple):
    """The task that labels are for, how tags are separated, and why, in words."""

    task: str
    separator: str | None = None
    why: str = ""


def guess(columns: Sequence[Column], asked: Asked) -> Guess:
    """The task as asked, or as the cells say plainly."""
    if asked.task not in (None, "tags"):
        return Guess(str(asked.task))
    if asked.columns:
        return _of_columns(columns, asked)
    if not columns:
        return Guess(asked.task or "classification")
    name, cells = columns[0].name, [cell for cell in columns[0].cells if not _is_missing(cell)]
    if asked.separator is not None:
        return Guess("tags", asked.separator, f"a separator was named for {name!r}")
    if cells and all(isinstance(_listed(cell), list) for cell in cells):
        return Guess("tags", None, f"the cells of {name!r} are lists")
    found = next((s for s in SEPARATORS if _separates(s, cells, asked)), None)
    if found is not None:
        return Guess("tags", found, f"the cells of {name!r} hold several labels, with {found!r}")
    return Guess(asked.task or "classification")


def _of_columns(columns: Sequence[Column], asked: Asked) -> Guess:
    cells = [cell for column in columns for cell in column.cells if not _is_missing(cell)]
    names = listed([column.name for column in columns], 5)
    if asked.task or all(_yes_no(cell) is not None for cell in cells):
        return Guess("tags", None, f"the columns {names} are 0 or 1")
    return Guess("regression", None, f"the columns {names} are numbers")


def _separates(separator: str, cells: Sequence[Any], asked: Asked) -> bool:
    """Whether cells hold several labels so: their pieces come back in other cells."""
    kinds = {cell.strip() for cell in cells if isinstance(cell, str)}
    several = [cell for cell in cells if isinstance(cell, str) and separator in cell.strip()]
    if asked.task:
        return bool(several)
    if len(several) < max(2, SEVERAL * len(cells)):
        return False
    counts = Counter(piece for kind in kinds for piece in set(_pieces(kind, separator)))
    again = sum(n > 1 for n in counts.values())
    return len(counts) <= len(kinds) and 2 * again > len(counts)


# Reading -----------------------------------------------------------------------------------------


def read_tags(columns: Sequence[Column], separator: str | None, wrong: list[str]) -> Read:
    """Tags of one column of lists, or of a column of 0 and 1 for each."""
    if len(columns) > 1 or all(_yes_no(c) is not None for c in _there(columns)):
        return _from_flags(columns, wrong)
    column, found = columns[0], []
    for row, cell in zip(column.rows, column.cells, strict=True):
        try:
            found.append(_tag_names(cell, separator))
        except ValueError as error:
            found.append(None)
            wrong.append(f"row {row}, column {column.name!r}: {error}")
    names = {name for one in found if one is not None for name in one}
    texts = [None if one is None else tags_text(one) for one in found]
    return Read(texts, tuple(sorted(names, key=natural_key)))


def _there(columns: Sequence[Column]) -> Iterator[Any]:
    return (cell for column in columns for cell in column.cells if not _is_missing(cell))


def _tag_names(cell: Any, separator: str | None) -> list[str] | None:
    """None where nothing is known. ValueError says why it cannot be read."""
    if _is_missing(cell):
        return None
    pieces = _listed(cell)
    if pieces is None:
        pieces = _pieces(str(cell), separator) if separator else [str(cell).strip()]
    if wrong := [p for p in pieces if not isinstance(p, str | int | float) or isinstance(p, bool)]:
        raise ValueError(f"holds {wrong[0]!r:.60}; expected names of tags")
    names = [str(piece).strip() for piece in pieces]
    if "" in names:
        raise ValueError("holds a tag without a name")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name!a} has characters that are not valid Unicode") from None
    return names


def _from_flags(columns: Sequence[Column], wrong: list[str]) -> Read:
    """A row without any value is unlabelled; one with some of them is a mistake."""
    texts: list[str | None] = []
    for i, row in enumerate(columns[0].rows):
        cells = {column.name: column.cells[i] for column in columns}
        flags = {name: _yes_no(cell) for name, cell in cells.items()}
        if all(map(_is_missing, cells.values())):
            texts.append(None)
            continue
        for name in (name for name, flag in flags.items() if flag is None):
            told = "is empty" if _is_missing(cells[name]) else f"{cells[name]!r:.60} is not 0 or 1"
            wrong.append(f"row {row}, column {name!r}: {told}; tags are 0 or 1 in each column")
        texts.append(tags_text(name for name, flag in flags.items() if flag))
    return Read(texts, tuple(column.name for column in columns))


def read_numbers(columns: Sequence[Column], separator: str | None, wrong: list[str]) -> Read:
    """Numbers of one column or several; a row without one of them is unlabelled."""
    texts: list[str | None] = []
    for i, row in enumerate(columns[0].rows):
        numbers: list[float] = []
        for column in columns:
            try:
                numbers.append(_number(column.cells[i]))
            except ValueError as error:
                wrong.append(f"row {row}, column {column.name!r}: {error}")
        known = len(numbers) == len(columns) and not any(map(math.isnan, numbers))
        texts.append(numbers_text(numbers) if known else None)
    return Read(texts, tuple(column.name for column in columns))


def _number(cell: Any) -> float:
    """NaN where there is no value. ValueError says why it is no number."""
    if _is_missing(cell):
        return math.nan
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if not isinstance(cell, str | int | float | Decimal) or isinstance(cell, bool):
        raise ValueError(f"holds a {type(cell).__name__}; expected a number")
    try:
        found = float(cell)
    except (ValueError, OverflowError):
        raise ValueError(f"{cell!r:.60} is not a number such as 3.5") from None
    if not math.isfinite(found):
        raise ValueError(f"{cell!r:.60} is not a finite number")
    return found


READERS: Mapping[str, Reader] = MappingProxyType({"tags": read_tags, "regression": read_numbers})


def _is_missing(cell: Any) -> bool:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return True
    return isinstance(cell, str) and cell.strip().casefold() in MISSING


def _listed(cell: Any) -> list[Any] | None:
    """A cell that is a list, or says one in JSON."""
    if isinstance(cell, list | tuple):
        return [*cell]
    if not isinstance(cell, str) or not cell.strip().startswith("["):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _pieces(text: str, separator: str) -> list[str]:
    return [piece for part in text.split(separator) if (piece := part.strip())]


def _yes_no(cell: Any) -> bool | None:
    return YES_NO.get(str(cell).strip().casefold())


# Into a dataset ----------------------------------------------------------------------------------


def with_labels(dataset: Dataset, guessed: Guess, asked: Asked, labels: Read) -> Dataset:
    """A dataset that was made without labels, with these."""
    table = dataset.table.with_columns(label=pl.Series(labels.cells, dtype=pl.String))
    told = [] if asked.task or not guessed.why else [_told(guessed)]
    made = replace(dataset, table=table, task=guessed.task, classes=labels.classes)
    return replace(made, findings=(*made.findings, *told, *odd_labels(made)))


def joined(
    parts: Sequence[Dataset], columns: Mapping[str, Sequence[str | None]], root: Path, **about: Any
) -> Dataset:
    """Datasets of one task, one below the other in `columns`, as one."""
    task = parts[0].task
    if task not in READERS:
        return Dataset.of(columns, root, **about)
    names = {name: None for part in parts for name in part.classes}
    form = FORMS[task]
    classes = sorted(names, key=natural_key) if form.several else [*names]
    if not form.several and any(part.classes != parts[0].classes for part in parts):
        told = " and ".join(listed(part.classes) for part in parts)
        raise DataError(f"{root}: its manifests hold numbers of different names: {told}")
    labels = Read([*columns["label"]], tuple(classes))
    bare = Dataset.of({k: v for k, v in columns.items() if k != "label"}, root, **about)
    return with_labels(bare, Guess(task), Asked(task), labels)


def _told(guessed: Guess) -> Finding:
    reason = f"{guessed.task}: {guessed.why}; --task says otherwise"
    return Finding("task", (), reason, "note")
