"""Several heads as one: the weighted sum of their scores is a head again.

So an ensemble of models is one model: its networks side by side under one head, which everything
that reads a model understands. Networks that several members share stand in it once.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from regraft.transfer.kernel import KernelPart
from regraft.transfer.probe import Head
from regraft.transfer.scaling import BlockScaling

Columns = npt.NDArray[np.int64]


def stacked(
    heads: Sequence[Head],
    factors: Sequence[float],
    blocks: Sequence[Sequence[int]] | None = None,
) -> Head:
    """One head on the features of several: the sum of their scores times factors.

    blocks  of each head, which blocks of the joint features it reads, in its own order; None: the
            features of the heads stand side by side

    Where several heads read a block, it is normalised as the first of them does it, and the
    coefficients of the others are converted.
    """
    of_heads = _side_by_side(heads) if blocks is None else [list(own) for own in blocks]
    widths = _widths(heads, of_heads)
    begins = np.cumsum([0, *widths])
    shift, factor = np.zeros(begins[-1]), np.zeros(begins[-1])
    weights, intercept = np.zeros(len(widths)), 0.0
    coefficients = np.zeros((int(begins[-1]), heads[0].coefficients.shape[1]))
    kernels: list[KernelPart] = []
    for head, times, own in zip(heads, factors, of_heads, strict=True):
        at = np.concatenate([np.arange(begins[b], begins[b + 1]) for b in own])
        new = factor[at] == 0
        shift[at[new]], factor[at[new]] = head.scaling.shift[new], head.scaling.factor[new]
        ratio = np.divide(head.scaling.factor, factor[at], out=np.zeros(len(at)), where=~new)
        ratio[new] = head.scaling.factor[new] != 0  # a blank column of this one adds nothing
        moved = (shift[at] - head.scaling.shift) * head.scaling.factor
        coefficients[at] += times * ratio[:, None] * head.coefficients[:-1]
        intercept = intercept + times * (head.coefficients[-1] + moved @ head.coefficients[:-1])
        weights[own] = np.where(weights[own] == 0, head.weights, weights[own])
        kernels += [_moved(part, times, at) for part in head.kernels]
    scaling = BlockScaling(shift, factor, widths)
    whole = np.vstack([coefficients, np.asarray(intercept)[None]])
    return Head(scaling, whole, tuple(map(float, weights)), heads[0].lam, tuple(kernels))


def reordered(head: Head, order: Sequence[int]) -> Head:
    """The head with its classes in another order: its k-th is `order[k]` of now."""
    places = list(order)
    kernels = tuple(
        replace(part, coefficients=np.ascontiguousarray(part.coefficients[:, places]))
        for part in head.kernels
    )
    return replace(head, coefficients=head.coefficients[:, places].copy(), kernels=kernels)


def _side_by_side(heads: Sequence[Head]) -> list[list[int]]:
    ends = np.cumsum([0, *(len(head.weights) for head in heads)])
    return [list(range(a, b)) for a, b in itertools.pairwise(ends)]


def _widths(heads: Sequence[Head], blocks: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Columns of each joint block."""
    found: dict[int, int] = {}
    for head, own in zip(heads, blocks, strict=True):
        found |= dict(zip(own, head.scaling.widths, strict=True))
    return tuple(found[block] for block in range(len(found)))


def _moved(part: KernelPart, times: float, at: Columns) -> KernelPart:
    """A part on the joint features: its block begins where that of its own head has gone."""
    first = part.landmarks.first
    return part.times(times, int(at[first]) - first)
