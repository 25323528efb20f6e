"""Boxes as rows of a table: ``path,label,x1,y1,x2,y2``; a row without a box is an empty picture."""

import os
from pathlib import Path
from types import MappingProxyType

from regraft.data import manifests
from regraft.data.boxes.form import Corners, Listing, Picture, Told, number, shown
from regraft.data.dataset import PART_OF
from regraft.data.findings import Finding
from regraft.data.sheets import FORMATS, MISSING
from regraft.errors import DataError

# What the corners are called, in the order left, top, right, bottom.
CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
ROLES = MappingProxyType(
    {role: frozenset(manifests.GUESSES[role].split()) for role in ("path_column", "label", "split")}
)
FLAGS = ("difficult", "crowd", "iscrowd")
YES = frozenset({"1", "true", "yes", "1.0"})


def is_rows(path: str) -> bool:
    """Whether a table has columns of corners; reads its head only, never raises."""
    if os.path.splitext(path)[1].lower() not in (".csv", ".tsv"):
        return False
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            head = file.readline(10_000)
    except OSError:
        return False
    sep = "\t" if "\t" in head else ";" if head.count(";") > head.count(",") else ","
    return _corners([name.strip().strip('"').casefold() for name in head.split(sep)]) is not None


def _corners(names: list[str]) -> tuple[str, ...] | None:
    return next((four for four in CORNERS if set(four) <= set(names)), None)


def read(path: Path, root: Path | None = None) -> Listing:
    """What a table of boxes says. Raises DataError where a column is missing."""
    sheet = FORMATS[path.suffix.lower()](path)
    columns = {name.strip().casefold(): values for name, values in sheet.columns.items()}
    four = _corners(list(columns))
    roles = {role: next((n for n in columns if n in names), None) for role, names in ROLES.items()}
    if four is None or roles["path_column"] is None or roles["label"] is None:
        raise DataError(f"{path}: expected the columns path, label, x1, y1, x2, y2")
    listing = Listing(Path(os.path.abspath(root or path.parent)))
    flags = [name for name in FLAGS if name in columns]
    for i, row in enumerate(sheet.rows):
        cells = {name: _cell(values[i]) for name, values in columns.items()}
        name, label = cells[roles["path_column"]], cells[roles["label"]]
        if not name:
            reason = f"{path.name}: row {row}: names no picture; it is left out"
            listing.findings.append(Finding("odd-entry", (), reason, "error"))
            continue
        name = name.removeprefix("./")
        part = PART_OF.get(cells[roles["split"]].casefold()) if roles["split"] else None
        known = listing.pictures.get(name) or listing.add(Picture(name, path.name, part=part))
        corners: Corners = tuple(number(cells[n] or "nan") for n in four)  # type: ignore[assignment]
        if not label and not any(cells[n] for n in four):
            continue  # an empty picture
        told = {flag: cells[flag].casefold() in YES for flag in flags}
        known.objects.append(
            Told(
                f"row {row}",
                label or None,
                corners,
                crowd=told.get("crowd", False) or told.get("iscrowd", False),
                difficult=told.get("difficult", False),
                named=f"label {shown(label)}",
            )
        )
    return listing


def _cell(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return "" if text.casefold() in MISSING else text
