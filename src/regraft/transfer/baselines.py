"""Trivial baselines: what every result is measured against.

majority    always the class that is most frequent among the examples learned from
plain       ridge on the plain vector of the modality (a tiny picture), without any network
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.transfer.probe import HeadFit, fit_head

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Baseline:
    """A baseline's name, what it is, and its scores (n, c) on the held-out examples."""

    name: str
    detail: str
    scores: npt.NDArray[np.float64]


def majority(labels: Array, classes: int, n: int) -> Baseline:
    """Scores (n, classes) that name the most frequent of `labels` each time."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    return Baseline("majority class", "always the most frequent class", np.tile(shares, (n, 1)))


def plain_ridge(
    name: tuple[str, str],
    learned: Array,
    labels: Array,
    held: Array,
    classes: int,
    seed: int,
    solve: Callable[..., HeadFit] = fit_head,
) -> Baseline:
    """Ridge on plain vectors: learned (n, d) with labels (n,), scored on held (m, d).

    name   of the baseline, and what it is
    solve  `fit_head`, or what remembers its results
    """
    fit = solve(learned, labels, classes=classes, widths=(learned.shape[1],), seed=seed)
    return Baseline(*name, fit.head.scores(held))
