"""Transferability: how well frozen features fit labels, without training anything on them.

knn_leave_one_out  accuracy of the nearest neighbours; beat 23 scores in 2503.18528
logme              log evidence of a Bayesian linear model (You et al. 2021, 2102.11005)
h_score            between-class over total variance, shrunk (Ibrahim et al. 2021, 2110.06893)

LogME and H-score order networks differently from one set-up to the next (2204.01403): they are
columns of a table, not deciders. All three take features (n, d) of one layer and labels (n,), whole
numbers, and raise UsageError where these do not fit together.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.transfer.scaling import Array, BlockScaling

Matrix = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]

CHUNK = 1024  # rows whose similarities to all others are held at a time
DECIMALS = 9  # of a cosine: those after them change with the order of summation
ROUNDS = 500  # of the fixed point; some tens are usual
CLOSE = 1e-4  # change of log(α/β) that ends it: the evidence is flat there
RANGE = 1e9  # α/β stays within this factor of the mean eigenvalue, either way
ROUNDING = 1e-12  # of the largest eigenvalue: what is below is no direction of the data


def knn_leave_one_out(
    features: Array, labels: Labels, k: int = 5, groups: Labels | None = None
) -> float:
    """Accuracy of k-nearest-neighbour classification of each row by the others.

    k       neighbours that vote; fewer where there are no more
    groups  (n,) rows with the same number are no neighbours of each other (duplicates, one patient)

    Similarity is the cosine of the columns as (x - mean) / sqrt(var + mean var), which does not
    blow up those that hardly vary. Of equally similar rows the first is nearer; of classes with
    equally many votes that of the nearest neighbour wins. A row without neighbours counts as wrong.
    Takes O(n² d) time and O(n (d + 1024)) memory.
    """
    rows, numbers = _checked(features, labels, k, groups)
    together = np.arange(len(rows)) if groups is None else np.asarray(groups)
    right = 0
    for some, near, voting in _neighbours(_unit_rows(rows), together, min(k, len(rows) - 1)):
        votes = np.zeros((len(near), numbers.max() + 1))
        # A vote is 1; what the nearer ones have beside it adds up to less than 1.
        weight = voting * (1 + 0.5 ** np.arange(1, near.shape[1] + 1))
        np.add.at(votes, (np.arange(len(near))[:, None], numbers[near]), weight)
        right += int(np.sum((votes.argmax(1) == numbers[some]) & voting.any(1)))
    return right / len(rows)


def logme(features: Array, labels: Labels) -> float:
    """Log of the maximum evidence per row, averaged over the classes as one-against-rest targets.

    Model: y ~ N(F w, 1/β), w ~ N(0, 1/α), α and β by MacKay's fixed point in the eigenbasis of F Fᵀ
    (You et al. 2022, 2110.10545). Higher is better; comparable only on the same labels.
    The evidence is that of all n dimensions also where n < d.
    """
    rows, numbers = _checked(features, labels)
    values, left = _eigen(rows)
    targets = np.eye(numbers.max() + 1)[numbers]
    squares = (left.T @ targets) ** 2
    rest = np.maximum((targets**2).sum(0) - squares.sum(0), 0.0)
    ratio = _fixed_point(values, squares, rest, len(rows))
    return float(np.mean(_evidence(ratio, values, squares, rest, len(rows)))) / len(rows)


def h_score(features: Array, labels: Labels) -> float:
    """tr(Σ⁻¹ Σ_between): how much of the features' variance the classes explain; 0 to classes - 1.

    Σ is the Ledoit-Wolf estimate of the covariance, and Σ_between shrinks by as much, so that the
    score does not just grow with d. Higher is better.
    """
    rows, numbers = _checked(features, labels)
    centred = rows - rows.mean(0)
    values, left = _eigen(centred)
    n, d = rows.shape
    share = _shrinkage(centred, values / n)
    shrunk = ((1 - share) * values + share * values.sum() / d) / n
    sums = np.eye(numbers.max() + 1)[numbers].T @ (left * np.sqrt(values))
    between = np.einsum("ck,c->k", sums**2, 1 / np.bincount(numbers)) / n
    return float((1 - share) * np.sum(between / shrunk))


def _eigen(rows: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues of F Fᵀ above rounding (r,), and its eigenvectors (n, r), by the smaller side."""
    wide = rows.shape[0] <= rows.shape[1]
    values, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    kept = values > max(ROUNDING * values[-1], np.finfo(float).tiny)
    values, vectors = values[kept], vectors[:, kept]
    return values, vectors if wide else rows @ vectors / np.sqrt(values)


# Nearest neighbours ------------------------------------------------------------------------------


def _unit_rows(rows: Matrix) -> Matrix:
    """Standardised columns, rows of length 1 (or 0)."""
    scaled = BlockScaling.of(rows.mean(0), rows.var(0), [rows.shape[1]])(rows)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.divide(scaled, length, out=np.zeros_like(scaled), where=length > 0)


def _neighbours(
    unit: Matrix, together: Labels, k: int
) -> Iterator[tuple[slice, Numbers, npt.NDArray[np.bool_]]]:
    """Some rows (m of them), their k nearest others (m, k), nearest first, and which may vote."""
    for start in range(0, len(unit), CHUNK):
        some = slice(start, start + CHUNK)
        similar = np.round(unit[some] @ unit.T, DECIMALS)
        similar[together[some, None] == together] = -np.inf
        near = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        yield some, near, np.isfinite(np.take_along_axis(similar, near, 1))


# LogME -------------------------------------------------------------------------------------------


def _fixed_point(values: Matrix, squares: Matrix, rest: Matrix, n: int) -> Matrix:
    """(c,) α/β of the largest evidence.

    values   (r,) eigenvalues of F Fᵀ
    squares  (r, c) squared coordinates of the targets in its eigenvectors
    rest     (c,) squared length of the targets outside their span
    """
    unit = float(values.mean()) if len(values) else 1.0
    tiny = np.finfo(float).tiny
    ratio = np.full(len(rest), unit)
    for _ in range(ROUNDS):
        shrink = 1 / (values[:, None] + ratio)
        length = (values[:, None] * squares * shrink**2).sum(0)
        error = (squares * (ratio * shrink) ** 2).sum(0) + rest
        alpha = (values[:, None] * shrink).sum(0) / np.maximum(length, tiny)
        per_beta = error / np.maximum(n - len(values) + (ratio * shrink).sum(0), tiny)
        before, ratio = ratio, np.clip(alpha * per_beta, unit / RANGE, unit * RANGE)
        if np.all(np.abs(np.log(ratio / before)) < CLOSE):
            break
    return ratio


def _evidence(ratio: Matrix, values: Matrix, squares: Matrix, rest: Matrix, n: int) -> Matrix:
    """(c,) log evidence at α/β, with the β that is best for it."""
    shrink = ratio / (values[:, None] + ratio)
    length = np.maximum((squares * shrink).sum(0) + rest, np.finfo(float).tiny)
    spread = np.log1p(values[:, None] / ratio).sum(0)
    return np.asarray(-(n * (np.log(2 * np.pi * length / n) + 1) + spread) / 2)


# H-score -----------------------------------------------------------------------------------------


def _shrinkage(centred: Matrix, variances: Matrix) -> float:
    """Weight of the scaled identity in the covariance (Ledoit and Wolf 2004), from 0 to 1.

    variances  eigenvalues of the empirical covariance of the centred rows (n, d)
    """
    n, d = centred.shape
    squared = float(np.sum(variances**2))
    apart = squared - float(variances.sum()) ** 2 / d
    noise = (float(np.sum(np.sum(centred**2, 1) ** 2)) / n - squared) / n
    return min(max(noise / apart, 0.0), 1.0) if apart > 0 else 1.0


# What is given -----------------------------------------------------------------------------------


def _checked(
    features: Array, labels: Labels, k: int = 1, groups: Labels | None = None
) -> tuple[Matrix, Numbers]:
    """Features as float64, and labels numbered from 0 without gaps."""
    rows, given = np.asarray(features, np.float64), np.asarray(labels)
    mistakes = []
    if rows.ndim != 2 or not rows.size:
        mistakes.append(f"features: expected rows and columns, got shape {rows.shape}")
    elif given.shape != (len(rows),):
        mistakes.append(f"labels: expected {len(rows)} of them, got shape {given.shape}")
    elif groups is not None and np.shape(groups) != given.shape:
        mistakes.append(f"groups: expected {len(rows)} numbers, got shape {np.shape(groups)}")
    if not np.isfinite(rows).all():
        mistakes.append("features: some are infinite or no numbers")
    if len(classes := np.unique(given)) < 2:
        mistakes.append(f"labels: expected two classes or more, got {len(classes)}")
    if k < 1:
        mistakes.append(f"k: expected 1 neighbour or more, got {k}")
    if mistakes:
        raise UsageError(*mistakes)
    return rows, np.searchsorted(classes, given)
