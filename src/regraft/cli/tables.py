"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()
) -> Any:
    """A table as rich draws it; the columns in `numbers` are aligned right.

    Nothing in a cell is read as markup, and characters that would steer the terminal are spelt out.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from regraft.evaluation.report import visible

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in columns:
        number = title in numbers
        drawn.add_column(
            title, justify="right" if number else "left", overflow="fold", no_wrap=number
        )
    for row in rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    return drawn


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Lines of a name and what is to be said of it; never cut, so that paths can be copied."""
    from regraft.evaluation.report import visible

    shown = [(visible(name), visible(text)) for name, text in rows]
    widest = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"  {name:<{widest}}  {text}" for name, text in shown)
