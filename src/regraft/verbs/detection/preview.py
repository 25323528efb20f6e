"""preview for boxes: augmented views of pictures with what is there drawn on them, as one file."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from regraft.backbones.catalog import DEFAULT, CatalogRow, find
from regraft.data.boxes.form import Boxes
from regraft.data.inline import contents
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.drawing import with_truth
from regraft.progress import Progress, Quiet
from regraft.storage import write_atomically
from regraft.tasks.detection.augment import ROWS, USUAL, Wanted, parse, told
from regraft.tasks.detection.frames import MULTIPLE
from regraft.verbs.preview import Preview, number_mistakes, out_mistakes
from regraft.verbs.sheet import Cell, Line, sheet


def preview_of_boxes(
    data: Any,
    augment: str | None,
    *,
    out: str | Path,
    size: int | None,
    backbone: str | None,
    examples: int,
    views: int,
    seed: int,
    root: str | Path | None,
    progress: Progress | None,
    **columns: Any,
) -> Preview:
    """`regraft.preview` where pictures have boxes; size is that of the longer side."""
    from regraft.verbs.detection.start import longer_side, spec_for

    mistakes = [*number_mistakes(examples, views, seed), *out_mistakes(Path(out))]
    mistakes += [f"{name}: has no use for boxes" for name, v in columns.items() if v is not None]
    wanted, row = _asked(augment, backbone, size, mistakes)
    dataset = load(data, root=root)
    if {os.path.abspath(out), os.path.realpath(out)} & set(dataset.table["path"]):
        raise UsageError(f"out: {str(out)!r} is one of the examples, which are only read")
    known = dataset.labelled.table
    if not len(known):
        raise DataError("there is nothing to show: no picture has an annotation")
    boxes = {name: dataset.boxes[name] for name in known["id"]}
    spec = spec_for(row, [*boxes.values()], size or longer_side([*boxes.values()])[0])
    skipped: dict[str, str] = {}
    order = np.random.default_rng((seed, 0)).permutation(len(known)).tolist()
    chosen = _readable(known, boxes, order, examples, spec, skipped)
    for file, reason in skipped.items():
        (progress or Quiet()).say(f"skipped {file}: {reason}")
    if not chosen:
        raise DataError("there is no picture that can be read")
    lines = [*_lines(chosen, spec, wanted, views, seed, dataset.classes)]
    notes = [f"{name} {strength:g}: {ROWS[name][1]}" for name, strength in wanted.items()]
    rows, width = spec.rectangle
    heading = f"augment {told(wanted)} at {width} by {rows} px"
    buffer = io.BytesIO()
    sheet(lines, heading, notes).save(buffer, "PNG")
    write_atomically(Path(out), buffer.getvalue())
    names = tuple(name for name, _, _ in chosen)
    return Preview(Path(out), names, BoxRows(wanted.items()), spec.size, tuple(skipped.items()))


class BoxRows(tuple[tuple[str, float], ...]):
    """Names and strengths; as text what `augment.parse` reads."""

    __slots__ = ()

    def __str__(self) -> str:
        return told(dict(self))


def _asked(
    augment: str | None, backbone: str | None, size: int | None, mistakes: list[str]
) -> tuple[Wanted, CatalogRow]:
    """Augmentations and network. Raises UsageError with these mistakes and those found here."""
    wanted: Wanted = {}
    row = find(DEFAULT)
    try:
        wanted = parse(USUAL if augment is None else str(augment))
    except UsageError as error:
        mistakes += error.mistakes
    try:
        row = find(backbone or DEFAULT)
    except UsageError as error:
        mistakes += error.mistakes
    if size is not None and (type(size) is not int or size < MULTIPLE or size % MULTIPLE):
        mistakes.append(f"size: expected a multiple of {MULTIPLE} pixels, got {size!r}")
    if mistakes:
        raise UsageError(*mistakes)
    return wanted, row


Chosen = list[tuple[str, Any, Boxes]]


def _readable(
    table: Any,
    boxes: dict[str, Boxes],
    order: list[int],
    most: int,
    spec: InputSpec,
    skipped: dict[str, str],
) -> Chosen:
    """Names, pictures and boxes of the first that can be read."""
    found: Chosen = []
    for place in order:
        if len(found) == most:
            break
        name, path = table["id"][place], table["path"][place]
        try:
            raw = modality("image").decode(contents(path), path, spec).raw
        except (OSError, DataError) as error:
            skipped[name] = str(error)
            continue
        found.append((name, raw, boxes[name]))
    return found


def _lines(
    chosen: Chosen, spec: InputSpec, wanted: Wanted, views: int, seed: int, classes: Any
) -> Iterator[Line]:
    from regraft.tasks.detection.augment import augmented
    from regraft.tasks.detection.mosaic import PARTS, mosaic

    for place, (name, _, there) in enumerate(chosen):
        cells = []
        for view in range(views + 1):
            rng = np.random.default_rng((seed, view, place))
            own: Wanted = wanted if view else {}

            def seen(i: int, own: Wanted = own, rng: np.random.Generator = rng) -> Any:
                return augmented(chosen[i][1], chosen[i][2], spec, own, rng)

            if rng.random() < own.get("mosaic", 0.0):
                others = rng.integers(len(chosen), size=PARTS - 1).tolist()
                pixels, truth = mosaic(seen, [place, *others], spec, rng)
            else:
                pixels, truth = seen(place)
            cells.append(Cell(_square(with_truth(pixels, truth, classes))))
        count = int((~there.ignored).sum())
        yield Line(Path(name).name, f"{count} object{'' if count == 1 else 's'}", cells)


def _square(picture: Image.Image) -> Image.Image:
    """In the middle of a square, as sheets have it."""
    side = max(picture.size)
    found = Image.new("RGB", (side, side), "#dde1e7")
    found.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return found
