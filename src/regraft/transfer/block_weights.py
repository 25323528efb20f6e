"""How much each block counts: kernel weights w_b in K = Σ_b w_b X_b X_bᵀ + 1, by leave-one-out.

The squared leave-one-out error of a subsample is minimised over log w_b and log λ with its exact
gradient, held near equal weights by a penalty that fades as examples grow. Concatenating blocks
without weights can lose to the best single block; free weights overfit when examples are few, and
favour the last blocks more than many rows do. So they are looked for only where there are rows
enough, and kept only if they clearly win, on the rows they were found on and then on more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.transfer.ridge import (
    LAMBDAS,
    Groups,
    Guess,
    Matrix,
    best_dual,
    inverse_of,
    members,
)
from regraft.transfer.scaling import Array, BlockScaling, Integers

SUBSAMPLE = 600  # rows that find block weights: a step takes about 15 ms
CHECK = 1500  # rows on which block weights must prove themselves
KEEP_BELOW = 0.9  # of the error of equal weights: the least that chosen weights must reach
FREE_FROM = 10  # rows for each block: of fewer, free weights fit the rows that are left out (of 40
# solar cells under 17 weights they take 28 % of that error away, and triple that of new ones)

FALLS = (1.0, 0.5, 0.25, 0.1)  # weights of a block, in shares of that of the next one
# Of one example a class: five sets of photos, 16 draws each, 0.585 right in the mean; 0.578 under
# equal weights, 0.529 under 0.25, which suits questions whose classes have no names that say
# anything (0.499 in place of 0.404).
FALLS_ALONE = (0.9,)
# Standard errors by which a fall must take error away, row against row, and rows to tell them by:
# of 20 to 770 questions it is 4 to 14, of as many photos, where it is chance, below 2.
SURE, TOLD_BY = 3.0, 10

PENALTY = 6.0  # divided by the number of rows; on the mean of (log w)²
STEPS = 12
STEEP = 10.0  # what the objective is multiplied by: its slope then gives a first step of about 1
ENOUGH = 3e-4  # of the objective: a step that gains less is the last
DECIMALS = 3  # of a weight: those after them differ from one machine to the next

# The best relative λ falls with the rows, about as their power of -0.3 (photos and digits, 600 rows
# against 1,500 to 3,068).
FALL = 0.3


class Weighing(NamedTuple):
    """Block weights and how they did.

    weights  (blocks,), mean 1
    error    mean squared left-out error
    best     the relative λ that goes with them
    rows     number of rows that they were tried on
    each     (rows,) squared left-out error of each, where they were tried as they are
    """

    weights: Matrix
    error: float
    best: Guess
    rows: int
    each: Matrix | None = None

    def guess(self, rows: int) -> Guess:
        """For another number of rows."""
        return self.best._replace(lam=self.best.lam * (self.rows / rows) ** FALL)


@dataclass(frozen=True)
class Sample:
    """Rows on which weights are tried.

    features  (n, d) raw
    labels    (n,) int
    targets   (n, c) the same, one-hot
    groups    (n,) int; rows with the same number are left out together
    """

    features: Array
    labels: Integers
    targets: Matrix
    groups: Integers

    def part(self, most: int, seed: int) -> "Sample":
        """At most `most` of the rows, as `subsample` takes them."""
        some = subsample(self.labels, most, seed)
        return Sample(self.features[some], self.labels[some], self.targets[some], self.groups[some])

    def tried(self, plain: BlockScaling, weights: Matrix, guess: Guess) -> Weighing:
        """The error of weights at their best λ, which is guessed."""
        rows = plain.weighted(weights)(self.features)
        best, guess = best_dual(rows, self.targets, LAMBDAS, guess, members(self.groups))
        each = np.square(best.left_out - self.targets).mean(1)
        return Weighing(weights, best.error, guess, len(rows), each)

    def chosen(self, plain: BlockScaling, guess: Guess) -> Weighing:
        """The weights with the least error, and it."""
        rows = plain(self.features)
        blocks = [rows[:, block] for block in plain.blocks()]
        return choose_weights(blocks, self.targets, guess, members(self.groups))


def weigh(plain: BlockScaling, sample: Sample, seed: int, free: bool = True) -> Weighing:
    """Weights for raw features that `plain` normalises; plain ones unless others clearly win.

    Plain are equal weights or, where examples are few, weights that fall with depth.

    free  look for other than equal weights
    """
    few = sample.part(SUBSAMPLE, seed)
    searched = free and len(plain.widths) > 1
    if searched and len(sample.labels) <= CHECK:  # of more rows equal ones are best in the end
        start = by_depth(plain, sample)
    else:
        start = few.tried(plain, np.ones(len(plain.widths)), Guess())
    if not searched:
        return start
    if len(few.labels) < FREE_FROM * len(plain.widths):
        return start
    found = few.chosen(plain, start.guess(len(few.labels)))
    if found.error < KEEP_BELOW * start.error and len(sample.labels) > SUBSAMPLE:
        more = sample.part(CHECK, seed)
        start, found = (
            more.tried(plain, tried.weights, tried.guess(len(more.labels)))
            for tried in (start, found)
        )
    return found if found.error < KEEP_BELOW * start.error else start


def by_depth(plain: BlockScaling, sample: Sample) -> Weighing:
    """Equal weights, or the fall with depth that has the least error, if that is surely less.

    With a few examples a class what shallow blocks tell is mostly chance. With one of each class
    leave-one-out tells nothing at all, since the class of what is left out is gone: then the fall
    is the one that did well on photos.
    """
    count = len(plain.widths)
    alone = np.bincount(sample.labels).max() == 1
    tried = []
    for fall in FALLS_ALONE if alone else FALLS:
        weights = fall ** np.arange(count - 1, -1, -1.0)
        tried.append(sample.tried(plain, weights * count / weights.sum(), Guess()))
    least = min(tried, key=lambda one: one.error)
    return least if alone or _surely_less(least, tried[0]) else tried[0]


def _surely_less(one: Weighing, other: Weighing) -> bool:
    """Whether the error is less row by row, by more than chance."""
    if one.each is None or other.each is None or one.rows < TOLD_BY:
        return False
    gains = other.each - one.each
    return bool(gains.mean() > SURE * gains.std(ddof=1) / np.sqrt(len(gains)))


def subsample(labels: Integers, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of at most `most` rows, the classes in proportion, in order.

    No class is lost as long as there are no more classes than `most`. labels (n,) int >= 0.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    if len(order) <= most:
        return np.sort(order)
    shuffled = np.asarray(labels)[order]
    by_class = np.argsort(shuffled, kind="stable")
    sizes = np.bincount(shuffled)
    starts = np.cumsum(sizes) - sizes
    ranks = np.empty(len(order))
    ranks[by_class] = np.arange(len(order)) - np.repeat(starts, sizes)
    # Rank within the class over its size: taking the smallest takes every class in proportion.
    return np.sort(order[np.argsort(ranks / sizes[shuffled], kind="stable")[:most]])


def choose_weights(
    blocks: Sequence[Array], targets: Array, guess: Guess, groups: Groups = ()
) -> Weighing:
    """The best weights for few rows.

    blocks   normalised features of the same n rows, (n, d_b) each
    targets  (n, c)
    guess    relative λ to begin with
    groups   positions of rows that are left out together
    """
    from scipy.optimize import minimize

    kernels = np.stack([block @ block.T for block in blocks])
    scale = float(np.einsum("bnn->", kernels)) / len(targets) + 1.0
    penalty = PENALTY / len(targets)
    ends = np.log([LAMBDAS[0] * scale, LAMBDAS[-1] * scale])
    found = minimize(
        _objective,
        np.append(np.zeros(len(blocks)), np.log(guess.lam * scale)),
        args=(kernels, np.asarray(targets, float), penalty, groups),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-6, 6)] * len(blocks) + [tuple(ends)],
        options={"maxiter": STEPS, "ftol": ENOUGH},
    )
    log = found.x
    weights = np.round(_weights(log), DECIMALS)
    diagonal = float(np.einsum("b,bnn->", weights, kernels)) / len(targets) + 1.0
    error = float(np.exp(found.fun / STEEP - penalty * np.mean(log[:-1] ** 2)))
    best = guess._replace(lam=float(np.exp(log[-1])) / diagonal)
    return Weighing(weights, error, best, len(targets))


def _weights(log: Matrix) -> Matrix:
    """(blocks,) weights, mean 1, from their logarithms up to a constant and that of λ."""
    free = np.exp(log[:-1])
    return np.asarray(free / free.mean())


def _objective(
    log: Matrix, kernels: Matrix, targets: Matrix, penalty: float, groups: Groups
) -> tuple[float, Matrix]:
    """log of the mean squared leave-one-out error, plus the penalty, steep; and its gradient.

    With G = (K + λ)⁻¹, a = G Y and the residuals R_g = G_gg⁻¹ a_g, dG = -G dK G makes the gradient
    with respect to K one matrix, against which each block's kernel is summed. With T_g = G_gg⁻¹ of
    the error's gradient by R_g it is G (block diagonal of T_g R_gᵀ) G - (G T) aᵀ.
    """
    weights, lam = _weights(log), np.exp(log[-1])
    inverse = inverse_of(np.tensordot(weights, kernels, 1) + 1.0, lam)
    dual, diagonal = inverse @ targets, np.diag(inverse)[:, None]
    residual = dual / diagonal
    for group in groups:
        residual[group] = np.linalg.solve(inverse[np.ix_(group, group)], dual[group])
    error = float(np.mean(residual**2))
    outer = 2 * residual / residual.size
    pulled = outer / diagonal
    for group in groups:
        pulled[group] = np.linalg.solve(inverse[np.ix_(group, group)], outer[group])
    slope = _sandwich(inverse, pulled, residual, groups) - (inverse @ pulled) @ dual.T
    by_weight = weights * np.tensordot(kernels, slope, 2)
    by_weight -= weights * by_weight.mean()  # their mean is held at 1
    gradient = np.append(by_weight, lam * np.trace(slope)) / error
    gradient[:-1] += 2 * penalty * log[:-1] / len(weights)
    value = np.log(error) + penalty * float(np.mean(log[:-1] ** 2))
    return STEEP * value, STEEP * gradient


def _sandwich(inverse: Matrix, pulled: Matrix, residual: Matrix, groups: Groups) -> Matrix:
    """G (block diagonal of T_g R_gᵀ) G; of rows left out alone it is half the work."""
    alone = np.maximum(np.einsum("nc,nc->n", pulled, residual), 0.0)
    for group in groups:
        alone[group] = 0.0
    half = inverse * np.sqrt(alone)
    out = half @ half.T
    for group in groups:
        out += (inverse[:, group] @ pulled[group]) @ (inverse[:, group] @ residual[group]).T
    return np.asarray(out)
