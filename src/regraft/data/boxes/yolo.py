"""YOLO: a text file for each picture, with ``class x y width height`` in shares of its size."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regraft.data.boxes.form import (
    Listing,
    Picture,
    Told,
    corners_of_centre,
    joined,
    number,
    rows_of,
    shown,
)
from regraft.data.dataset import PART_OF
from regraft.data.findings import Finding
from regraft.data.paths import inside
from regraft.errors import DataError, MissingExtra

YAML, NAMES = ("data.yaml", "dataset.yaml", "data.yml"), ("classes.txt", "obj.names", "labels.txt")
MOST_BYTES = 16 * 2**20  # of one text file
FIELDS = 5  # of a line; more are a polygon


def names_of(folder: str) -> str | None:
    """The file with the names of the classes; never raises."""
    found = (os.path.join(folder, name) for name in (*YAML, *NAMES))
    return next((path for path in found if os.path.isfile(path)), None)


def is_yolo(folder: str) -> bool:
    """Whether a folder has names of classes and, below it, a folder ``labels`` or text files."""
    return names_of(folder) is not None and (_has_labels(folder) or _has_texts(folder))


def _has_labels(folder: str) -> bool:
    for place, folders, _ in os.walk(folder):
        if "labels" in folders:
            return True
        if place.count(os.sep) - folder.count(os.sep) > 1:
            folders.clear()
    return False


def _has_texts(folder: str) -> bool:
    try:
        names = {name.lower() for name in os.listdir(folder)} - {*NAMES}
    except OSError:
        return False
    stems = {os.path.splitext(name)[0] for name in names if not name.endswith(".txt")}
    return any(n.endswith(".txt") and os.path.splitext(n)[0] in stems for n in names)


def read(source: Path) -> Listing:
    """What a YOLO folder, or its data.yaml, says.

    Raises DataError where there are no names of classes, or no pictures.
    """
    file = source if source.is_file() else Path(str(names_of(str(source))))
    root = Path(os.path.abspath(file.parent))
    told = _yaml(file) if file.suffix in (".yaml", ".yml") else {"names": _lines(file)}
    classes = _classes(file, told.get("names"))
    parts = dict(_parts(file, root, told)) or {None: root}
    listings: dict[str | None, Listing] = {}
    for part, folder in parts.items():
        listings[part] = _read_folder(folder, root, classes)
    whole = joined(listings, root)
    whole.classes = [*classes]
    if not whole.pictures:
        raise DataError(f"{source}: no picture in {', '.join(map(str, parts.values()))}")
    return whole


def _yaml(file: Path) -> dict[str, Any]:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("PyYAML", "detect") from None
    try:
        told = yaml.safe_load(_text(file))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{file}: is not YAML: {error}") from None
    if not isinstance(told, dict):
        raise DataError(f"{file}: expected names, train and val, got {shown(told)}")
    return told


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DataError(f"{file}: more than {MOST_BYTES:,} bytes are not read")
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{file}: is not text in UTF-8: {error}") from None


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in _text(file).splitlines() if line.strip()]


def _classes(file: Path, names: Any) -> list[str]:
    """Names by their number, from a list or from {0: name}."""
    if isinstance(names, dict):
        numbers = sorted(names) if all(isinstance(n, int) for n in names) else []
        names = [names[n] for n in numbers] if numbers == list(range(len(names))) else None
    if not isinstance(names, list) or not names:
        raise DataError(f"{file}: names: expected the names of the classes, from number 0 on")
    found = [str(name).strip() for name in names]
    if twice := sorted({name for name in found if found.count(name) > 1 or not name}):
        raise DataError(
            f"{file}: names: these are empty or there twice: {', '.join(map(repr, twice))}"
        )
    return found


def _parts(file: Path, root: Path, told: Mapping[str, Any]) -> Iterator[tuple[str | None, Path]]:
    """Part → folder of its pictures, as data.yaml tells them; else as folders are called."""
    base = told.get("path")
    below = str(base).strip("./") if isinstance(base, str) and not os.path.isabs(base) else ""
    if below and not (root / below).is_dir():
        below = ""
    for key, value in told.items():
        part = PART_OF.get(str(key).casefold())
        if part is None or not value:
            continue
        if not isinstance(value, str):
            raise DataError(f"{file}: {key}: expected one folder, got {shown(value)}")
        name = value.removeprefix("../").removeprefix("./")  # as Roboflow writes it
        yield part, _folder(file, str(key), inside(root, f"{below}/{name}".strip("/")), root, name)
    if not any(PART_OF.get(str(key).casefold()) for key in told):
        yield from _named_parts(root)


def _folder(file: Path, key: str, found: Path, root: Path, name: str) -> Path:
    if not found.is_dir():
        raise DataError(f"{file}: {key}: {name!r} is no folder below {root}")
    return found


def _named_parts(root: Path) -> Iterator[tuple[str | None, Path]]:
    """``train/images`` or ``images/train``."""
    seen = set()
    for name, part in PART_OF.items():
        for place in (root / name, root / "images" / name):
            if place.is_dir() and part not in seen:
                seen.add(part)
                yield part, place


def _read_folder(folder: Path, root: Path, classes: list[str]) -> Listing:
    from regraft.data.folders import names
    from regraft.data.options import EXTENSIONS

    listing = Listing(folder, [*classes])
    for name in sorted(names(folder, EXTENSIONS["image"])):
        label = _label_file(folder / name)
        file = os.path.relpath(label, root)
        picture = listing.add(Picture(name, file, relative=True, bare=not label.is_file()))
        if picture.bare:
            continue
        try:
            lines = _text(label).splitlines()
        except DataError as error:
            listing.findings.append(Finding("annotation-unreadable", (file,), str(error), "error"))
            picture.bare = True
            continue
        told = ((place, line.split()) for place, line in rows_of(lines))
        picture.objects = [_told(place, words, classes) for place, words in told if words]
    return listing


def _label_file(picture: Path) -> Path:
    """``…/labels/….txt`` for ``…/images/….jpg``; else beside the picture."""
    steps = list(picture.with_suffix(".txt").parts)
    for place in range(len(steps) - 2, -1, -1):
        if steps[place] == "images":
            return Path(*steps[:place], "labels", *steps[place + 1 :])
    return picture.with_suffix(".txt")


def _told(place: int, words: list[str], classes: list[str]) -> Told:
    numbers = [number(word) for word in words[1:]]
    if len(words) > FIELDS and len(numbers) % 2 == 0:  # a polygon: the box around it
        xs, ys = numbers[::2], numbers[1::2]
        corners = (min(xs), min(ys), max(xs), max(ys))
        if any(v != v for v in numbers):
            corners = (float("nan"),) * 4
    elif len(words) == FIELDS:
        corners = corners_of_centre(*numbers)
    else:
        corners = (float("nan"),) * 4
    kind = words[0]
    known = kind.isascii() and kind.isdigit() and len(kind) < 7 and int(kind) < len(classes)
    label = classes[int(kind)] if known else None
    return Told(f"line {place}", label, corners, named=f"class number {shown(kind)}")
