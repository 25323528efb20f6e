"""Random search: a black box for whatever has a length, by answers alone.

As Square does it for pictures (Andriushchenko et al. 2020, arXiv 1912.00049): at each query a
stretch of the example, shorter and shorter, gets a new change of full size, which stays where the
margin has grown.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from regraft.robustness.attacks import Norm, margin
from regraft.robustness.judging import AT_ONCE, seeded

SHARE = 0.5  # of the length that is changed at the first query
LEAST = 0.02  # at the last one


def random_search(
    box: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    *,
    queries: int,
    seed: int,
) -> Tensor:
    """Examples (n, ..., length, d), changed so that answers alone tell of a larger margin."""
    parts = []
    for some, own in zip(x.split(AT_ONCE), labels.split(AT_ONCE), strict=True):
        with seeded(seed), torch.no_grad():
            parts.append(_searched(box, some.float(), own, norm, eps, queries))
    return torch.cat(parts)


def _searched(
    box: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, norm: Norm, eps: float, queries: int
) -> Tensor:
    def full() -> Tensor:
        return eps * norm.steepest(norm.drawn(x, eps))

    best = norm.kept(x + full(), x)
    most, length = margin(box(best), labels), x.shape[-2]
    for query in range(queries):
        share = SHARE * (LEAST / SHARE) ** (query / queries)
        stretch = max(1, round(share * length))
        start = int(torch.randint(0, length - stretch + 1, ()))
        change = best - x
        change[..., start : start + stretch, :] = full()[..., start : start + stretch, :]
        tried = norm.kept(x + norm.project(change, eps), x)
        found = margin(box(tried), labels)
        higher = (found > most).view(-1, *[1] * (x.ndim - 1))
        best, most = torch.where(higher, tried, best), torch.maximum(most, found)
    return best
