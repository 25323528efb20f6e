"""preview: what a network would see while it is trained, as one picture.

    regraft.preview("photos/", "flip,crop=0.4", out="preview.png")

A row per example: first what prediction sees, then as many augmented views as are wanted. As many
files are read as are shown.
"""

import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.backbones.catalog import DEFAULT, find
from regraft.backbones.reading import file_bytes, file_sha
from regraft.backbones.store import Verdict
from regraft.data.dataset import Dataset
from regraft.data.sources import load, task_of
from regraft.errors import DataError, Unreadable, UsageError
from regraft.modalities import modality
from regraft.modalities.augment import Augmentations, mixed, parse
from regraft.modalities.spec import InputSpec
from regraft.progress import Progress, Quiet
from regraft.storage import write_atomically
from regraft.verbs.sheet import Cell, Line, sheet
from regraft.verbs.tasks import carried_out

MOST_EXAMPLES, MOST_VIEWS = 40, 20
USUAL = "light"

Views = npt.NDArray[np.uint8]  # (examples, size, size, 3)


@dataclass(frozen=True)
class Preview:
    """What was drawn.

    path           of the PNG
    examples       ids of the examples, a row each
    augmentations  that were applied: names and strengths, as text by str()
    size           height and width that the network reads, pixels
    skipped        files that could not be read, and why
    """

    path: Path
    examples: tuple[str, ...]
    augmentations: Any
    size: int
    skipped: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "out": str(self.path),
            "examples": list(self.examples),
            "augment": str(self.augmentations),
            "augmentations": [list(row) for row in self.augmentations],
            "size": self.size,
            "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped],
        }


class _Example(NamedTuple):
    name: str
    label: str | None
    raw: Any


def preview(
    data: Any,
    augment: str | Augmentations | None = None,
    *,
    out: str | Path,
    size: int | None = None,
    backbone: str | None = None,
    examples: int = 6,
    views: int = 7,
    seed: int = 0,
    label: str | None = None,
    path_column: str | None = None,
    text: str | None = None,
    root: str | Path | None = None,
    progress: Progress | None = None,
) -> Preview:
    """Draw augmented views of some examples, spread over the classes, into one PNG.

    data      what `regraft.load` takes, or a Dataset; its files are only read
    augment   names with strengths, or a set: see `regraft.modalities.augment.parse`, for boxes
              `regraft.tasks.detection.augment.parse`; None: ``light``, for boxes ``boxes``
    out       the PNG to write; a file that is there is replaced
    size      pixels that the network reads; None: as `backbone` (None: the default network) has it
    examples  rows; views  columns after the first; seed  of which examples, and of the views
    label, path_column, text, root  of a manifest

    Raises UsageError with all parameters that are wrong, DataError where no file can be read.
    """
    about = {"label": label, "path_column": path_column, "text": text}
    numbers = {"examples": examples, "views": views, "seed": seed}
    asked = {"size": size, "backbone": backbone, "root": root, "progress": progress, **numbers}
    draw = carried_out("preview", task_of(data, **about))
    found: Preview = draw(data, augment, out=out, **asked, **about)
    return found


def preview_of_pictures(
    data: Any,
    augment: str | Augmentations | None,
    *,
    out: str | Path,
    size: int | None,
    backbone: str | None,
    examples: int,
    views: int,
    seed: int,
    label: str | None,
    path_column: str | None,
    text: str | None,
    root: str | Path | None,
    progress: Progress | None,
) -> Preview:
    """`preview` where each example has a class, tags, numbers or nothing."""
    augment = USUAL if augment is None else augment
    wanted, spec = _checked(augment, size, backbone, (examples, views, seed), Path(out))
    dataset = load(data, label=label, path_column=path_column, text=text, root=root)
    wanted = modality(dataset.modality).augmentations(augment)
    if "picture" not in modality(dataset.modality).inputs:
        raise UsageError(
            f"preview draws pictures, and these examples are of the kind {dataset.modality}"
        )
    if {os.path.abspath(out), os.path.realpath(out)} & set(dataset.table["path"]):
        raise UsageError(f"out: {str(out)!r} is one of the examples, which are only read")
    skipped: dict[str, str] = {}
    picker = np.random.default_rng((seed, 0))
    chosen = list(_readable(dataset, examples, spec, picker, skipped))
    for file, reason in skipped.items():
        (progress or Quiet()).say(f"skipped {file}: {reason}")
    if not chosen:
        reasons = "".join(f"\n{file}: {reason}" for file, reason in skipped.items())
        raise DataError(f"there is no example that can be read{reasons}")
    columns = _columns(dataset, chosen, spec, wanted, views, seed)
    told = [f"skipped as unreadable: {len(skipped)}"] if skipped else []
    picture = sheet(_lines(chosen, columns), _heading(wanted, spec), [*wanted.told(), *told])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=False)
    write_atomically(Path(out), buffer.getvalue())
    names = tuple(example.name for example in chosen)
    return Preview(Path(out), names, wanted, spec.size, tuple(skipped.items()))


def _checked(
    augment: str | Augmentations,
    size: int | None,
    backbone: str | None,
    numbers: tuple[int, int, int],
    out: Path,
) -> tuple[Augmentations, InputSpec]:
    """What the parameters ask for; UsageError tells everything that is wrong with them."""
    mistakes = [*number_mistakes(*numbers), *out_mistakes(out)]
    wanted, spec = Augmentations(), InputSpec()
    try:
        wanted = parse(augment)
    except UsageError as error:
        mistakes += error.mistakes
    try:
        spec = find(backbone or DEFAULT).spec.at(size)
    except UsageError as error:
        mistakes += error.mistakes
    if mistakes:
        raise UsageError(*mistakes)
    return wanted, spec


def number_mistakes(examples: int, views: int, seed: int) -> Iterator[str]:
    if type(examples) is not int or not 1 <= examples <= MOST_EXAMPLES:
        yield f"examples: {examples!r} is not a whole number from 1 to {MOST_EXAMPLES}"
    if type(views) is not int or not 1 <= views <= MOST_VIEWS:
        yield f"views: {views!r} is not a whole number from 1 to {MOST_VIEWS}"
    if type(seed) is not int or seed < 0:
        yield f"seed: {seed!r} is not a whole number of at least 0"


def out_mistakes(out: Path) -> Iterator[str]:
    if out.suffix.lower() != ".png":
        yield f"out: expected a name that ends in .png, got {str(out)!r}"
    elif out.is_dir():
        yield f"out: {str(out)!r} is a folder; name a file"
    elif not out.parent.is_dir():
        yield f"out: the folder {str(out.parent)!r} does not exist; create it first"


# Which examples ----------------------------------------------------------------------------------


def _readable(
    dataset: Dataset, most: int, spec: InputSpec, rng: np.random.Generator, skipped: dict[str, str]
) -> Iterator[_Example]:
    """At most `most` examples that can be read, class by class in turn; others into `skipped`."""
    waiting = deque(
        _decoded(dataset, rows, spec, skipped) for rows in _by_class(dataset, most, rng)
    )
    while most and waiting:
        if (example := next(waiting[0], None)) is None:
            waiting.popleft()
            continue
        yield example
        most -= 1
        waiting.rotate(-1)


def _by_class(dataset: Dataset, most: int, rng: np.random.Generator) -> list[list[int]]:
    """Rows of each class, and those without a label, in random order.

    Classes are in their own order, or in random order where there are more than `most`.
    """
    targets = dataset.targets
    known = list(range(len(dataset.classes)))
    order = rng.permutation(known).tolist() if len(known) > most else known
    return [rng.permutation(np.flatnonzero(targets == place)).tolist() for place in (*order, -1)]


def _decoded(
    dataset: Dataset, rows: Sequence[int], spec: InputSpec, skipped: dict[str, str]
) -> Iterator[_Example]:
    for row in rows:
        name, path, label = (dataset.table[column][row] for column in ("id", "path", "label"))
        try:
            raw = modality(dataset.modality).decode(_contents(path), path, spec).raw
        except Unreadable as error:
            skipped[name] = error.reason
            continue
        yield _Example(name, label, raw)


def _contents(path: str) -> bytes:
    sha = file_sha(Path(path))
    data = sha if isinstance(sha, Verdict) else file_bytes(Path(path), sha)
    if isinstance(data, Verdict):
        raise Unreadable(path, data.kind, data.reason)
    return data


# What is seen of them ----------------------------------------------------------------------------


def _columns(
    dataset: Dataset,
    chosen: Sequence[_Example],
    spec: InputSpec,
    wanted: Augmentations,
    views: int,
    seed: int,
) -> list[list[Cell]]:
    """The views, and for mixed ones words on what is in them."""
    kind = modality(dataset.modality)
    plain = [kind.prepare(e.raw, spec, kind.views[0]) for e in chosen]
    columns = [[Cell(Image.fromarray(pixels)) for pixels in plain]]
    for view in range(1, views + 1):
        rngs = [np.random.default_rng((seed, view, i)) for i in range(len(chosen))]
        seen = np.stack(
            [kind.augment(e.raw, spec, wanted, rng) for e, rng in zip(chosen, rngs, strict=True)]
        )
        columns.append(_cells(seen, chosen, wanted, np.random.default_rng((seed, view, 2**31))))
    return columns


def _cells(
    seen: Views, chosen: Sequence[_Example], wanted: Augmentations, rng: np.random.Generator
) -> list[Cell]:
    """One column; mixed, each row with the rows of the same column."""
    if not wanted.mixes:
        return [Cell(Image.fromarray(pixels)) for pixels in seen]
    import torch

    names = sorted({_class(example) for example in chosen})
    targets = torch.eye(len(names))[[names.index(_class(example)) for example in chosen]]
    pixels, shares = mixed(torch.from_numpy(seen), targets, wanted, rng)
    rows = zip(pixels.numpy(), shares.tolist(), strict=True)
    return [Cell(Image.fromarray(row), _shares(names, some)) for row, some in rows]


def _shares(names: Sequence[str], shares: Sequence[float]) -> tuple[str, ...]:
    """``("70 % cat", "30 % dog")``; the larger share first."""
    found = sorted(zip(shares, names, strict=True), reverse=True)
    return tuple(f"{100 * share:.0f} % {name}" for share, name in found if share >= 0.005)


def _class(example: _Example) -> str:
    return "no label" if example.label is None else example.label


def _lines(chosen: Sequence[_Example], columns: list[list[Cell]]) -> list[Line]:
    rows = zip(chosen, zip(*columns, strict=True), strict=True)
    return [Line(Path(example.name).name, _class(example), cells) for example, cells in rows]


def _heading(wanted: Augmentations, spec: InputSpec) -> str:
    return f"augment {wanted} at {spec.size} px"
