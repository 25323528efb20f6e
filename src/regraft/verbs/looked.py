"""Heat maps for a report: where the network looked on wrong and on right answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from regraft.backbones.features import Pass
from regraft.data.dataset import Dataset
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.verbs.rungs import features_of

WRONG, RIGHT = 12, 8  # pictures of each, at most


def looked(model: Model, examples: Dataset, seen: Pass) -> list[dict[str, Any]]:
    """Pairs of pictures: the surest wrong answers first, then right ones spread over the classes.

    examples, seen  labelled examples and the pass over them
    """
    from regraft.model.looking import overlay, plain, prepared, where_it_looked

    if not model.extractors:
        raise UsageError("heat maps: an exported model cannot show where it looked; ask its bundle")
    readable = np.array([i for i in range(len(examples)) if i not in seen.verdicts])
    found = model.answer(features_of(seen)[readable])
    answers, labels = found.decided, examples.targets[readable]
    sure = found.probabilities[np.arange(len(labels)), answers]
    out = []
    for i in _chosen(answers, sure, labels):
        file = Path(examples.table["path"][int(readable[i])])
        pixels = prepared(model, file)
        (heat,) = where_it_looked(model, [file], [int(answers[i])])
        if pixels is None or heat is None:
            continue
        out.append(
            {
                "file": examples.table["id"][int(readable[i])],
                "label": model.classes[labels[i]],
                "predicted": model.classes[answers[i]],
                "right": bool(answers[i] == labels[i]),
                "probability": float(sure[i]),
                "thumbnail": plain(pixels),
                "heatmap": overlay(pixels, heat),
            }
        )
    return out


def _chosen(answers: Any, sure: Any, labels: Any) -> Iterator[int]:
    wrong = np.flatnonzero(answers != labels)
    yield from (int(i) for i in wrong[np.argsort(-sure[wrong], kind="stable")][:WRONG])
    right = np.flatnonzero(answers == labels)
    first = np.unique(labels[right], return_index=True)[1]
    yield from (int(i) for i in right[np.sort(first)][:RIGHT])
