"""AutoAttack: exact on a linear classifier, and the library's own evaluation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from regraft.robustness.attacks import L2, LINF, TOP
from regraft.robustness.autoattack import run_autoattack, square, suite

pytest.importorskip("pyautoattack")
DUAL = {"linf": 1.0, "l2": 2.0}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer steps and queries: a linear classifier needs no more."""
    from regraft.robustness import autoattack

    make = autoattack._library

    def made(*asked: Any) -> Any:
        library = make(*asked)
        library.square.n_queries = 50
        for part in (library.apgd, library.apgd_targeted, library.fab):
            part.n_iter = 20
        return library

    monkeypatch.setattr(autoattack, "_library", made)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("norm", "classes"),
    [(LINF, 2), (LINF, 3), (LINF, 4), (L2, 4)],
    ids=lambda one: str(getattr(one, "name", one)),
)
def test_linear_answers_fall_where_they_must(
    norm: Any, classes: int, linear: Any, noise: Tensor
) -> None:
    """No more than the theory allows, and nearly all of it; what holds is counted as holding."""
    box, x = linear(classes).requires_grad_(False), noise[:8]
    y = box(x).argmax(1)
    distance = box.distance(x, y, DUAL[norm.name])
    eps = float(distance.median())
    found = run_autoattack(box, x, y, norm, eps, classes=classes)
    clear = (distance < 0.95 * eps) | (distance > 1.05 * eps)
    assert (found.holds == (distance > eps))[clear].all()
    assert (norm.size(found.pictures - x) <= eps * 1.001).all()
    assert (box(found.pictures).argmax(1) == y).equal(found.holds)


@pytest.mark.slow
def test_it_is_the_library_s_standard_evaluation(small: Any, right: Any) -> None:
    from pyautoattack import AutoAttack

    x, y, eps = right.x[:6], right.y[:6], 4.0
    found = run_autoattack(small, x, y, LINF, eps, classes=10, seed=3)
    library = AutoAttack(lambda z: small(z * TOP), eps=eps / TOP, norm="Linf", seed=3)
    library.verbose = False
    changed, _ = library.run_standard_evaluation(x / TOP, y)
    holds = small(changed * TOP).argmax(1) == y
    assert found.holds.equal(holds)
    assert 0 < int(holds.sum()) < 6


def test_few_classes_get_what_can_be_run_and_are_told_so() -> None:
    assert suite(10).told == "AutoAttack standard"
    assert suite(10).targets == 9
    assert suite(4).told == "AutoAttack standard, aimed at 3 classes"
    assert "apgd-t" not in suite(3).attacks
    assert "apgd-dlr" not in suite(2).attacks
    assert suite(2).told.startswith("AutoAttack for 2 classes")


def test_no_generator_of_others_moves(linear: Any, noise: Tensor) -> None:
    box = linear(4).requires_grad_(False)
    y = box(noise).argmax(1)
    before = torch.random.get_rng_state()
    square(box, noise, y, L2, 30.0, queries=5, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_without_the_library_the_extra_is_named(
    linear: Any, noise: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from regraft.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(MissingExtra, match=r"regraft\[robust\]"):
        square(linear(4), noise, torch.zeros(40, dtype=torch.long), LINF, 1.0, queries=1, seed=0)
