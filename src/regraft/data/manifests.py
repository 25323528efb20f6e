"""Manifests as a source: CSV, TSV, Parquet or JSON lines with a row per example."""

import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from regraft.data.dataset import PART_OF, Dataset, listed
from regraft.data.findings import Finding
from regraft.data.inline import inlined
from regraft.data.labelled import READERS, Asked, Column, Guess, Read, guess, with_labels
from regraft.data.paths import inside
from regraft.data.sheets import FORMATS, MISSING, Sheet, refuse
from regraft.errors import DataError, UsageError
from regraft.modalities.series import slices_of

# Column names that need no option, case and blanks around them aside; option → names.
GUESSES = {
    "path_column": "path paths file files filename file_name filepath file_path image images "
    "image_path image_file image_name img img_path picture photo",
    "text": "text texts sentence sentences question questions query utterance utterances document "
    "content message messages review comment body",
    "label": "label labels class class_name category target species diagnosis intent sentiment",
    "group": "group group_id patient patient_id subject subject_id speaker speaker_id case case_id "
    "person person_id session session_id",
    "split": "split set subset partition fold",
}

# Taken where none of these is there.
LAST = {"label": "tags tag keywords"}

# Where the examples are; each names the other one: there is one of them.
PLACES = {"path_column": "text", "text": "path_column"}
WHAT = {"path_column": "paths", "text": "texts"}
BOTH = "path_column, text: name one of them; an example is a file or a text"
TEXTS = "text"  # the modality of what a manifest itself holds

PLAIN = Asked()

Cells = list[str | None]


class Rows(NamedTuple):
    """What a manifest says.

    columns  role → cells, with ids and absolute paths (of texts: the texts themselves)
    base     folder that the ids are relative to
    findings what a person should know
    held     whether the examples are texts in it
    guess    what the labels are for
    labels   that are more than the name of a class; None: there are no such
    """

    columns: dict[str, Cells]
    base: Path
    findings: list[Finding]
    held: bool
    guess: Guess = Guess("classification")
    labels: Read | None = None


def read(
    file: Path,
    modality: str,
    asked: Mapping[str, str | None],
    root: Path | None = None,
    labels: Asked = PLAIN,
) -> Dataset:
    """The examples that a manifest names, or holds: texts in a column; see `rows_of`.

    labels  what is said of the labels beside their column
    """
    rows = rows_of(file, asked, root, labels=labels)
    kind = TEXTS if rows.held else modality
    made = Dataset.of(rows.columns, rows.base, modality=kind, findings=rows.findings)
    return made if rows.labels is None else with_labels(made, rows.guess, labels, rows.labels)


def task_of(file: Path, asked: Mapping[str, str | None], labels: Asked) -> str:
    """What the examples that a manifest names are for."""
    if labels.task is not None:
        return labels.task
    sheet = FORMATS[file.suffix.lower()](file)
    names = _choose(file, list(sheet.columns), asked, GUESSES, False, labels)
    return guess(_label_columns(sheet, names, labels), labels).task


def rows_of(
    file: Path,
    asked: Mapping[str, str | None],
    root: Path | None = None,
    guesses: Mapping[str, str] = GUESSES,
    both: bool = False,
    labels: Asked = PLAIN,
) -> Rows:
    """The rows of a manifest, each file once.

    asked  column names for ``path_column``, ``text``, ``label``, ``group`` and ``split``; None is
           guessed, paths before texts
    root   folder of the files; without it the manifest's folder
    guesses  role → names of columns that need no option
    both   whether each example is a file with a text that belongs to it
    labels what is said of the labels beside their column

    Paths are relative to the root and must stay in it. Only with `root` given are absolute paths,
    and paths with ``..`` (taken from the manifest's folder), accepted, if they lead into it.

    Raises UsageError for columns that are missing or ambiguous, DataError for rows, all at once.
    """
    sheet = FORMATS[file.suffix.lower()](file)
    if not sheet.rows:
        raise DataError(f"{file}: the manifest has no rows; expected one per example")
    names = _choose(file, list(sheet.columns), asked, guesses, both, labels)
    wrong: list[str] = []
    own = _label_columns(sheet, names, labels)
    found = guess(own, labels)
    reader = READERS.get(found.task) if own else None
    read_so = {} if reader is None else {"label"}
    cells = {r: _texts(sheet, name, wrong) for r, name in names.items() if r not in read_so}
    several = None if reader is None else reader(own, found.separator, wrong)
    cells |= {} if several is None else {"label": several.cells}
    findings = [_columns_used(names, asked)]
    if "split" in cells:
        named = asked.get("split") is not None
        cells["split"], noted = _parts(sheet, cells["split"], names["split"], named, wrong)
        findings += noted
    base = Path(os.path.abspath(file.parent if root is None else root))
    if held := "path_column" not in cells:
        cells["id"], cells["path"] = _held(file, sheet, cells.pop("text"))
    else:
        upwards = None if root is None else Path(os.path.abspath(file.parent))
        paths = cells.pop("path_column")
        cells["id"], cells["path"] = _located(sheet, paths, base, upwards, wrong)
    kept, repeats = _kept(sheet, cells, wrong)
    refuse(file, wrong)
    columns = {role: [column[i] for i in kept] for role, column in cells.items()}
    told = [*findings, *repeats, *_in_no_part(columns)]
    if several is not None:
        several = several._replace(cells=columns.pop("label"))
    return Rows(columns, base, told, held, found, several)


# Columns -----------------------------------------------------------------------------------------


def _choose(
    file: Path,
    names: list[str],
    asked: Mapping[str, str | None],
    guesses: Mapping[str, str],
    both: bool,
    labels: Asked,
) -> dict[str, str]:
    """Role → column name."""
    chosen: dict[str, str] = {}
    places = {} if both else PLACES
    wrong = [BOTH] if not both and all(map(asked.get, PLACES)) else []
    wrong += [*_wrong_labels(file, names, asked, labels)]
    for role, usual in guesses.items():
        if role == "label" and labels.columns:
            continue  # there are several
        if places.get(role) in chosen or (asked.get(places.get(role, "")) and not asked.get(role)):
            continue  # the examples are found already
        wanted = asked.get(role)
        taken = [name for other, name in asked.items() if other != role]
        plain = [n for n in names if n.strip().casefold() in usual.split() and n not in taken]
        named = plain if wanted is None else [wanted] if wanted in names else []
        if wanted is not None and wanted in taken:
            wrong.append(f"{role}: the column {wanted!r} is named for two purposes")
        elif not named and wanted is not None:
            told = f"no column {wanted!r}; its columns are {listed(names, 50)}"
            wrong.append(f"{role}: {file} has {told}")
        elif len(named) > 1:
            wrong.append(f"{role}: {file} has {listed(named)}; say which with {role}=")
        elif named or (named := _last(role, names)):
            chosen[role] = named[0]
    found = chosen.keys() | {role for role, name in asked.items() if name}
    lost = [role for role in PLACES if role not in found]
    if lost and (both or len(lost) == len(PLACES)):
        kinds = " and none of ".join(WHAT[role] for role in lost)
        told = f"no column of {kinds}; its columns are {listed(names, 50)}"
        wrong.append(f"{', '.join(lost)}: {file} has {told}")
    if wrong:
        raise UsageError(*wrong)
    return chosen


def _last(role: str, names: Sequence[str]) -> list[str]:
    """A column of another name that is taken where no other was found."""
    return [name for name in names if name.strip().casefold() in LAST.get(role, "").split()][:1]


def _wrong_labels(
    file: Path, names: Sequence[str], asked: Mapping[str, str | None], labels: Asked
) -> Iterator[str]:
    if labels.columns and asked.get("label"):
        yield "label, labels: name one column of labels, or several with a number each"
    if missing := [name for name in labels.columns if name not in names]:
        yield f"labels: {file} has no {listed(missing)}; its columns are {listed(names, 50)}"
    plain = (*GUESSES["label"].split(), *LAST["label"].split())
    named = (
        labels.columns or asked.get("label") or any(n.strip().casefold() in plain for n in names)
    )
    if labels.task in READERS and not named:
        yield (
            f"label: {file} has no column that is plainly one of labels for {labels.task}; name it "
            f"with label=, or several with labels=; its columns are {listed(names, 50)}"
        )
    if labels.columns and labels.separator:
        yield "separator: has no use where each tag has a column of its own"


def _label_columns(sheet: Sheet, names: Mapping[str, str], labels: Asked) -> list[Column]:
    own = labels.columns or [name for role, name in names.items() if role == "label"]
    return [Column(name, sheet.columns[name], sheet.rows) for name in own]


def _columns_used(names: Mapping[str, str], asked: Mapping[str, str | None]) -> Finding:
    told = [f"{role} is {name!r}" for role, name in names.items() if asked.get(role) is None]
    named = [f"{role} is {name!r}" for role, name in names.items() if asked.get(role) is not None]
    reason = f"columns guessed: {', '.join(told) or 'none'}; named: {', '.join(named) or 'none'}"
    return Finding("columns", (), reason, "note")


# Cells -------------------------------------------------------------------------------------------


def _texts(sheet: Sheet, name: str, wrong: list[str]) -> Cells:
    found: Cells = []
    for row, cell in zip(sheet.rows, sheet.columns[name], strict=True):
        try:
            found.append(_text(cell))
        except ValueError as error:
            found.append(None)
            wrong.append(f"row {row}, column {name!r}: {error}")
    return found


def _text(cell: Any) -> str | None:
    """A cell as text, None where it holds no value; ValueError says why it cannot be one."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))  # whole numbers become 1.0 where a program knew of missing ones
    if not isinstance(cell, str | int | float | Decimal | date | time):
        raise ValueError(f"holds a {type(cell).__name__}; expected text or a number")
    text = str(cell)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} has characters that are not valid Unicode") from None
    return None if text.strip().casefold() in MISSING else text


def _parts(
    sheet: Sheet, cells: Cells, column: str, named: bool, wrong: list[str]
) -> tuple[Cells, list[Finding]]:
    """The part of each row; a guessed column without any part in it is not one of splits."""
    parts = [PART_OF.get(cell.strip().casefold()) if cell else None for cell in cells]
    if not named and any(cells) and not any(parts):
        reason = f"the column {column!r} names no train, validation or test: not used as a split"
        return parts, [Finding("columns", (), reason, "note")]
    for row, cell, part in zip(sheet.rows, cells, parts, strict=True):
        if cell and not part:
            wrong.append(f"row {row}, column {column!r}: {cell!r} is not one of {listed(PART_OF)}")
    return parts, []


def _in_no_part(columns: Mapping[str, Cells]) -> Iterator[Finding]:
    parts = columns.get("split", [])
    left = tuple(str(columns["id"][i]) for i, part in enumerate(parts) if part is None)
    if any(parts) and left:
        yield Finding("no-part", left, f"{len(left)} rows are in no part of the split; not used")


# Files -------------------------------------------------------------------------------------------


def _located(
    sheet: Sheet, names: Cells, base: Path, upwards: Path | None, wrong: list[str]
) -> tuple[Cells, Cells]:
    """Ids and absolute paths; names that are absolute or have .. start at `upwards`, if at all."""
    ids: Cells = []
    paths: Cells = []
    for row, name in zip(sheet.rows, names, strict=True):
        try:
            found, path = _locate(name or "", base, upwards)
        except DataError as error:
            wrong.append(f"row {row}: {error}")
            found, path = None, None
        ids.append(found)
        paths.append(path)
    return ids, paths


def _held(file: Path, sheet: Sheet, texts: Cells) -> tuple[Cells, Cells]:
    """Ids that tell the row, and the texts themselves in place of paths; none is an empty one."""
    ids: Cells = [f"{file.name}:{row}" for row in sheet.rows]
    return ids, [inlined(text or "") for text in texts]


def _locate(name: str, base: Path, upwards: Path | None) -> tuple[str, str]:
    if not name:
        raise DataError("names no file")
    roams = name.startswith("/") or ".." in name.split("/")
    if roams and upwards is None:
        raise DataError(f"{name!r} may lead out of {base}; pass root= with the folder of the files")
    if roams and upwards is not None:
        name = os.path.relpath(os.path.join(upwards, name), base)
    path = str(inside(base, name))
    _require_file(name, path)
    return PurePosixPath(name).as_posix(), path


def _require_file(name: str, path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise DataError(f"{name!r} cannot be found at {path} ({error.strerror})") from None
    if not stat.S_ISREG(mode) and not (stat.S_ISDIR(mode) and slices_of(path)):
        raise DataError(f"{name!r} is not a file")


def _kept(
    sheet: Sheet, cells: Mapping[str, Cells], wrong: list[str]
) -> tuple[list[int], list[Finding]]:
    """Positions of the first row of each file; a file that is told two ways is a mistake."""
    first: dict[str, int] = {}
    again: list[str] = []
    told = [cells[role] for role in ("label", "text", "group", "split") if role in cells]
    for i, name in enumerate(cells["id"]):
        if name is None or (j := first.setdefault(name, i)) == i:
            continue
        again.append(name)
        if any(column[i] != column[j] for column in told):
            both = " and ".join(repr(tuple(column[k] for column in told)) for k in (j, i))
            wrong.append(f"rows {sheet.rows[j]} and {sheet.rows[i]}: {name!r} is told as {both}")
    reason = f"{len(again)} rows repeat an earlier one and are read once"
    return list(first.values()), [Finding("repeated-row", tuple(again), reason)] if again else []
