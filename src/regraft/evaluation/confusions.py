"""A confusion matrix as a page draws it: cells, pairs of classes, shades."""

import math
from collections.abc import Sequence
from typing import Any

LEVELS = 5  # shades of the compact matrix

Row = dict[str, Any]


def heat(confusion: Sequence[Sequence[int]]) -> list[list[Row]]:
    """Cells of the matrix: count, share of the row, opacity of its colour."""

    def cell(row: int, column: int, count: int, total: int) -> Row:
        part = count / total if total else 0.0
        alpha = 0.1 + 0.4 * part if row == column else 0.1 + 0.5 * math.sqrt(part)
        return {"count": count, "share": part, "alpha": alpha if count else 0.0}

    return [
        [cell(row, column, count, sum(counts)) for column, count in enumerate(counts)]
        for row, counts in enumerate(confusion)
    ]


def pairs(confusion: Sequence[Sequence[int]]) -> list[Row]:
    """What is taken for what, the most frequent first; equals in the order of the classes."""
    found = [
        {"truth": row, "predicted": column, "count": count, "of": sum(counts)}
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(found, key=lambda pair: -pair["count"])


def shades(confusion: Sequence[Sequence[int]]) -> list[Row]:
    """The compact matrix: an SVG path for each shade of the right answers and of the wrong ones."""
    paths: dict[tuple[str, int], list[str]] = {}
    for row, counts in enumerate(confusion):
        total = sum(counts)
        for column, count in enumerate(counts):
            if count:
                kind = "hit" if row == column else "miss"
                level = math.ceil(math.sqrt(count / total) * LEVELS)
                paths.setdefault((kind, level), []).append(f"M{column} {row}h1v1h-1z")
    return [
        {"kind": kind, "opacity": level / LEVELS, "path": "".join(squares)}
        for (kind, level), squares in sorted(paths.items())
    ]
