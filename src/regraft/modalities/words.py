"""What augmentation does to texts: each takes words and a strength and gives others."""

from collections.abc import Sequence

import numpy as np

from regraft.modalities.usual import Usual

# Of the usual one.
USUAL: tuple[Usual, ...] = (
    Usual((("word-drop=0.1", "word-drop=0.1"), ("word-drop=0.05", "word-drop=0.05")), 0.9),
)


def drop(words: Sequence[str], strength: float, rng: np.random.Generator) -> Sequence[str]:
    """Each word is left out with this probability; one stays at least."""
    kept = rng.random(len(words)) >= strength
    return [word for word, stays in zip(words, kept, strict=True) if stays] or words[:1]


def swap(words: Sequence[str], strength: float, rng: np.random.Generator) -> Sequence[str]:
    """Each word changes places with the next one with this probability."""
    out = [*words]
    for place in np.flatnonzero(rng.random(max(0, len(out) - 1)) < strength):
        out[place], out[place + 1] = out[place + 1], out[place]
    return out
