"""Ridge regression in closed form with exact leave-one-out residuals.

With the rows Z (n, d), a column of ones for the intercept among them, and K = Z Zᵀ, ridge has the
dual solution a = G Y with G = (K + λ)⁻¹, and the exact left-out residual of a row, or of a group of
rows that belong together (duplicates, one patient), is

    R_g = G_gg⁻¹ a_g.

The same numbers come from three decompositions, each the fastest for a shape of Z:

    few rows            K = Q Λ Qᵀ: every λ at once                          `dual_spectrum`
    many rows, wide     a Cholesky inverse for each λ visited, which is few  `Inverse`, `search`
    more rows than      ZᵀZ = V Λ Vᵀ: every λ at once; ZᵀZ and ZᵀY add up    `Moments`
    columns             over shards

λ is always relative to the mean diagonal of K, so that one grid serves every data set. The
intercept is not centred away: with a centred kernel and a small λ leave-one-out collapses.

Source: Allen 1974 (PRESS); Rifkin & Lippert 2007, "Notes on regularized least squares".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.errors import UsageError
from regraft.transfer.scaling import Array, Integers

Matrix = npt.NDArray[np.float64]
Groups = Sequence[npt.NDArray[np.int64]]

# λ relative to the mean diagonal of K; the floor of 1e-3 keeps leave-one-out stable.
LAMBDAS: Matrix = np.logspace(-3, 1, 25)
SEARCH_ABOVE = 600  # rows: above, a search with few inverses beats a decomposition

# What `search` expects before it knows better. With photos and digits, at 100 to 3,000 rows, the
# second derivative of log(error) by log λ near its minimum was 0.045 to 0.075.
LAMBDA = 0.2
CURVATURE = 0.055
ENOUGH = 0.002  # of the error: a step of the search that is to gain less is not taken


def members(groups: Integers) -> list[npt.NDArray[np.int64]]:
    """Positions of the rows of each group that has more than one; groups (n,) int."""
    order = np.argsort(groups, kind="stable")
    edges = np.flatnonzero(np.diff(groups[order])) + 1
    return [part for part in np.split(order, edges) if len(part) > 1]


@dataclass(frozen=True)
class Spectrum:
    """The decomposition from which every λ is solved; r is its rank.

    values   (r,) eigenvalues Λ
    vectors  (d, r) eigenvectors V of ZᵀZ; in the dual (n, r) those of K
    loading  (r, c) vectorsᵀ ZᵀY; in the dual vectorsᵀ Y
    gain     (r,) numerator of the fit, fit = left · gain / (Λ + λ) · loading: 1; in the dual Λ
    scale    mean diagonal of K: λ is relative to it

    `left` below means Z @ vectors, (n, r); in the dual it is `vectors` itself.
    """

    values: Matrix
    vectors: Matrix
    loading: Matrix
    gain: Matrix
    scale: float

    def coefficients(self, lam: float) -> Matrix:
        """(d, c) weights at a relative λ: new rows Z are scored as Z @ coefficients.

        In the dual (n, c): the weights are Zᵀ @ coefficients.
        """
        return np.asarray(self.vectors @ (self.loading / (self.values + lam * self.scale)[:, None]))

    def left(self, rows: Array) -> Matrix:
        """(n, r) Z @ vectors of rows (n, d - 1) without the intercept's column; in the primal."""
        left = rows @ self.vectors[:-1]
        left += self.vectors[-1]
        return np.asarray(left)

    def shares(self, lambdas: Array | Sequence[float]) -> Matrix:
        """(r, λ) gain / (Λ + λ)."""
        return np.asarray(
            self.gain[:, None] / (self.values[:, None] + np.asarray(lambdas) * self.scale)
        )

    def leverages(self, left: Array, lambdas: Array) -> Matrix:
        """(n, λ) how much each row's fit depends on its own target."""
        return np.asarray((left**2) @ self.shares(lambdas))

    def left_out(self, left: Array, targets: Array, lam: float, groups: Groups = ()) -> Matrix:
        """(n, c) scores of rows as if each had not been learned from.

        left     (n, r)
        targets  (n, c) what they were learned with
        groups   positions of rows that are left out together; rows in none are left out alone
        """
        shrunk = left * self.shares([lam])[:, 0]
        residual = targets - shrunk @ self.loading
        out = residual / (1.0 - np.einsum("nr,nr->n", shrunk, left))[:, None]
        for group in groups:
            inner = np.eye(len(group)) - shrunk[group] @ left[group].T
            out[group] = np.linalg.solve(inner, residual[group])
        return np.asarray(targets - out)

    def squared_errors(
        self, left: Array, targets: Array, leverages: Array, lambdas: Array
    ) -> Matrix:
        """(λ,) summed squared leave-one-out errors of the rows; leverages are theirs, (n, λ)."""
        out = np.empty(len(lambdas))
        # λ side by side, as many as keep the product with their classes small
        parts = -(-len(lambdas) * targets.shape[1] // 512)
        for some in np.array_split(np.arange(len(lambdas)), parts):
            stacked = self.shares(np.asarray(lambdas)[some])[:, :, None] * self.loading[:, None]
            fitted = left @ stacked.reshape(len(stacked), -1)
            residual = targets[:, None] - fitted.reshape(len(left), len(some), targets.shape[1])
            residual /= 1.0 - leverages[:, some, None]
            out[some] = np.einsum("nlc,nlc->l", residual, residual)
        return out


def dual_spectrum(rows: Array, targets: Array) -> Spectrum:
    """Of few rows (n, d), without the intercept's column, and targets (n, c)."""
    kernel = kernel_of(rows)
    scale = float(np.trace(kernel)) / len(rows)
    values, vectors = _eigh(kernel)
    return Spectrum(values, vectors, vectors.T @ targets, values, scale)


def kernel_of(rows: Array) -> Matrix:
    """(n, d) → (n, n) products of the rows; the 1 is that of the intercept's column."""
    kernel = rows @ rows.T
    kernel += 1.0
    return np.asarray(kernel)


def from_dual(rows: Array, dual: Array) -> Matrix:
    """(n, d) rows and (n, c) dual coefficients → (d + 1, c) weights, the intercept last."""
    return np.vstack([rows.T @ dual, dual.sum(0)])


def _eigh(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues, ascending, and vectors, from the lower triangle; the matrix is overwritten."""
    from scipy.linalg import eigh

    values, vectors = eigh(matrix, driver="evd", overwrite_a=True, check_finite=False)
    return np.maximum(values, 0.0), vectors


@dataclass
class Moments:
    """Sums over rows from which the primal problem is solved; they add up over shards.

    Sums are taken of rows minus `origin`, (d,), so that large means cost no digits; shards that are
    to be added share it.

    count    rows so far
    total    (d,) sum of the rows
    gram     (d, d) lower triangle of the sum of their outer products
    cross    (d, c) sum of their outer products with the targets
    targets  (c,) sum of the targets
    """

    origin: Matrix
    classes: int
    count: int = 0

    def __post_init__(self) -> None:
        width = len(self.origin)
        self.total = np.zeros(width)
        self.gram = np.zeros((width, width), order="F")
        self.cross = np.zeros((width, self.classes))
        self.targets = np.zeros(self.classes)

    def add(self, rows: Array, targets: Array) -> "Moments":
        """Take in a chunk: raw rows (n, d) and targets (n, c)."""
        from scipy.linalg.blas import dsyrk

        centred = np.subtract(rows, self.origin, dtype=np.float64, order="C")
        self.count += len(centred)
        self.total += centred.sum(0)
        # in place: a sum of products of a chunk of its own would be as large as the whole
        self.gram = dsyrk(1.0, centred.T, beta=1.0, c=self.gram, lower=True, overwrite_c=True)
        self.cross += centred.T @ targets
        self.targets += targets.sum(0)
        return self

    def __add__(self, other: "Moments") -> "Moments":
        if not np.array_equal(self.origin, other.origin):
            raise UsageError("moments of shards can be added only if they share their origin")
        out = Moments(self.origin, self.classes, self.count + other.count)
        for name in ("total", "gram", "cross", "targets"):
            setattr(out, name, getattr(self, name) + getattr(other, name))
        return out

    def mean_and_variance(self) -> tuple[Matrix, Matrix]:
        """Of the raw columns, both (d,)."""
        mean = self.total / self.count
        variance = np.maximum(np.diag(self.gram) / self.count - mean**2, 0.0)
        return mean + self.origin, variance

    def spectrum(self, shift: Array, factor: Array) -> Spectrum:
        """The primal spectrum of the rows (raw - shift) * factor with an intercept appended.

        shift and factor are (d,).
        """
        gram, cross = self._mapped(np.asarray(shift) - self.origin, np.asarray(factor))
        scale = float(np.trace(gram)) / self.count
        values, vectors = _eigh(gram)
        return Spectrum(values, vectors, vectors.T @ cross, np.ones_like(values), scale)

    def _mapped(self, shift: Matrix, factor: Matrix) -> tuple[Matrix, Matrix]:
        """Lower triangle of ZᵀZ, and ZᵀY."""
        width = len(factor)
        moved = self.total - self.count * shift
        gram = np.zeros((width + 1, width + 1), order="F")
        inner = gram[:width, :width]
        inner += self.gram
        inner -= np.outer(shift, self.total)
        inner -= np.outer(moved, shift)
        inner *= np.outer(factor, factor)
        gram[width] = np.append(moved * factor, self.count)
        cross = (self.cross - np.outer(shift, self.targets)) * factor[:, None]
        return gram, np.vstack([cross, self.targets])


class Guess(NamedTuple):
    """Where the left-out error is expected to be least: λ, and second derivative by log λ there."""

    lam: float = LAMBDA
    curvature: float = CURVATURE


class Solution(NamedTuple):
    """The dual problem solved at its best λ, or at one.

    lam       relative λ
    error     mean squared left-out error
    dual      (n, c) coefficients of the rows
    left_out  (n, c) scores of the rows as if each (each group) had not been learned from
    """

    lam: float
    error: float
    dual: Matrix
    left_out: Matrix


def best_dual(
    rows: Array, targets: Array, lambdas: Array, guess: Guess, groups: Groups = ()
) -> tuple[Solution, Guess]:
    """The solution with the least left-out error; of many rows by `search` from a guess.

    rows     (n, d) without the intercept's column
    targets  (n, c)
    lambdas  grid of relative λ
    groups   positions of rows that are left out together

    The guess that comes back is what has been learned about the error.
    """
    if len(rows) > SEARCH_ABOVE:
        return search(Inverse(rows, targets, groups), lambdas, guess)
    spectrum = dual_spectrum(rows, targets)
    scores = [spectrum.left_out(spectrum.vectors, targets, lam, groups) for lam in lambdas]
    errors = [float(np.mean((targets - left_out) ** 2)) for left_out in scores]
    best = int(np.argmin(errors))
    lam = float(lambdas[best])
    found = Solution(lam, errors[best], spectrum.coefficients(lam), scores[best])
    return found, Guess(lam, _curvature(np.log(lambdas), np.array(errors), best))


def _curvature(logs: Matrix, errors: Matrix, best: int) -> float:
    """Of log(error), from a parabola through the λ within a factor of 5 of the best."""
    near = np.abs(logs - logs[best]) < np.log(5)
    if near.sum() < 5 or errors.min() <= 0:
        return CURVATURE
    square, *_ = np.polyfit(logs[near] - logs[best], np.log(errors[near]), 2)
    return max(2 * float(square), CURVATURE / 4)


class Inverse:
    """The dual problem solved one λ at a time, where a full decomposition would cost more.

    A Cholesky inverse takes an eighth of the time of a decomposition, and tells which way the error
    falls: with G' = -G G the left-out residuals have the derivative G_gg⁻¹ ((G G)_gg R_g - (G a)_g)
    by λ.
    """

    def __init__(self, rows: Array, targets: Array, groups: Groups = ()) -> None:
        """rows (n, d) without the intercept's column; targets (n, c)."""
        self.kernel, self.targets, self.groups = kernel_of(rows), targets, groups
        self.scale = float(np.trace(self.kernel)) / len(rows)

    def solve(self, lam: float) -> tuple[Solution, float]:
        """At a relative λ; and the derivative of log(error) by log λ."""
        inverse = inverse_of(self.kernel, lam * self.scale)
        dual = inverse @ self.targets
        second = inverse @ dual
        diagonal = np.diag(inverse)[:, None]
        norms = np.einsum("nm,nm->n", inverse, inverse)[:, None]
        residual = dual / diagonal
        drift = (norms * residual - second) / diagonal
        for group in self.groups:
            rows, inner = inverse[group], inverse[np.ix_(group, group)]
            residual[group] = np.linalg.solve(inner, dual[group])
            moved = (rows @ rows.T) @ residual[group] - second[group]
            drift[group] = np.linalg.solve(inner, moved)
        error = float(np.mean(residual**2))
        slope = 2 * lam * self.scale * float(np.mean(residual * drift)) / max(error, 1e-300)
        return Solution(lam, error, dual, self.targets - residual), slope


def inverse_of(kernel: Matrix, lam: float) -> Matrix:
    """(K + λ)⁻¹ of a symmetric positive semidefinite K (n, n) and an absolute λ > 0."""
    from scipy.linalg.lapack import dpotrf, dpotri

    shifted = kernel.copy()
    shifted.flat[:: len(shifted) + 1] += lam
    factor, failed = dpotrf(shifted.T, lower=True, clean=False, overwrite_a=True)
    if failed:
        raise UsageError(f"λ = {lam:.3g} is too small for these features: raise `lambdas`")
    inverse, _ = dpotri(factor, lower=True, overwrite_c=True)
    return _mirrored(inverse)


def _mirrored(lower: Matrix) -> Matrix:
    """Fill the upper triangle from the lower one, in place, in blocks that fit into the cache."""
    for start in range(0, len(lower), 256):
        here, below = slice(start, start + 256), slice(start + 256, None)
        corner = np.tril(lower[here, here])
        lower[here, here] = corner + np.tril(corner, -1).T
        lower[here, below] = lower[below, here].T
    return lower


def search(problem: Inverse, lambdas: Array, guess: Guess) -> tuple[Solution, Guess]:
    """The λ of a grid with the least left-out error, by Newton steps on log λ.

    Starts at the grid point next to the guess and ends where a step would gain less than ENOUGH or
    lead to a point that was visited. One to three λ are solved as a rule. It goes downhill: the
    guess should come from a sample of the rows. Made for rows that are not many more than columns:
    with far more the error hardly depends on λ, and a flat place is taken for the bottom.
    """
    logs = np.log(lambdas)
    solved: dict[int, Solution] = {}
    slopes: dict[int, float] = {}
    at, curvature = int(np.argmin(np.abs(logs - np.log(guess.lam)))), guess.curvature
    while at not in solved:
        before = next(reversed(solved), None)
        solved[at], slopes[at] = problem.solve(float(lambdas[at]))
        if before is not None:  # a secant of the slopes; where that is flat or concave, as guessed
            secant = (slopes[at] - slopes[before]) / (logs[at] - logs[before])
            curvature = secant if secant > CURVATURE / 4 else guess.curvature
        downhill = (logs - logs[at]) * slopes[at] < 0
        if slopes[at] ** 2 / (2 * curvature) > ENOUGH and downhill.any():
            away = np.abs(logs - (logs[at] - slopes[at] / curvature))
            at = int(np.argmin(np.where(downhill, away, np.inf)))
    best = min(solved.values(), key=lambda solution: solution.error)
    return best, Guess(best.lam, curvature)
