"""Attacks against what is known: the bounds, the linear classifier, and rising losses."""

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from regraft.robustness.attacks import (
    L2,
    LINF,
    NORMS,
    TOP,
    Norm,
    cross_entropy,
    fgsm,
    gradient,
    margin,
    pgd,
)

DUAL = {"linf": 1.0, "l2": 2.0}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@given(seed=st.integers(0, 1000), eps=st.floats(0.01, 300))
@settings(max_examples=12)
def test_changes_are_brought_back_and_drawn_within_the_ball(
    norm: Norm, seed: int, eps: float
) -> None:
    torch.manual_seed(seed)
    change = torch.randn(5, 3, 4, 4) * 100
    for found in (norm.project(change, eps), norm.drawn(change, eps)):
        assert (norm.size(found) <= eps * (1 + 1e-5)).all()
    inside = norm.project(change, eps) / 2
    torch.testing.assert_close(norm.project(inside, eps), inside)
    assert (norm.size(norm.steepest(change)) <= 1 + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@given(seed=st.integers(0, 1000), eps=st.floats(0.1, 200))
@settings(max_examples=8)
def test_attacks_stay_within_the_change_and_the_range(
    norm: Norm, seed: int, eps: float, linear: Any
) -> None:
    torch.manual_seed(seed)
    x = (torch.rand(4, 3, 6, 6) * TOP).round()
    box, y = linear(4), torch.randint(0, 4, (4,))
    for changed in (fgsm(box, x, y, norm, eps), pgd(box, x, y, norm, eps, steps=3)):
        assert (norm.size(changed - x) <= eps * (1 + 1e-4)).all()
        assert changed.min() >= 0
        assert changed.max() <= TOP


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("losses", [margin, cross_entropy])
def test_of_two_classes_a_linear_answer_falls_exactly_where_it_must(
    norm: Norm, losses: Any, linear: Any, noise: Tensor
) -> None:
    box = linear(2)
    y = box(noise).argmax(1)
    distance = box.distance(noise, y, DUAL[norm.name])
    for share in (0.96, 1.04):
        sizes = [(x, y[i : i + 1], norm, share * float(distance[i])) for i, x in _each(noise)]
        one = torch.cat([fgsm(box, *asked, losses) for asked in sizes])
        many = torch.cat([pgd(box, *asked, steps=25, losses=losses) for asked in sizes])
        for changed in (one, many):
            within = (changed > 0).flatten(1).all(1) & (changed < TOP).flatten(1).all(1)
            fell = box(changed).argmax(1) != y
            assert within.sum() > 10
            assert (fell[within] == (share > 1)).all()


def _each(x: Tensor) -> list[tuple[int, Tensor]]:
    return [(i, x[i : i + 1]) for i in range(len(x))]


def test_more_steps_reach_a_higher_loss(small: Any, right: Any) -> None:
    losses = []
    for steps in (1, 4, 16):
        torch.manual_seed(0)
        changed = pgd(small, right.x, right.y, LINF, 8.0, steps=steps)
        losses.append(float(cross_entropy(small(changed), right.y).mean()))
    assert losses == sorted(losses)


def test_the_best_of_all_steps_is_given(small: Any, right: Any) -> None:
    found = {}
    for best in (True, False):
        torch.manual_seed(3)
        changed = pgd(small, right.x, right.y, L2, 300.0, steps=6, step=250.0, best=best)
        found[best] = cross_entropy(small(changed), right.y)
    assert (found[True] >= found[False] - 1e-5).all()
    assert (found[True] > found[False] + 1e-3).any()


def test_a_gradient_reaches_no_parameter_and_is_zero_without_a_way(linear: Any) -> None:
    box, x = linear(3), torch.rand(2, 3, 6, 6)
    assert gradient(lambda leaf: box(leaf)[:, 0], x).abs().sum() > 0
    assert box.weight.grad is None
    assert gradient(lambda leaf: torch.ones(2), x).abs().sum() == 0
    assert gradient(lambda leaf: box(leaf.round())[:, 0], x).abs().sum() == 0


def test_the_margin_is_the_best_wrong_score_less_the_right_one() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert margin(logits, torch.tensor([0, 2])).tolist() == [-1.0, 4.0]
