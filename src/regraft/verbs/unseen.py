"""Which examples taught a model and which it has never seen, for the verbs Model → Model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from regraft.backbones.reading import hash_files
from regraft.data.dataset import Dataset
from regraft.data.sources import load
from regraft.errors import DataError, UsageError
from regraft.model.model import Model
from regraft.progress import Progress
from regraft.verbs.evaluate import same_classes
from regraft.verbs.measuring import short

KNOWN = ("label", "path_column", "text", "root")  # of a recipe: how its source is read


class Division(NamedTuple):
    """Labelled examples of a source, by what a model knows of them.

    taught  it learned from them, or they are of the part that is there to learn from
    unseen  all others
    which   what the unseen ones are, after their number
    """

    taught: Dataset
    unseen: Dataset
    which: str


def examples_of(
    model: Any, source: Any = None, columns: Mapping[str, Any] = {}, wanted: str = "measure on"
) -> Dataset:
    """Examples for a model: of a source or, where there is none, those that it was fitted on.

    columns  of a manifest: label, text, path_column, root
    wanted   what they are for, in the error

    Raises UsageError where they are not here any more, DataError where there are none.
    """
    if isinstance(source, Dataset):
        return source
    recipe = model.record.get("recipe", {})
    if source is None:
        source = str(recipe.get("source") or "")
        columns = {name: recipe[name] for name in KNOWN if recipe.get(name)} | dict(columns)
        if not source or not Path(source).exists():
            raise UsageError(
                f"examples: nothing is there to {wanted}: what the model was fitted on "
                f"({source or 'unknown'}) is not here; name other examples like it, with or "
                "without labels"
            )
    given = {name: value for name, value in columns.items() if value is not None}
    found = load(source, modality=model.modality, **given)
    if not len(found):
        raise DataError(f"examples: {source} holds none")
    return found


def divided_for(model: Model, data: Dataset, progress: Progress | None = None) -> Division:
    """Divide labelled examples for a model, by content and by the parts that are given.

    Raises UsageError for classes that the model does not know, DataError where it has seen all
    that could be measured on.
    """
    whole = same_classes(model, data.labelled)
    shas = hash_files(whole.table["path"].to_list(), progress)
    known = set(model.record.get("learned", ()))
    seen = np.array([isinstance(sha, str) and short(sha) in known for sha in shas], bool)
    given = whole.split_source == "given"
    part = whole.held_out if given else whole
    measured = np.isin(whole.table["id"].to_numpy(), part.table["id"].to_numpy()) & ~seen
    if not measured.any():
        raise DataError(
            "the model learned from every one of these examples, so nothing can be measured on "
            "them; give others too"
        )
    which = "of the held-out part" if given else "that the model did not learn from"
    taught, unseen = (
        whole.with_table(whole.table.filter(pl.Series(some)))
        for some in (~measured if given else seen, measured)
    )
    return Division(taught, unseen, which)
