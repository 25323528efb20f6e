"""Which members make an ensemble, and with which shares: chosen on answers that are honest.

What is pooled are calibrated logits: their mean, normalised, is the geometric mean of the members'
probabilities (a logarithmic opinion pool, Genest and Zidek 1986). It is linear in the members'
scores, so that the whole is one head again; see `stacking`.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.evaluation.calibration import fit_temperature, log_losses

Logits = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64]

ROUNDS = 20  # of greedy selection: shares are multiples of 1/20 at the finest
FOLDS = 5  # by which a choice is judged on examples that it was not made on
EQUAL = 1e-9  # losses that differ by less are the same


def pooled(logits: Logits, shares: Sequence[float]) -> Logits:
    """(k, m, c) calibrated logits of k members and their shares → (m, c)."""
    return np.tensordot(np.asarray(shares, float), logits, 1)


def loss_of(logits: Logits, labels: Labels) -> float:
    """Mean log-loss at the best temperature, as a model is calibrated in the end."""
    return float(log_losses(logits / fit_temperature(logits, labels), labels).mean())


def greedy_shares(logits: Logits, labels: Labels, rounds: int = ROUNDS) -> tuple[float, ...]:
    """Shares (k,) of members by greedy selection with replacement, their sum is 1.

    logits  (k, m, c) calibrated, of examples that taught none of the members

    Each round takes in the member that lowers the log-loss of the pool most, one several times if
    need be; the pool of the round with the least loss is kept, the earliest of equal ones (Caruana
    et al. 2004, "Ensemble selection from libraries of models").
    """
    counts = np.zeros(len(logits), int)
    best, least = counts, np.inf
    for _ in range(rounds):
        tries = [counts + (np.arange(len(logits)) == k) for k in range(len(logits))]
        losses = [loss_of(pooled(logits, some / some.sum()), labels) for some in tries]
        counts = tries[int(np.argmin(losses))]
        if min(losses) < least - EQUAL:
            best, least = counts, min(losses)
    return tuple(float(n) for n in best / best.sum())


def greedy_soup(loss_of_subset: Callable[[tuple[int, ...]], float], order: Sequence[int]) -> Any:
    """Members whose weights are averaged: each is taken in if the soup does not become worse.

    loss_of_subset  (numbers of members) → loss of the average of their weights
    order           of the members, the best first

    Greedy soup: Wortsman et al. 2022, arXiv 2203.05482, algorithm 1.
    """
    taken: tuple[int, ...] = (order[0],)
    least = loss_of_subset(taken)
    for member in order[1:]:
        wider = tuple(sorted((*taken, member)))
        if (loss := loss_of_subset(wider)) <= least:
            taken, least = wider, loss
    return taken


def cross_validated(
    choose: Callable[[Numbers], Any],
    logits: Callable[[Any], Logits],
    labels: Labels,
    folds: Sequence[Numbers],
) -> Logits:
    """(m, c) calibrated logits of choices that each example had no part in.

    choose  (places of examples) → what is chosen on them
    logits  (what was chosen) → (m, c) on all examples
    folds   places of the examples of each

    A choice among many looks better on the examples that it was made on than on others; so it is
    compared with others by this.
    """
    every = np.arange(len(labels))
    out = np.empty(logits(choose(every)).shape)
    for fold in folds:
        rest = np.setdiff1d(every, fold) if len(folds) > 1 else every
        found = logits(choose(rest))
        out[fold] = found[fold] / fit_temperature(found[rest], labels[rest])
    return out


def folds_of(labels: Labels, groups: Numbers, seed: int, count: int = FOLDS) -> list[Numbers]:
    """Places of each fold: the classes spread evenly, equal numbers of `groups` together.

    One of all, where nothing can be divided.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = min(count, len(np.unique(groups)), int(np.bincount(labels).max()))
    if count < 2:
        return [np.arange(len(labels))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer examples than folds
        split = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        return [np.asarray(fold) for _, fold in split.split(labels, labels, groups)]
