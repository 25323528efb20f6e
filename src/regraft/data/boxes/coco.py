"""COCO JSON (Lin et al. 2014, arXiv 1405.0312): images, annotations, categories."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regraft.data.boxes.form import Listing, Picture, Told, number, rows_of, shown
from regraft.data.findings import Finding
from regraft.errors import DataError

MOST_BYTES = 2 * 2**30  # of one file
BEGINNING = 1 << 16  # characters in which the keys of a COCO file are looked for
KEYS = ('"images"', '"annotations"', '"categories"')
FIRST = 20  # pictures by whose names their folder is found
BESIDE = ("", "images", "../images", "..", "../JPEGImages")  # where pictures lie, from the file


def is_coco(path: str) -> bool:
    """Whether a file begins or ends as a COCO file does; never raises."""
    if not path.lower().endswith(".json"):
        return False
    try:
        with open(path, "rb") as file:
            first = file.read(BEGINNING)
            file.seek(max(0, os.path.getsize(path) - BEGINNING))
            ends = (first + file.read()).decode("utf-8", "replace")
    except (OSError, ValueError):
        return False
    return ends.lstrip("\ufeff \r\n\t").startswith("{") and any(key in ends for key in KEYS)


def read(path: Path, root: Path | None = None) -> Listing:
    """What a COCO file says.

    root  folder of the pictures; None: the first of BESIDE that has the first picture

    Raises DataError where the file as a whole is not COCO; what is wrong with one entry is a
    finding or a box with NaN corners.
    """
    told = _parsed(path)
    images = [one for one in _list(path, told, "images") if isinstance(one, dict)]
    names = [one["file_name"] for one in images if isinstance(one.get("file_name"), str)]
    listing = Listing(root or _place(path.parent, names[:1]))
    categories = dict(_categories(path, told))
    listing.name_classes(categories.values())
    pictures = dict(_pictures(path, told, listing))
    listing.findings += _objects(path, told, pictures, categories)
    return listing


def first_names(path: Path) -> list[str]:
    """Names of the first pictures of a file; none where it says none. Raises DataError."""
    images = _list(path, _parsed(path), "images")[:FIRST]
    names = (one.get("file_name") for one in images if isinstance(one, dict))
    return [name for name in names if isinstance(name, str) and name]


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: more than {MOST_BYTES:,} bytes are not read; cut it up")
        told = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise DataError(f"{path}: is not JSON: {error}; expected a COCO file") from None
    if not isinstance(told, dict):
        raise DataError(f"{path}: expected an object with images, annotations and categories")
    return told


def _list(path: Path, told: dict[str, Any], key: str) -> list[Any]:
    found = told.get(key, [] if key == "annotations" else None)
    if not isinstance(found, list):
        raise DataError(f"{path}: expected a list of {key}, got {shown(found)}; is it COCO?")
    return found


def _place(folder: Path, names: list[Any]) -> Path:
    """Where the pictures are; without any sign of them, beside the file."""
    for name in names:
        for step in BESIDE:
            place = Path(os.path.normpath(folder / step))
            try:
                if (place / name).is_file():
                    return place
            except (OSError, ValueError):
                break
    return folder


def _categories(path: Path, told: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    seen = set()
    for place, one in rows_of(_list(path, told, "categories")):
        good = isinstance(one, dict) and isinstance(one.get("name"), str) and one["name"].strip()
        if not good or not _is_id(one.get("id")):
            raise DataError(
                f"{path}: category {place}: expected an id and a name, got {shown(one)}"
            )
        if one["id"] in seen:
            raise DataError(f"{path}: category {place}: the id {one['id']!r} is there before")
        seen.add(one["id"])
        yield one["id"], one["name"]


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _pictures(path: Path, told: dict[str, Any], listing: Listing) -> Iterator[tuple[Any, Picture]]:
    seen = set()
    for place, one in rows_of(_list(path, told, "images")):
        row = f"{path.name}: image {place}"
        if not isinstance(one, dict) or not _is_id(one.get("id")):
            listing.findings.append(_odd(row, f"expected an id and a file_name, got {shown(one)}"))
            continue
        name = one.get("file_name")
        if not isinstance(name, str) or not name:
            listing.findings.append(_odd(row, f"file_name is {shown(name)}, not text"))
            continue
        if one["id"] in seen:
            listing.findings.append(_odd(row, f"the id {one['id']!r} is there before", name))
            continue
        seen.add(one["id"])
        size = (number(one.get("width")), number(one.get("height")))
        known = size if "width" in one and "height" in one else None
        yield one["id"], listing.add(Picture(name.removeprefix("./"), path.name, known))


def _odd(row: str, what: str, *files: str) -> Finding:
    return Finding("odd-entry", files, f"{row}: {what}; it is left out", "error")


def _objects(
    path: Path, told: dict[str, Any], pictures: dict[Any, Picture], categories: dict[Any, str]
) -> Iterator[Finding]:
    seen = set()
    for place, one in rows_of(_list(path, told, "annotations")):
        row = f"annotation {place}"
        if not isinstance(one, dict):
            yield _odd(f"{path.name}: {row}", f"expected an object, got {shown(one)}")
            continue
        if _is_id(own := one.get("id")):
            row += f" (id {own!r})"
            if own in seen:
                yield _odd(f"{path.name}: {row}", "the id is there before")
                continue
            seen.add(own)
        image = one.get("image_id")
        if not _is_id(image) or image not in pictures:
            yield Finding(
                "picture-unknown",
                (),
                f"{path.name}: {row}: no image has the id {shown(image)}; the box is left out",
                "error",
            )
            continue
        pictures[image].objects.append(_told(row, one, categories))


def _told(row: str, one: dict[str, Any], categories: dict[Any, str]) -> Told:
    box = one.get("bbox")
    numbers = [number(v) for v in box] if isinstance(box, list) else []
    x, y, width, height = numbers if len(numbers) == 4 else [float("nan")] * 4
    kind = one.get("category_id")
    label = categories.get(kind) if _is_id(kind) else None
    return Told(
        row,
        label,
        (x, y, x + width, y + height),
        crowd=one.get("iscrowd") in (1, True),
        difficult=one.get("ignore") in (1, True) or one.get("difficult") in (1, True),
        named=f"category_id {shown(kind)}",
    )
