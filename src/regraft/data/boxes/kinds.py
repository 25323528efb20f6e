"""Which reader a source of boxes is for; nothing here raises but the readers."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from regraft.data.boxes import coco, rows, voc, yolo
from regraft.data.boxes.form import Listing, joined
from regraft.data.dataset import PART_OF, listed
from regraft.errors import DataError

DEEPEST = 2  # folders below the root in which COCO files are looked for
MOST_FOLDERS = 500
XML_BEGINNING = 2000  # bytes in which a VOC file names itself


def coco_files(folder: str) -> list[str]:
    """COCO files in a folder, in ``annotations`` below it or in the folders of parts."""
    found: list[str] = []
    for place in (folder, *_below(folder, 1)):
        found += sorted(p for p in _entries(place) if os.path.isfile(p) and coco.is_coco(p))
    return found


def is_voc(folder: str) -> bool:
    place = voc.annotations_of(folder)
    if place is None:
        return False
    first = next(path for path in _entries(place) if path.lower().endswith(".xml"))
    try:
        with open(first, "rb") as file:
            return b"<annotation" in file.read(XML_BEGINNING)
    except OSError:
        return False


def is_yaml(path: str) -> bool:
    return os.path.basename(path).lower().endswith((".yaml", ".yml"))


def read_coco_folder(folder: Path) -> Listing:
    """One COCO file, or one for each part.

    Raises DataError where two are for the same part, or one of several is for none.
    """
    files = [Path(os.path.abspath(path)) for path in coco_files(str(folder))]
    root = Path(os.path.abspath(folder))
    if len(files) == 1:
        return joined({None: coco.read(files[0], _place_below(root, files[0]))}, root)
    parts: dict[str | None, Path] = {}
    for file in files:
        part = _part(file, root)
        if part is None or part in parts:
            names = listed([str(f.relative_to(root)) for f in files])
            raise DataError(
                f"{folder}: has the COCO files {names}; expected one for each part (train, "
                "validation, test in its name), or name one of them"
            )
        parts[part] = file
    read = {part: coco.read(file, _place_below(root, file)) for part, file in parts.items()}
    return joined(read, root)


def _part(file: Path, root: Path) -> str | None:
    words = re.findall("[a-z]+", file.stem.casefold())
    words += [step.casefold() for step in file.relative_to(root).parts[:-1]]
    return next((PART_OF[word] for word in words if word in PART_OF), None)


def _place_below(root: Path, file: Path) -> Path:
    """The folder in which the first picture that a file names is; without a sign, the file's."""
    names = [name for name in coco.first_names(file)]
    for place in (str(file.parent), *_below(str(root), DEEPEST), str(root)):
        for name in names:
            try:
                if os.path.isfile(os.path.join(place, name)):
                    return Path(place)
            except ValueError:
                continue
    return file.parent


def _below(folder: str, deepest: int) -> Iterator[str]:
    level = [folder]
    for _ in range(deepest):
        level = [p for place in level for p in _entries(place) if os.path.isdir(p)][:MOST_FOLDERS]
        yield from level


def _entries(folder: str) -> list[str]:
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder))
    except OSError:
        return []


is_rows, is_coco, is_yolo = rows.is_rows, coco.is_coco, yolo.is_yolo
read_coco, read_rows, read_voc, read_yolo = coco.read, rows.read, voc.read, yolo.read
