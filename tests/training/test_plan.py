"""Plans: plain data both ways, all mistakes at once, and a key of everything that is in them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.training.plan import PRECISIONS, Plan

PLAN = Plan("lp-ft", 224, 100)

shares = st.floats(0, 1)
plans = st.builds(
    Plan,
    strategy=st.text(),
    size=st.integers(1, 999),
    steps=st.integers(0, 10**6),
    batch=st.integers(1, 999),
    rate=st.floats(0, 100),
    shallow=shares,
    frozen=shares,
    reinit=shares,
    augment=st.text(),
    weight_decay=st.floats(0, 1),
    clip=st.floats(0, 1e9),
    precision=st.sampled_from(PRECISIONS),
    seed=st.integers(0, 2**63),
)

# Another value for each field.
OTHER: dict[str, Any] = {
    "strategy": "copy",
    "size": 96,
    "steps": 101,
    "batch": 31,
    "rate": 2e-3,
    "shallow": 0.1,
    "head": 20.0,
    "frozen": 0.5,
    "reinit": 0.25,
    "optimiser": "sgd",
    "schedule": "constant",
    "loss": "focal",
    "augment": "none",
    "attack": "n-fgsm",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "average": 0.0,
    "clip": 0.0,
    "sampling": "balanced",
    "weights": "inverse",
    "norm": "free",
    "views": 2,
    "precision": "bfloat16",
    "seed": 1,
}


@given(plans)
def test_it_comes_back_from_json(plan: Plan) -> None:
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.key() == plan.key()


def test_each_field_changes_the_key() -> None:
    assert set(OTHER) == {f.name for f in fields(Plan)}
    keys = [replace(PLAN, **{name: value}).key() for name, value in OTHER.items()]
    assert len({PLAN.key(), *keys}) == len(OTHER) + 1


def test_what_else_decides_the_numbers_changes_the_key() -> None:
    keys = [PLAN.key(*what) for what in [(), ("a",), ("b",), ("a", "b"), ("ab",), ("b", "a")]]
    assert len(set(keys)) == 6
    assert PLAN.key("a", 1) == PLAN.key("a", "1")
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys)


WRONG: dict[str, list[Any]] = {
    "steps": [-1, 1.5, "10", True, None],
    "batch": [0, -3, 2.0],
    "size": [0, -1, None],
    "seed": [-1, 0.0],
    "views": [0],
    "warmup": [-0.1, 1.1, float("nan"), "x"],
    "average": [-0.1, 1.1],
    "shallow": [-0.1, 1.1],
    "head": [-1.0, 1e7],
    "frozen": [-0.1, 1.1],
    "reinit": [-0.1, 1.1],
    "rate": [-1e-9, 101, float("inf"), None],
    "weight_decay": [-0.1, float("nan")],
    "clip": [-1.0, float("nan"), float("inf"), "5"],
    "precision": ["float16", None],
    "optimiser": [None, 3],
    "strategy": [None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: expected .*, got "):
        replace(PLAN, **{name: value})


def test_all_mistakes_come_at_once() -> None:
    wrong = {name: values[0] for name, values in WRONG.items()}
    with pytest.raises(UsageError) as caught:
        Plan(**{**asdict(PLAN), **wrong})
    told = {mistake.partition(":")[0] for mistake in caught.value.mistakes}
    assert told == set(WRONG)


@pytest.mark.parametrize(
    ("record", "mistakes"),
    [
        ({}, ["size: missing", "steps: missing", "strategy: missing"]),
        (
            {**asdict(PLAN), "epochs": 3, "bacth": 8},
            ["bacth: not a part of a plan", "epochs: not a part of a plan"],
        ),
        ({"strategy": "copy", "size": 32, "step": 5}, ["step: not a part of", "steps: missing"]),
        ({**asdict(PLAN), "steps": "5"}, ["steps: expected a whole number of 0 or more, got '5'"]),
    ],
)
def test_another_record_is_refused(record: Mapping[str, Any], mistakes: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        Plan.from_dict(record)
    assert len(caught.value.mistakes) == len(mistakes)
    for told, expected in zip(caught.value.mistakes, mistakes, strict=True):
        assert told.startswith(expected)
