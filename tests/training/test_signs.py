"""Signs: what is told of a curve, and what is not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.training.plan import Plan
from regraft.training.signs import Point, before_training, during_training

Tiny = Any  # of conftest.py


def point(step: int, loss: float = 1.0, **more: float) -> Point:
    return Point(step=step, epoch=step / 10, seconds=float(step), loss=loss, rate=1e-3, **more)


def curve(held: list[tuple[float, float]], losses: list[float] | None = None) -> list[Point]:
    """Looks of (loss, accuracy) on held-back examples, an epoch apart."""
    train = losses or [1.0] * len(held)
    return [
        point(10 * (i + 1), train[i], held_loss=loss, held_accuracy=accuracy)
        for i, (loss, accuracy) in enumerate(held)
    ]


def told(points: list[Point], majority: float = 0.5, start: float | None = 1.0) -> list[str]:
    return list(during_training(points, majority, start))


def test_a_good_run_says_nothing() -> None:
    assert told(curve([(0.9, 0.7), (0.6, 0.8), (0.5, 0.9)], [1.0, 0.5, 0.2])) == []
    assert told([]) == []
    assert told([point(1), point(2), point(3)]) == []  # nothing is held back


def test_always_the_commonest_class_is_a_collapse() -> None:
    (sign,) = told(curve([(0.7, 0.5), (0.69, 0.505)]))
    assert sign.startswith("collapse: after 2.0 epochs it is right for 50%")
    assert told(curve([(0.7, 0.5), (0.69, 0.52)])) == []
    early = [point(1, held_loss=1.0, held_accuracy=0.5), point(9, held_loss=1.0, held_accuracy=0.5)]
    assert told(early) == []  # before the end of the first epoch


def test_a_held_back_loss_that_rises_is_overfitting() -> None:
    (sign,) = told(curve([(0.4, 0.9), (0.9, 0.8)], [0.5, 0.01]), start=0.5)
    assert sign.startswith("overfitting: on held-back examples the loss went from 0.40 up to 0.90")
    assert "while training fell to 0.01" in sign
    assert told(curve([(0.4, 0.9), (0.7, 0.8)]), start=0.5) == []  # not by half
    assert told(curve([(0.4, 0.9), (0.9, 0.8)]), start=None) == []


def test_what_was_nearly_perfect_may_rise_a_little() -> None:
    assert told(curve([(0.001, 1.0), (0.05, 0.99)]), start=0.001) == []


def test_a_training_loss_that_rises_is_told() -> None:
    held = [(0.6, 0.8)] * 3
    (sign,) = told(curve(held, [1.0, 1.5, 2.5]))
    assert sign.startswith("rising: the training loss went from 1.00 to 2.50")
    assert "the rate (1.0e-03) is too high" in sign
    assert told(curve(held, [1.0, 1.5, 1.9])) == []
    assert told(curve(held, [0.01, 0.1, 0.15])) == []


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1), st.floats(0, 9)), max_size=9))
def test_any_curve_can_be_told_of(looks: list[tuple[float, float, float]]) -> None:
    """And each sign begins with a word of its own, by which it is said once."""
    points = curve([look[:2] for look in looks], [look[2] for look in looks])
    kinds = [sign.split(":")[0] for sign in told(points)]
    assert set(kinds) <= {"collapse", "overfitting", "rising"}
    assert len(set(kinds)) == len(kinds)


def test_a_sign_is_said_once_in_a_run(tiny: Tiny) -> None:
    run = tiny("resnet").ready("tune-norm").training(held=tiny("resnet").held)
    said: list[str] = []
    run.progress.say = said.append
    for number, loss in enumerate([0.5, 1.5, 2.5, 3.5, 4.5]):
        held = {"held_loss": 0.1, "held_accuracy": 0.9}
        run.curve.append(point(number, loss, **held))
        run._warn()
    assert len(said) == 1
    assert said == run.warnings


@pytest.mark.parametrize(
    ("norm", "examples", "batch", "warns"),
    [
        ("free", 100, 32, True),
        ("free", 9_999, 32, True),
        ("free", 10_000, 15, True),
        ("free", 10_000, 16, False),
        ("frozen", 100, 8, False),
        ("estimated", 100, 8, False),
    ],
)
def test_free_statistics_of_few_examples_are_warned_of(
    norm: str, examples: int, batch: int, warns: bool
) -> None:
    plan = Plan("copy", 32, 10, batch=batch, norm=norm)
    signs = list(before_training(plan, examples))
    assert len(signs) == warns
    for sign in signs:
        assert f"{examples:,} examples in batches of {batch}" in sign
        assert "norm = frozen avoids that" in sign
