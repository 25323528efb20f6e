"""Fewer examples, where there is no time for the features of all, however small they are read."""

from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.data.dataset import Dataset
from regraft.data.findings import Finding
from regraft.transfer.block_weights import subsample

BUDGET = "budget"
AT_LEAST = 1000  # examples of a part that stay: of fewer a result says little


def affordable(
    data: Dataset, most: int, seconds: float, seed: int
) -> tuple[Dataset, npt.NDArray[np.int64]]:
    """About `most` examples, with a note that says so, and where they stood (n,), in order.

    Of each part the same share, and in it of each class; but a part keeps AT_LEAST of its examples.
    No class is lost while there is room for one of each.

    seconds  that features of all were forecast to take

    Where there is time for all, or no part can give any up, all are used and nothing is said.
    """
    place = _drawn(data, most, seed) if most < len(data) else np.arange(len(data))
    if len(place) == len(data):
        return data, place
    reason = (
        f"{len(place):,} of {len(data):,} are used, drawn by class: the features of all would take "
        f"about {seconds:.0f} s; give a larger budget to learn from more"
    )
    kept = data.table["id"][place]
    others = data.table.filter(~data.table["id"].is_in(kept.implode()))["id"]
    return data.without(others, [Finding(BUDGET, (), reason, "note")]), place


def told(data: Dataset) -> str:
    """What was said last of examples that were left out so."""
    return next(one.reason for one in reversed(data.findings) if one.kind == BUDGET)


def _drawn(data: Dataset, most: int, seed: int) -> npt.NDArray[np.int64]:
    parts = data.table["split"].fill_null("").to_numpy()
    strata = _numbered(data.form.strata(data.table["label"].to_list()))
    kept = []
    for part in np.unique(parts):
        place = np.flatnonzero(parts == part)
        room = max(AT_LEAST, most * len(place) // len(parts))
        kept.append(place[subsample(_numbered(strata[place]), room, seed)])
    return np.sort(np.concatenate(kept))


def _numbered(values: Any) -> npt.NDArray[np.int64]:
    """Numbers from 0 on, the same for what is equal."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.int64)
