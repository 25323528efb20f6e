"""Settings of a recipe: each is read by what will obey it."""

from dataclasses import fields
from typing import Any

import pytest

from regraft.errors import UsageError
from regraft.recipe import Recipe
from regraft.training.plan import Plan
from regraft.training.readable import READ

GOOD: dict[str, list[Any]] = {
    "optimiser": ["adamw", "sgd:momentum=0.5", "lion"],
    "schedule": ["cosine", "one-cycle", "plateau:patience=3"],
    "loss": ["cross-entropy:smoothing=0.2", "focal:gamma=1"],
    "attack": ["none", "n-fgsm:eps=4", "trades-l2"],
    "sampling": ["plain", "balanced"],
    "weights": ["none", "inverse", "effective"],
    "norm": ["frozen", "estimated", "free"],
    "precision": ["float32", "bfloat16"],
    "log": [(), ("jsonl",), ("tensorboard", "mlflow")],
}

BAD: dict[str, list[tuple[Any, str]]] = {
    "optimiser": [("adamv", "did you mean adam"), ("sgd:momentun=1", "momentun")],
    "schedule": [("cosin", "did you mean cosine"), ("cosine:floor=x", "floor=x")],
    "loss": [("focal:gamma=-1", "gamma: -1"), ("binary", "is for labels; for classes")],
    "attack": [("pgdd", "did you mean pgd"), ("pgd:steps=0", "steps: 0")],
    "sampling": [("balance", "did you mean balanced")],
    "weights": [("inverted", "did you mean inverse")],
    "norm": [("freed", "did you mean free")],
    "precision": [("float16", "did you mean")],
    "log": [(("jsonl", "tensorbord"), "did you mean tensorboard")],
}


def test_every_reader_has_cases_and_is_of_a_field() -> None:
    assert set(READ) == set(GOOD) == set(BAD)
    known = {f.name for f in fields(Recipe)}
    assert set(READ) <= known
    assert set(READ) - {"log"} <= {f.name for f in fields(Plan)}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in GOOD.items() for v in values])
def test_what_can_be_obeyed_is_taken(name: str, value: Any) -> None:
    READ[name](value)


@pytest.mark.parametrize(
    ("name", "value", "told"), [(n, *case) for n, cases in BAD.items() for case in cases]
)
def test_what_cannot_be_obeyed_is_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        READ[name](value)
    assert str(caught.value).startswith((name, f"parameter of {name}"))


def test_all_unknown_logs_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        READ["log"](("wandb", "jsonl", "comet"))
    assert len(caught.value.mistakes) == 2


def test_the_defaults_of_a_plan_are_readable() -> None:
    plan = Plan("lp-ft", 64, 1)
    for name in set(READ) - {"log"}:
        READ[name](getattr(plan, name))
