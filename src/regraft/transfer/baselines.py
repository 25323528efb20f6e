"""Trivial baselines: what every result is measured against.

majority    always the class that is most frequent among the examples learned from
plain       ridge on the plain vector of the modality (a tiny picture), without any network
tf-idf      ridge on counted words (Salton and Buckley 1988): logarithms of the counts, times that
            of how rare a word is among the examples learned from, each text of unit length
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.transfer.probe import HeadFit, fit_head, one_hot

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


def mean(name: tuple[str, str], truth: Array, n: int) -> Baseline:
    """Scores (n, k) that are the mean of `truth` (m, k) each time: for tags how frequent."""
    return Baseline(*name, np.tile(np.asarray(truth, np.float64).mean(0), (n, 1)))


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


ALPHA = 1.0  # of the ridge on texts of unit length
TOLERANCE = 1e-3  # of its solution


def tf_idf_ridge(
    name: tuple[str, str],
    learned: Array,
    labels: Array,
    held: Array,
    classes: int,
    seed: int,
    solve: Callable[..., HeadFit] = fit_head,
) -> Baseline:
    """As `plain_ridge`, on counted words: rows (2k,) are k numbers of words, then their counts.

    labels  (n,), or targets (n, t)
    """
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import Ridge

    known = np.unique(learned[:, : learned.shape[1] // 2][_counted(learned)])
    weigh = TfidfTransformer(sublinear_tf=True).fit(rows := _sparse(learned, known))
    ridge = Ridge(ALPHA, solver="sparse_cg", tol=TOLERANCE)
    ridge.fit(weigh.transform(rows), labels if labels.ndim == 2 else one_hot(labels, classes))
    found = ridge.predict(weigh.transform(_sparse(held, known)))
    return Baseline(*name, found.reshape(len(held), -1))


def _counted(rows: Array) -> npt.NDArray[np.bool_]:
    """(n, k) where there is a word."""
    return np.asarray(rows[:, rows.shape[1] // 2 :] > 0)


def _sparse(rows: Array, known: Array) -> Any:
    """(n, known words) counts."""
    from scipy import sparse

    words, counts = np.hsplit(rows, 2)
    n, place = _counted(rows).nonzero()
    column = np.searchsorted(known, words[n, place]).clip(max=max(0, len(known) - 1))
    here = known[column] == words[n, place] if len(known) else np.zeros(len(n), bool)
    found = (counts[n, place][here].astype(float), (n[here], column[here]))
    return sparse.csr_matrix(found, shape=(len(rows), max(1, len(known))))


BASELINES: Mapping[str, Callable[..., Baseline]] = MappingProxyType(
    {"ridge": plain_ridge, "tf-idf": tf_idf_ridge}
)
