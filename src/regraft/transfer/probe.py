"""The probe: a closed-form head on frozen features of all blocks, selected by leave-one-out.

    head, left_out, error = fit_head(features, labels, classes=10, widths=network.block_widths)

features → BlockScaling → block weights (subsample) → λ (all rows) → Head; the leave-one-out scores
then give temperature, conformal sets, label-noise scores and the ranking of backbones at no further
cost. Linear heads on all layers come near full fine-tuning: Head2Toe, Evci et al. 2201.03529.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.errors import DataError, UsageError
from regraft.transfer.block_weights import Sample
from regraft.transfer.block_weights import weigh as weigh_blocks
from regraft.transfer.kernel import KernelPart, Landmarks, last_blocks
from regraft.transfer.ridge import (
    LAMBDAS,
    Matrix,
    Moments,
    best_dual,
    from_dual,
    members,
)
from regraft.transfer.scaling import Array, BlockScaling, Integers, mean_and_variance
from regraft.transfer.streaming import Pool, left_out_scores

PRIMAL_ABOVE = 2.0  # rows for each column: above, ZᵀZ is decomposed instead of K
CHUNK = 4096  # rows that the primal takes at a time from features in memory

KERNEL = "kernel-"  # begins the names of the arrays of a kernel part
NO_ROWS = "features: there are no rows to learn from"


@dataclass(frozen=True)
class Head:
    """Linear classifier on raw frozen features.

    scaling       raw (d,) → normalised and weighted (d,)
    coefficients  (d + 1, c), the intercept last
    weights       (blocks,) kernel weight of each block
    lam           λ relative to the mean diagonal of the kernel
    kernels       what similarities to landmarks add, see `kernel`
    """

    scaling: BlockScaling
    coefficients: Matrix
    weights: tuple[float, ...]
    lam: float
    kernels: tuple[KernelPart, ...] = ()

    def scores(self, features: Array) -> Matrix:
        """(n, d) raw features → (n, c) scores, about 1 for the class and 0 for the others.

        Each row is computed alone, so that its scores don't depend on what comes with it: a product
        of one row and of many may differ in the last bit, and so may one by columns in memory.
        """
        rows, columns = self.scaling(features), np.ascontiguousarray(self.coefficients[:-1])
        linear = np.matmul(rows[:, None], columns)[:, 0] + self.coefficients[-1]
        return sum((part.scores(features) for part in self.kernels), linear)

    def times(self, factor: Matrix, shift: Matrix) -> "Head":
        """The head whose scores are these times `factor` plus `shift`, each (c,)."""
        coefficients = self.coefficients * factor
        coefficients[-1] += shift
        kernels = tuple(part.times(factor) for part in self.kernels)
        return replace(self, coefficients=coefficients, kernels=kernels)

    def without(self, blocks: Iterable[int]) -> "Head":
        """The head that takes no notice of some blocks."""
        coefficients, gone = self.coefficients.copy(), set[int]()
        for first, width in last_blocks(self.scaling.widths, [*blocks]):
            coefficients[first : first + width] = 0
            gone.add(first)
        kernels = tuple(part for part in self.kernels if part.landmarks.first not in gone)
        return replace(self, coefficients=coefficients, kernels=kernels)

    def even(self) -> "Head":
        """The same scores from normalised features in which all blocks count the same.

        For training: a step is as long for the coefficients of each block.
        """
        root = self._roots()[:, None]
        scaled = np.vstack([self.coefficients[:-1] * root, self.coefficients[-1:]])
        ones = (1.0,) * len(self.weights)
        return replace(self, scaling=self.even_scaling(), coefficients=scaled, weights=ones)

    def even_scaling(self) -> BlockScaling:
        """Raw → normalised, all blocks counting the same: what is new shows in shallow ones too."""
        root, factor = self._roots(), self.scaling.factor
        even = np.divide(factor, root, out=np.zeros_like(root), where=root > 0)
        return BlockScaling(self.scaling.shift, even, self.scaling.widths)

    def _roots(self) -> Matrix:
        """(d,) what the weights multiply normalised features by."""
        return np.sqrt(np.repeat(np.asarray(self.weights, float), self.scaling.widths))

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays for the bundle; `from_tensors` reads them back bit for bit."""
        return {
            "shift": np.asarray(self.scaling.shift),
            "factor": np.asarray(self.scaling.factor),
            "widths": np.asarray(self.scaling.widths, np.int64),
            "coefficients": self.coefficients,
            "weights": np.asarray(self.weights),
            "lam": np.asarray([self.lam]),
            **{
                f"{KERNEL}{i}.{name}": array
                for i, part in enumerate(self.kernels)
                for name, array in part.tensors().items()
            },
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, npt.NDArray[Any]]) -> "Head":
        """The head whose `tensors` these are."""
        widths = tuple(int(w) for w in tensors["widths"])
        scaling = BlockScaling(tensors["shift"], tensors["factor"], widths)
        weights = tuple(float(w) for w in tensors["weights"])
        numbers = sorted({int(n.split(".")[0][len(KERNEL) :]) for n in tensors if KERNEL in n})
        kernels = tuple(KernelPart.from_tensors(kernel_tensors(tensors, i)) for i in numbers)
        return cls(scaling, tensors["coefficients"], weights, float(tensors["lam"][0]), kernels)


def kernel_tensors(
    tensors: Mapping[str, npt.NDArray[Any]], number: int
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of one kernel part of a head, without the beginning of their names."""
    begin = f"{KERNEL}{number}."
    return {name[len(begin) :]: a for name, a in tensors.items() if name.startswith(begin)}


class HeadFit(NamedTuple):
    """A head and what leave-one-out says of it: scores (n, c) and the mean squared error."""

    head: Head
    left_out: Matrix
    error: float


def one_hot(labels: Integers, classes: int) -> Matrix:
    """(n,) int → (n, classes) of zeros and ones."""
    return np.eye(classes)[labels]


# Of each chunk features and labels, and targets where these are not the labels' own.
Chunk = tuple[Array, Integers] | tuple[Array, Integers, Matrix]
Chunks = Callable[[], Iterable[Chunk]]


def fit_head(
    features: Array,
    labels: Integers,
    *,
    classes: int,
    widths: Sequence[int],
    groups: Integers | None = None,
    seed: int = 0,
    lambdas: Array = LAMBDAS,
    weigh: bool = True,
    targets: Matrix | None = None,
) -> HeadFit:
    """Fit the head on features in memory.

    features  (n, d) raw frozen features, the blocks side by side
    labels    (n,) int, below `classes`
    widths    columns of each block; they add up to d
    groups    (n,) int; rows with the same number are left out together (duplicates, one patient)
    seed      of the rows that find the block weights
    lambdas   the λ to choose from, relative to the mean diagonal of the kernel
    weigh     choose block weights by leave-one-out; else all blocks count the same
    targets   (n, k) what the head should say; None: one-hot labels. With targets the labels only
              tell which rows are alike, for drawing some of them

    Raises UsageError if the shapes don't fit together, DataError for features that are no numbers.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    _refuse_parameters(classes, widths, lambdas)
    _refuse_rows(features, labels, classes, widths)
    if len(labels) == 0:
        raise UsageError(NO_ROWS)
    together = _groups(groups, len(labels))
    wanted = one_hot(labels, classes) if targets is None else _checked(targets, len(labels))
    if len(labels) > PRIMAL_ABOVE * features.shape[1]:
        return fit_head_streamed(
            lambda: _slices(features, labels, wanted),
            classes=classes,
            widths=widths,
            groups=together,
            lambdas=lambdas,
            seed=seed,
            weigh=weigh,
        )
    plain = BlockScaling.of(*mean_and_variance(features), widths)
    pool = Pool(seed).add(features, labels, wanted, together)
    chosen = weigh_blocks(plain, Sample(*pool.rows()), seed, free=weigh)
    scaling = plain.weighted(chosen.weights)
    rows = scaling(features)
    guess = chosen.guess(len(labels))
    best, _ = best_dual(rows, wanted, np.asarray(lambdas), guess, members(together))
    head = Head(scaling, from_dual(rows, best.dual), tuple(map(float, chosen.weights)), best.lam)
    return HeadFit(head, best.left_out, best.error)


def fit_wide_head(
    features: Array,
    labels: Integers,
    *,
    widths: Sequence[int],
    lasts: Sequence[int],
    seed: int = 0,
    **settings: Any,
) -> HeadFit:
    """As `fit_head`, with similarities to landmarks beside the blocks; see `kernel`.

    lasts  numbers of the blocks that are compared: the last one of each network

    The features are (n, d) raw ones, without similarities: the head computes them itself. All
    blocks count the same: weights that some of the rows choose give similarities too much.
    """
    raw = np.asarray(features)
    places = [Landmarks.of(raw, *place, seed) for place in last_blocks(widths, lasts)]
    white = [one.whitening() for one in places]
    blocks = [one.similarities(raw) @ w for one, w in zip(places, white, strict=True)]
    wide = np.hstack([raw, *blocks])
    sizes = [block.shape[1] for block in blocks]
    fit = fit_head(wide, labels, widths=(*widths, *sizes), seed=seed, weigh=False, **settings)
    return fit._replace(head=_folded(fit.head, places, white, raw.shape[1]))


def _folded(head: Head, places: Sequence[Landmarks], white: Sequence[Matrix], d: int) -> Head:
    """A head on similarities that are whitened and scaled → on the similarities themselves."""
    shift, factor = head.scaling.shift, head.scaling.factor
    intercept, kernels, begin = head.coefficients[-1].copy(), [], d
    for one, whitening in zip(places, white, strict=True):
        own = slice(begin, begin + one.points.shape[1])
        scaled = factor[own, None] * head.coefficients[own]
        intercept -= shift[own] @ scaled
        kernels.append(KernelPart(one, whitening @ scaled))
        begin = own.stop
    scaling = BlockScaling(shift[:d], factor[:d], head.scaling.widths[: -len(places)])
    coefficients = np.vstack([head.coefficients[:d], intercept])
    weights = head.weights[: -len(places)]
    return Head(scaling, coefficients, weights, head.lam, tuple(kernels))


def _slices(features: Array, labels: Integers, targets: Matrix) -> Iterator[Chunk]:
    for start in range(0, len(labels), CHUNK):
        here = slice(start, start + CHUNK)
        yield features[here], labels[here], targets[here]


def _targets(chunk: Chunk, classes: int) -> tuple[Array, Integers, Matrix]:
    """A chunk with its targets."""
    features, labels, *rest = chunk
    return features, labels, rest[0] if rest else one_hot(labels, classes)


def _checked(targets: Matrix, rows: int) -> Matrix:
    found = np.asarray(targets, np.float64)
    if found.ndim != 2 or len(found) != rows or not np.isfinite(found).all():
        raise UsageError(f"targets: expected {rows} rows of finite numbers, got {found.shape}")
    return found


def _groups(groups: Integers | None, rows: int) -> Integers:
    """Each row a group of its own where none are given."""
    if groups is None:
        return np.arange(rows)
    if np.shape(groups) != (rows,):
        raise UsageError(f"groups: expected one number for each of {rows} rows, got {groups}")
    return np.asarray(groups)


def fit_head_streamed(
    chunks: Chunks,
    *,
    classes: int,
    widths: Sequence[int],
    groups: Integers | None = None,
    lambdas: Array = LAMBDAS,
    seed: int = 0,
    weigh: bool = True,
) -> HeadFit:
    """Fit the head on features that do not fit into memory.

    chunks  called three times; each time yields (features (m, d), labels (m,)) of the same rows in
            the same order, some thousand at a time; with targets (m, k) as in `fit_head` or without

    The rest as in `fit_head`. Memory is that of some (d, d) matrices, a few chunks, 3,000 rows, the
    leave-one-out scores (n, c), the leverages (n, λ) and the rows that share a group; time is
    linear in the number of rows. With one chunk or many the head is the same to rounding.
    """
    _refuse_parameters(classes, widths, lambdas)
    moments, pool = _first_pass(chunks, classes, widths, seed)
    together = _groups(groups, moments.count)
    plain = BlockScaling.of(*moments.mean_and_variance(), widths)
    features, labels, wanted, positions = pool.rows()
    sample = Sample(features, labels, wanted, together[positions])
    weights = weigh_blocks(plain, sample, seed, free=weigh).weights
    scaling = plain.weighted(weights)
    spectrum = moments.spectrum(scaling.shift, scaling.factor)
    lam, left_out, error = left_out_scores(
        spectrum,
        lambda: ((scaling(x), t) for x, _, t in (_targets(c, classes) for c in chunks())),
        np.asarray(lambdas),
        members(together),
        moments.count,
    )
    head = Head(scaling, spectrum.coefficients(lam), tuple(map(float, weights)), lam)
    return HeadFit(head, left_out, error)


def _first_pass(
    chunks: Chunks, classes: int, widths: Sequence[int], seed: int
) -> tuple[Moments, Pool]:
    """Sums over all rows, and the rows for the block weights."""
    moments, pool = Moments(np.zeros(sum(widths)), classes), Pool(seed)
    for chunk in chunks():
        features, labels = chunk[0], chunk[1]
        _refuse_rows(features, labels, classes, widths, moments.count)
        if not len(labels):
            continue
        wanted = _targets(chunk, classes)[2]
        if moments.count == 0:
            moments = Moments(np.mean(features, 0, dtype=np.float64), wanted.shape[1])
        place = np.arange(moments.count, moments.count + len(labels))
        pool.add(features, labels, wanted, place)
        moments.add(features, wanted)
    if moments.count == 0:
        raise UsageError(NO_ROWS)
    return moments, pool


def _refuse_parameters(classes: int, widths: Sequence[int], lambdas: Array) -> None:
    mistakes = []
    if classes < 1:
        mistakes.append(f"classes: expected at least 1, got {classes}")
    if len(widths) == 0 or min(widths) < 1:
        mistakes.append(f"widths: expected at least one, all above 0, got {list(widths)}")
    grid = np.asarray(lambdas)
    if grid.ndim != 1 or not len(grid) or not (np.isfinite(grid) & (grid > 0)).all():
        mistakes.append(f"lambdas: expected one or several finite numbers above 0, got {lambdas}")
    if mistakes:
        raise UsageError(*mistakes)


def _refuse_rows(
    features: Array, labels: Integers, classes: int, widths: Sequence[int], first: int = 0
) -> None:
    """first: number of the first row, for messages."""
    mistakes, wanted = [], (len(labels), sum(widths))
    if np.shape(features) != wanted:
        mistakes.append(
            f"features: expected {wanted[0]} rows of labels and {wanted[1]} columns of widths, "
            f"got shape {np.shape(features)}"
        )
    if np.ndim(labels) != 1 or np.asarray(labels).dtype.kind not in "iu":
        mistakes.append("labels: expected whole numbers, one for each row")
    elif len(wrong := np.flatnonzero((labels < 0) | (labels >= classes))):
        mistakes.append(
            f"labels: expected 0 to {classes - 1}, got {labels[wrong[0]]} in row {first + wrong[0]}"
            f" and {len(wrong) - 1} more"
        )
    if mistakes:
        raise UsageError(*mistakes)
    finite = np.isfinite(features).all(1)
    if not finite.all():
        bad = np.flatnonzero(~finite) + first
        raise DataError(
            f"features: {len(bad)} rows hold NaN or infinity (rows {bad[:5].tolist()} ...): these "
            "files were not read well, or the backbone overflows; leave them out"
        )
