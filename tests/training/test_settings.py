"""Settings in their text form: read as they are written, and every mistake told."""

from dataclasses import dataclass, field
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.training.settings import (
    Parameter,
    complete,
    parameter_mistakes,
    parse,
    unknown,
)


@dataclass(frozen=True)
class Row:
    parameters: dict[str, Parameter] = field(default_factory=dict)


ROWS = MappingProxyType(
    {
        "plain": Row(),
        "bent": Row(
            {
                "gamma": Parameter(2.0, 0, 5, "how bent"),
                "steps": Parameter(3, 1, 9, "whole", whole=True),
            }
        ),
    }
)


@pytest.mark.parametrize(
    ("text", "name", "given"),
    [
        ("plain", "plain", {}),
        (" bent ", "bent", {}),
        ("bent:gamma=1.5", "bent", {"gamma": 1.5}),
        ("bent:gamma=0,steps=9", "bent", {"gamma": 0, "steps": 9}),
        ("bent: gamma = 5 , steps = 1 ", "bent", {"gamma": 5, "steps": 1}),
        ("bent:gamma=1e-3", "bent", {"gamma": 0.001}),
    ],
)
def test_text_is_read(text: str, name: str, given: dict[str, float]) -> None:
    assert parse("shape", text, ROWS) == (name, given)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["shape: '' is unknown; Known: plain, bent"]),
        ("bend", ["shape: 'bend' is unknown; did you mean bent? Known: plain, bent"]),
        ("plain:gamma=1", ["parameter of shape plain: 'gamma' is unknown; Known: none"]),
        ("bent:gama=1", ["parameter of shape bent: 'gama' is unknown; did you mean gamma? Known"]),
        ("bent:gamma=6", ["shape bent: gamma: 6 is not a number from 0 to 5"]),
        ("bent:gamma=nan", ["shape bent: gamma: nan is not a number from 0 to 5"]),
        ("bent:gamma=1e999", ["shape bent: gamma: inf is not a number from 0 to 5"]),
        ("bent:steps=2.5", ["shape bent: steps: 2.5 is not a whole number from 1 to 9"]),
        ("bent:gamma", ["shape bent: 'gamma' is not parameter=number, each once"]),
        ("bent:", ["shape bent: '' is not parameter=number, each once"]),
        ("bent:gamma=x,=1", ["shape bent: 'gamma=x' is not", "shape bent: '=1' is not"]),
        ("bent:gamma=1,gamma=2", ["shape bent: 'gamma=2' is not parameter=number, each once"]),
        ("bent:steps=0,gamma=-1", ["shape bent: steps: 0", "shape bent: gamma: -1"]),
        ("bnt:gamma=", ["shape: 'bnt' is unknown", "shape bnt: 'gamma=' is not"]),
    ],
)
def test_every_mistake_is_told(text: str, mistakes: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse("shape", text, ROWS)
    assert len(caught.value.mistakes) == len(mistakes)
    for told, expected in zip(caught.value.mistakes, mistakes, strict=True):
        assert told.startswith(expected)


@given(st.floats(0, 5), st.integers(1, 9))
def test_what_is_written_is_read_exactly(gamma: float, steps: int) -> None:
    assert parse("shape", f"bent:gamma={gamma!r},steps={steps}", ROWS).parameters == {
        "gamma": gamma,
        "steps": steps,
    }


@given(st.text(alphabet="bent:gama,=0.5e-9 \x00é", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        name, given = parse("shape", text, ROWS)
    except UsageError:
        return
    assert not parameter_mistakes(f"shape {name}", given, ROWS[name])


def test_numbers_from_code_are_checked_alike() -> None:
    row = ROWS["bent"]
    assert parameter_mistakes("shape", {"gamma": 1, "steps": 2}, row) == []
    wrong = {"gamma": True, "steps": 2.0, "delta": 1}
    assert [mistake.split(";")[0] for mistake in parameter_mistakes("shape", wrong, row)] == [
        "shape: gamma: True is not a number from 0 to 5",
        "shape: steps: 2.0 is not a whole number from 1 to 9",
        "parameter of shape: 'delta' is unknown",
    ]


def test_what_is_not_given_has_its_default() -> None:
    assert complete({"gamma": 1.0}, ROWS["bent"]) == {"gamma": 1.0, "steps": 3}
    assert complete({}, ROWS["plain"]) == {}


def test_close_names_are_proposed() -> None:
    assert unknown("log", "TensorBord", ["jsonl", "tensorboard"]) == (
        "log: 'TensorBord' is unknown; did you mean tensorboard? Known: jsonl, tensorboard"
    )
    assert unknown("log", 3, []) == "log: 3 is unknown; Known: none"
