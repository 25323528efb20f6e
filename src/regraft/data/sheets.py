"""Sheets: the cells of a table file as they stand, whatever its format."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from regraft.data.dataset import listed
from regraft.errors import DataError

# What programs write for "no value", case aside. "none", "null" and "na" may well be classes.
MISSING = frozenset({"", "nan", "<na>", "#n/a"})
SHOWN = 20  # mistakes told one by one; the rest as a count


@dataclass(frozen=True)
class Sheet:
    """The cells of a manifest as they stand.

    rows  what messages call each row: the line of a text file (the header is line 1), or the row
          of a Parquet table, counted from 1
    """

    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[int]


def refuse(file: Path, wrong: Sequence[str]) -> None:
    """Raise DataError with what is wrong, row by row; nothing where nothing is."""
    if wrong:
        rest = len(wrong) - SHOWN
        shown = [*wrong[:SHOWN], *([f"and {rest} more rows like these"] if rest > 0 else [])]
        raise DataError("\n".join(f"{file}, {line}" for line in shown))


def _decoded(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    way_out = "save it as UTF-8 (a spreadsheet calls it CSV UTF-8), or convert it with iconv"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:2]:
        raise DataError(f"{file}: byte 0 begins a UTF-16 file; {way_out}")
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        row, byte = raw.count(b"\n", 0, error.start) + 1, raw[error.start]
        raise DataError(
            f"{file}, row {row}: byte {error.start} of the file (0x{byte:02x}) is not UTF-8; "
            f"{way_out}"
        ) from None


def _delimited(file: Path, delimiters: str) -> Sheet:
    text = _decoded(file)
    head = text.partition("\n")[0]
    rows: list[int] = []
    records: list[list[str]] = []
    wrong: list[str] = []
    for row, cells in _records(text, max(delimiters, key=head.count), wrong):
        if records and len(cells) != len(records[0]):
            wrong.append(f"row {row}: {len(cells)} cells; expected {len(records[0])} as in row 1")
        else:
            rows.append(row)
            records.append(cells)
    header = [name.strip() for name in records[0]] if records else []
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        wrong.append(f"row 1: the columns {listed(twice)} appear more than once")
    refuse(file, wrong)
    columns = {name: [r[i] for r in records[1:]] for i, name in enumerate(header) if name}
    return Sheet(columns, rows[1:])


def _records(text: str, delimiter: str, wrong: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold anything, each with the line that it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    row = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield row, cells
            row = reader.line_num + 1
    except csv.Error as error:
        wrong.append(f"row {row}: {error}; check its quotes, nothing after it was read")


def _json_lines(file: Path) -> Sheet:
    rows: list[int] = []
    records: list[dict[str, Any]] = []
    wrong: list[str] = []
    for row, line in enumerate(_decoded(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            wrong.append(f"row {row}: is not JSON: {error}")
            continue
        if not isinstance(record, dict):
            wrong.append(f"row {row}: is a {type(record).__name__}; expected an object {{...}}")
            continue
        rows.append(row)
        records.append(record)
    refuse(file, wrong)
    names = dict.fromkeys(name for record in records for name in record)
    return Sheet({name: [record.get(name) for record in records] for name in names}, rows)


def _parquet(file: Path) -> Sheet:
    try:
        frame = pl.read_parquet(file, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{file}: cannot be read as Parquet: {error}") from None
    columns = {name: frame[name].to_list() for name in frame.columns}
    return Sheet(columns, range(1, frame.height + 1))


# Ending → reader; a row for each format.
FORMATS: dict[str, Callable[[Path], Sheet]] = {
    ".csv": partial(_delimited, delimiters=",;\t|"),
    ".tsv": partial(_delimited, delimiters="\t"),
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
