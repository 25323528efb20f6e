"""Pictures with boxes: looked at, without what cannot be read, split."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from regraft.backbones.store import Store
from regraft.data.boxes.form import Boxes
from regraft.data.dataset import Dataset, listed
from regraft.data.findings import Finding
from regraft.data.splits import split
from regraft.errors import UsageError
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.verbs.first_look import Looked, look

NOTHING = "(nothing)"  # stands for the class of pictures without objects where parts are drawn
LEAST_HELD, MOST_HELD, HELD_SHARE = 6, 100, 0.1  # pictures of the learning part that are held back
HELD_FROM = 40  # pictures to learn from: with fewer, none is held back


def prepared_boxes(
    dataset: Dataset, recipe: Recipe, store: Store, progress: Progress | None
) -> Dataset:
    """`regraft.load` where pictures have boxes: looked at, and split if anything is annotated."""
    looked = look(dataset, store, progress)
    return divided(looked, recipe.parts, recipe.seed) if dataset.boxes else looked.dataset


def divided(looked: Looked, parts: Sequence[float], seed: int) -> Dataset:
    """With a split: the given one, else one that is stratified by each picture's rarest class."""
    data = looked.dataset
    if data.split_source != "none":
        return data
    known = data.with_table(data.table.with_columns(label=pl.Series(rarest(data), dtype=pl.String)))
    made = split(known, tuple(parts), seed, looked.together)
    table = made.table.with_columns(label=pl.lit(None, pl.String))
    record = {**made.split_record, "how": f"by rarest class; {made.split_record.get('how', '')}"}
    return replace(made, table=table, split_record=record)


def rarest(data: Dataset) -> list[str | None]:
    """Of each picture the class that the fewest boxes of the whole set have; None if unlabelled."""
    known = [name for name in data.table["id"] if name in data.boxes]
    own = rarest_of_each([data.boxes[name] for name in known], len(data.classes))
    names = dict(zip(known, ((*data.classes, NOTHING)[c] for c in own), strict=True))
    return [names.get(name) for name in data.table["id"]]


def rarest_of_each(boxes: Sequence[Boxes], classes: int) -> list[int]:
    """Of each picture the class that the fewest boxes of all have; `classes` for one with none."""
    labels = np.concatenate([*(b.labels for b in boxes), np.zeros(0, np.int64)])
    counts = np.bincount(labels, minlength=classes)
    return [min(b.labels.tolist(), key=lambda c: (counts[c], c), default=classes) for b in boxes]


def boxes_per_class(data: Dataset) -> Any:
    """(c,) boxes of each class in the pictures of a view."""
    every = [data.boxes[n].labels for n in data.table["id"] if n in data.boxes]
    return np.bincount(np.concatenate([*every, [0][:0]]).astype(int), minlength=len(data.classes))


def check_learnable(data: Dataset) -> None:
    """Raise UsageError, with all reasons, where no detector can be learned."""
    problems = []
    learning = data.learning
    if not data.boxes:
        problems.append("none of the pictures has an annotation that can be used")
    elif not len(learning):
        problems.append("the given split has no annotated picture in its part 'train'")
    elif not boxes_per_class(learning).sum():
        problems.append(f"the {len(learning)} pictures to learn from hold no box that can be used")
    if problems:
        raise UsageError(*problems)


def unseen_classes(data: Dataset) -> list[Finding]:
    """Classes without a box to learn from."""
    counts = boxes_per_class(data.learning)
    if missing := [name for name, n in zip(data.classes, counts, strict=True) if not n]:
        reason = f"classes without any box in train can never be found: {listed(missing)}"
        return [Finding("unseen-class", (), reason, "error")]
    return []


def held_back(learning: Dataset, together: Sequence[Sequence[str]], seed: int) -> tuple[Any, Any]:
    """Places of the pictures to train on and of those that are held back, both ascending.

    Copies of one picture stay on one side; the fewer the pictures, the fewer are held back.
    """
    n = len(learning)
    if n < HELD_FROM:
        return np.arange(n), np.arange(0)
    wanted = int(np.clip(round(HELD_SHARE * n), LEAST_HELD, MOST_HELD))
    of = {name: min(group) for group in together for name in group}
    units = [of.get(name, name) for name in learning.table["id"]]
    rng = np.random.default_rng([seed, 17])
    order = rng.permutation(n)
    chosen: set[str] = set()
    for place in order:
        if sum(unit in chosen for unit in units) >= wanted:
            break
        chosen.add(units[place])
    held = np.array([unit in chosen for unit in units])
    return np.flatnonzero(~held), np.flatnonzero(held)
