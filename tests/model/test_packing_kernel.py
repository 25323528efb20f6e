"""The kernel parts of a head in a bundle: what is whole is taken, what is forged is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from regraft.model.packing import wrong_head
from regraft.transfer.probe import fit_wide_head

TOLD = {"classes": ["a", "b"]}


@pytest.fixture
def head() -> dict[str, Any]:
    """Arrays of a head with two kernel parts."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 12)).astype(np.float32), np.arange(30) % 2
    fit = fit_wide_head(x, labels, classes=2, widths=(7, 5), lasts=(0, 1), seed=0)
    return fit.head.tensors()


def test_a_whole_one_is_taken(head: dict[str, Any]) -> None:
    assert list(wrong_head(head, TOLD)) == []


FORGERIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "missing": lambda head: head.pop("kernel-0.points"),
    "numbered wrongly": lambda head: head.update({"kernel-7.first": head["kernel-0.first"]}),
    "no number": lambda head: head.update({"kernel-x.first": head["kernel-0.first"]}),
    "nested": lambda head: head.update({"kernel-0.first.more": head["kernel-0.first"]}),
    "beyond": lambda head: head.update({"kernel-1.first": np.array([8])}),
    "before": lambda head: head.update({"kernel-1.first": np.array([-1])}),
    "of another size": lambda head: head.update({"kernel-0.points": np.ones((3, 30))}),
    "of other classes": lambda head: head.update({"kernel-0.coefficients": np.ones((30, 3))}),
    "no number at all": lambda head: head.update({"kernel-0.shift": np.full(7, np.nan)}),
    "text": lambda head: head.update({"kernel-0.factor": np.array(["a"] * 7)}),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_one_is_refused(head: dict[str, Any], name: str) -> None:
    FORGERIES[name](head)
    told = list(wrong_head(head, TOLD))
    assert told
    assert all(line.startswith("head") for line in told)
