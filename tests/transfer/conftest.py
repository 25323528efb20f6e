"""What tests of closed-form heads share."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Array = npt.NDArray[np.float64]
Refit = Callable[..., Array]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Threads of small products wait for each other when tests run side by side."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def refit() -> Refit:
    return left_out_by_refitting


def left_out_by_refitting(
    rows: Array, targets: Array, lam: float, groups: Sequence[npt.NDArray[np.int64]] = ()
) -> Array:
    """The definition: each row's (each group's) scores by ridge on all others, absolute λ.

    rows (n, d) hold no intercept: its column of ones is appended and regularised with the rest.
    """
    ones = np.hstack([rows, np.ones((len(rows), 1))])
    grouped = set(np.concatenate([*groups, np.empty(0, np.int64)]).tolist())
    alone = [np.array([i]) for i in range(len(rows)) if i not in grouped]
    out = np.empty_like(targets)
    for group in [*groups, *alone]:
        others = np.setdiff1d(np.arange(len(rows)), group)
        gram = ones[others].T @ ones[others] + lam * np.eye(ones.shape[1])
        out[group] = ones[group] @ np.linalg.solve(gram, ones[others].T @ targets[others])
    return out
