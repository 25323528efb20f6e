"""Heat maps for a report: where it looked, or which words it answered by, wrongly and rightly."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.verbs.rungs import features_of

WRONG, RIGHT = 12, 8  # pictures of each, at most


Shown = dict[str, Any]


class Look(NamedTuple):
    """How it is shown where a network looked.

    show    (model, file, number of a class) → what a report shows of it, None where that fails
    engine  whether it only needs the engine that gave the features: then it is always shown
    """

    show: Callable[[Model, Path, int], Shown | None]
    engine: bool


def _pictured(model: Model, file: Path, number: int) -> Shown | None:
    from regraft.model.looking import overlay, plain, prepared, where_it_looked

    pixels, (heat,) = prepared(model, file), where_it_looked(model, [file], [number])
    if pixels is None or heat is None:
        return None
    return {"thumbnail": plain(pixels), "heatmap": overlay(pixels, heat)}


def _worded(model: Model, file: Path, number: int) -> Shown | None:
    from regraft.model.worded import which_words

    words = which_words(model, file, number)
    return None if words is None else {"words": [list(word) for word in words]}


def _nothing(model: Model, file: Path, number: int) -> Shown | None:
    return None


# By what a network reads.
LOOKS: Mapping[str, Look] = MappingProxyType(
    {"picture": Look(_pictured, engine=False), "text": Look(_worded, engine=True)}
)


def _look(model: Model) -> Look:
    return LOOKS.get(model.extractors[0].spec.reads, Look(_nothing, engine=False))


def looks_anyway(model: Model) -> bool:
    """Whether looking costs so little that it is done where nothing was trained too."""
    return _look(model).engine


def looked(model: Model, examples: Dataset, seen: Pass) -> list[dict[str, Any]]:
    """What is shown of each: the surest wrong answers first, then right ones over the classes.

    examples, seen  labelled examples and the pass over them
    """
    if not model.extractors:
        raise UsageError("heat maps: an exported model cannot show where it looked; ask its bundle")
    show = _look(model).show
    readable = np.array([i for i in range(len(examples)) if i not in seen.verdicts])
    found = model.answer(features_of(seen)[readable])
    answers, labels = found.decided, examples.targets[readable]
    sure = found.probabilities[np.arange(len(labels)), answers]
    out = []
    for i in _chosen(answers, sure, labels):
        file = Path(examples.table["path"][int(readable[i])])
        if (shown := show(model, file, int(answers[i]))) is None:
            continue
        out.append(
            {
                "file": examples.table["id"][int(readable[i])],
                "label": model.classes[labels[i]],
                "predicted": model.classes[answers[i]],
                "right": bool(answers[i] == labels[i]),
                "probability": float(sure[i]),
                **shown,
            }
        )
    return out


def _chosen(answers: Any, sure: Any, labels: Any) -> Iterator[int]:
    wrong = np.flatnonzero(answers != labels)
    yield from (int(i) for i in wrong[np.argsort(-sure[wrong], kind="stable")][:WRONG])
    right = np.flatnonzero(answers == labels)
    first = np.unique(labels[right], return_index=True)[1]
    yield from (int(i) for i in right[np.sort(first)][:RIGHT])
