"""Which words it answered by: what the score of a class loses with each word that is left out.

Erasure (Li et al. 2016, "Understanding neural networks through representation erasure",
arXiv 1612.08220), through the very networks and head that answer, so that it holds for all of them.
"""

import re
from pathlib import Path

import numpy as np

from regraft.data.inline import contents
from regraft.errors import Unreadable, UsageError
from regraft.modalities import modality
from regraft.model.model import Model

MOST_RUNS = 48  # of the networks for a text: of a longer one neighbouring words go together
MOST_WORDS = 240  # of a text that are shown
WORD = re.compile(r"\S+")


def which_words(model: Model, file: str | Path, number: int) -> list[tuple[str, float]] | None:
    """The words of a text, each with its share in the score of the class of that number.

    A share is in [0, 1]: 1 where leaving it out costs most, 0 where nothing is lost. None if the
    file can't be read any more.

    Raises UsageError for a class that the model has not.
    """
    if not 0 <= number < len(model.classes):
        raise UsageError(f"class: expected 0 to {len(model.classes) - 1}, got {number}")
    try:
        text = modality(model.modality).decode(contents(file), str(file)).raw
    except (OSError, Unreadable):
        return None
    words = WORD.findall(text)[:MOST_WORDS]
    each = -(-len(words) // MOST_RUNS)
    parts = [range(i, min(i + each, len(words))) for i in range(0, len(words), each)]
    without = [" ".join(w for i, w in enumerate(words) if i not in part) for part in parts]
    scores = _scores(model, [" ".join(words), *without])[:, number]
    lost = np.maximum(scores[0] - scores[1:], 0)
    shares = lost / max(float(lost.max()), 1e-9)
    return [(words[i], float(s)) for part, s in zip(parts, shares, strict=True) for i in part]


def _scores(model: Model, texts: list[str]) -> np.ndarray:
    """(n, c) of the head; a text may be empty."""
    kind = modality(model.modality)
    sides = [
        np.stack([*one.vectors([kind.prepare(t, one.spec, kind.views[0]) for t in texts])])
        for one in model.extractors
    ]
    return model.head.scores(np.hstack(sides))
