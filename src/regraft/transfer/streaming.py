"""Rows that come in chunks and need not fit into memory: a random pool, and leave-one-out.

Of the primal problem one pass gives every row's leverage for every λ, and so the best λ; a second
one the scores at it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.errors import DataError
from regraft.transfer.ridge import Groups, Matrix, Spectrum

POOL = 3000  # rows kept for what looks at a sample

# Called for each pass: yields normalised rows (m, d), without the intercept's column, and their
# targets (m, c); the same each time.
Passes = Callable[[], Iterable[tuple[Matrix, Matrix]]]


class Pool:
    """At most POOL rows, drawn at random from chunks: the same whatever the chunks' sizes.

    Each row is given a random number; those with the smallest stay.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._kept: list[tuple[npt.NDArray[Any], ...]] = []
        self._limit = 1.0

    def add(self, *columns: npt.NDArray[Any]) -> "Pool":
        """Take in a chunk: arrays of the same rows, (n, ...) each."""
        numbers = self._random.random(len(columns[0]))
        chosen = np.flatnonzero(numbers <= self._limit)
        self._kept.append((numbers[chosen], *(column[chosen] for column in columns)))
        if sum(len(part[0]) for part in self._kept) > 2 * POOL:
            self._shrink()
        return self

    def rows(self) -> tuple[npt.NDArray[Any], ...]:
        """The columns of the rows that stayed, in order."""
        self._shrink()
        return self._kept[0][1:]

    def _shrink(self) -> None:
        columns = [np.concatenate(parts) for parts in zip(*self._kept, strict=True)]
        smallest = np.sort(np.argsort(columns[0], kind="stable")[:POOL])
        self._kept = [tuple(column[smallest] for column in columns)]
        if len(smallest) == POOL:
            self._limit = float(self._kept[0][0].max())


def left_out_scores(
    spectrum: Spectrum, passes: Passes, lambdas: Matrix, groups: Groups, count: int
) -> tuple[float, Matrix, float]:
    """The best relative λ, the scores (count, c) that leave out each row, and their mean sq. error.

    groups  positions of rows that are left out together
    count   number of all rows
    """
    grouped = np.zeros(count, bool)
    for group in groups:
        grouped[group] = True
    leverages, errors, left, targets = _first_pass(spectrum, passes, lambdas, grouped)
    local = [np.searchsorted(np.flatnonzero(grouped), group) for group in groups]
    if local:
        errors += [np.sum((targets - spectrum.left_out(left, targets, lam, local)) ** 2)
                   for lam in lambdas]  # fmt: skip
    best = int(np.argmin(errors))
    lam = float(lambdas[best])
    scores = _second_pass(spectrum.coefficients(lam), passes, leverages[:, best])
    if local:
        scores[grouped] = spectrum.left_out(left, targets, lam, local)
    return lam, scores, float(errors[best]) / scores.size


def _first_pass(
    spectrum: Spectrum, passes: Passes, lambdas: Matrix, grouped: npt.NDArray[np.bool_]
) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Leverages (n, λ), summed squared errors (λ,); of the grouped rows `left` and targets.

    The errors are those of the rows that are left out alone.
    """
    leverages, errors = np.empty((len(grouped), len(lambdas))), np.zeros(len(lambdas))
    lefts, kept = [], []
    for here, rows, targets in _numbered(passes, len(grouped)):
        left = spectrum.left(rows)
        leverages[here] = spectrum.leverages(left, lambdas)
        leverages[here][grouped[here]] = -np.inf  # no residual here: it comes with the group's
        errors += spectrum.squared_errors(left, targets, leverages[here], lambdas)
        lefts.append(left[grouped[here]])
        kept.append(targets[grouped[here]])
    return leverages, errors, np.concatenate(lefts), np.concatenate(kept)


def _second_pass(coefficients: Matrix, passes: Passes, leverages: Matrix) -> Matrix:
    """(n, c) scores at one λ, from its coefficients (d + 1, c) and leverages (n,)."""
    scores = np.empty((len(leverages), coefficients.shape[1]))
    for here, rows, targets in _numbered(passes, len(leverages)):
        residual = targets - rows @ coefficients[:-1] - coefficients[-1]
        scores[here] = targets - residual / (1.0 - leverages[here, None])
    return scores


def _numbered(passes: Passes, count: int) -> Iterator[tuple[slice, Matrix, Matrix]]:
    """The chunks of one pass with their place."""
    at = 0
    for rows, targets in passes():
        here = slice(at, at + len(targets))
        at = here.stop
        if at > count:
            break
        yield here, rows, targets
    if at != count:
        raise DataError(
            f"the chunks had {count} rows the first time and {'more' if at > count else at} later: "
            "each call must yield the same rows in the same order"
        )
