"""A contact sheet: rows of small pictures under a heading, drawn with Pillow."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from regraft.evaluation.report import visible

SMALLEST, LARGEST = 128, 224  # side of a picture on the sheet, pixels
MARGIN, GAP, PAD = 28, 8, 6  # around the sheet, between pictures, between text and pictures
NAMES = 190  # width of the column of names
TITLE, TEXT, SMALL = 22, 15, 13  # sizes of the font
PAPER, INK, FAINT, RULE, ACCENT = "#f6f7f9", "#1c2430", "#667085", "#dde1e7", "#2f6f4f"
ELLIPSIS = "…"


class Cell(NamedTuple):
    """One picture, and lines below it."""

    picture: Image.Image
    below: tuple[str, ...] = ()


class Line(NamedTuple):
    """One row: a name, what it belongs to, its pictures (all of one size)."""

    name: str
    group: str
    cells: Sequence[Cell]


def sheet(lines: Sequence[Line], heading: str, notes: Sequence[str]) -> Image.Image:
    """RGB picture of all rows; the first column is called ``as it is``."""
    side = min(max(lines[0].cells[0].picture.width, SMALLEST), LARGEST)
    most = max(len(cell.below) for line in lines for cell in line.cells)
    below = most * _height(SMALL) + (2 if most else 0)
    columns = len(lines[0].cells)
    width = 2 * MARGIN + NAMES + columns * (side + GAP) + GAP
    wrapped = [row for note in notes for row in _wrapped(note, width - 2 * MARGIN, TEXT)]
    titles = _wrapped(heading, width - 2 * MARGIN, TITLE)
    grid = MARGIN + len(titles) * _height(TITLE) + len(wrapped) * _height(TEXT) + 2 * PAD
    row_height = side + below + GAP
    top = grid + _height(SMALL) + PAD
    drawn = Image.new("RGB", (width, top + len(lines) * row_height + MARGIN), PAPER)
    pen = ImageDraw.Draw(drawn)
    _write_rows(pen, MARGIN, titles, TITLE, INK)
    _write_rows(pen, MARGIN + len(titles) * _height(TITLE), wrapped, TEXT, FAINT)
    _titles(pen, grid, side, columns)
    for i, line in enumerate(lines):
        _line(drawn, pen, line, top + i * row_height, side)
    return drawn


def _titles(pen: ImageDraw.ImageDraw, y: int, side: int, columns: int) -> None:
    """What the columns are."""
    pen.text((_left(0, side), y), "as it is", ACCENT, _font(SMALL))
    if columns > 1:
        pen.text((_left(1, side), y), "augmented", FAINT, _font(SMALL))


def _line(drawn: Image.Image, pen: ImageDraw.ImageDraw, line: Line, top: int, side: int) -> None:
    pen.line([MARGIN, top - GAP // 2, drawn.width - MARGIN, top - GAP // 2], RULE)
    room = NAMES - 2 * GAP
    pen.text((MARGIN, top + PAD), _shortened(line.group, room, TEXT), INK, _font(TEXT))
    below = top + PAD + _height(TEXT)
    pen.text((MARGIN, below), _shortened(line.name, room, SMALL, True), FAINT, _font(SMALL))
    for i, cell in enumerate(line.cells):
        left = _left(i, side)
        drawn.paste(_scaled(cell.picture, side), (left, top))
        if i == 0:
            pen.rectangle([left - 2, top - 2, left + side + 1, top + side + 1], None, ACCENT, 2)
        for j, words in enumerate(cell.below):
            place = (left, top + side + 1 + j * _height(SMALL))
            pen.text(place, _shortened(words, side, SMALL), FAINT, _font(SMALL))


def _left(column: int, side: int) -> int:
    """The first column stands apart."""
    return MARGIN + NAMES + column * (side + GAP) + (GAP if column else 0)


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    """Enlarged so that its pixels stay visible, or shrunk."""
    if picture.width == side:
        return picture
    smooth = picture.width > side
    return picture.resize(
        (side, side), Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    )


# Text --------------------------------------------------------------------------------------------


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _height(size: int) -> int:
    return round(size * 1.45)


def _write_rows(
    pen: ImageDraw.ImageDraw, top: int, rows: Sequence[str], size: int, ink: str
) -> None:
    for i, row in enumerate(rows):
        pen.text((MARGIN, top + i * _height(size)), row, ink, _font(size))


def _fits(text: str, room: int, size: int) -> bool:
    return bool(_font(size).getlength(text) <= room)


def _shortened(text: str, room: int, size: int, keep_end: bool = False) -> str:
    """Cut to what fits, the end of a path being kept; what would steer the text is spelt out."""
    text = visible(text).encode("utf-8", "backslashreplace").decode()[-500 if keep_end else 0 :]
    text = text[:500]
    if _fits(text, room, size):
        return text
    while text and not _fits(text + ELLIPSIS, room, size):
        text = text[1:] if keep_end else text[:-1]
    return ELLIPSIS + text if keep_end else text + ELLIPSIS


def _wrapped(text: str, room: int, size: int) -> list[str]:
    """Lines that fit, broken at blanks and after commas."""
    rows = [""]
    for word in text.replace(",", ",\u200b").split(" "):
        for i, piece in enumerate(word.split("\u200b")):
            glued = (" " if i == 0 and rows[-1] else "") + piece
            if rows[-1] and not _fits(rows[-1] + glued, room, size):
                rows.append(piece)
            else:
                rows[-1] += glued
    return rows
