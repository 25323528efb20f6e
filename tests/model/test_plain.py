"""Plain data against dataclasses: what is missing, unknown or of a wrong type is named."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.model.plain import misfits


@dataclass(frozen=True)
class Inner:
    word: str
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    inner: Inner
    limit: float | None = None
    names: tuple[str, ...] = ()
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    options: Mapping[str, Any] = field(default_factory=dict)
    several: tuple[Inner, ...] = ()


GOOD = {"name": "a", "count": 3, "inner": {"word": "b"}}
FULL = asdict(Outer("a", 1, Inner("b"), 2.0, ("c",), (1.0, 2.0, 3.0), {"x": [1]}, (Inner("d"),)))


def fields_of(record: object) -> list[str]:
    return [line.split(":")[0] for line in misfits(Outer, record)]


@pytest.mark.parametrize("record", [GOOD, FULL, json.loads(json.dumps(FULL))])
def test_what_fits_is_accepted(record: dict[str, Any]) -> None:
    assert list(misfits(Outer, record)) == []


def test_a_whole_number_does_for_any_number_and_none_where_it_may_be() -> None:
    assert list(misfits(Outer, {**GOOD, "limit": 3, "mean": [1, 2, 3]})) == []
    assert list(misfits(Outer, {**GOOD, "limit": None})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("name", None),
        ("name", ["a"]),
        ("count", 3.0),
        ("count", True),
        ("count", "3"),
        ("count", 10**400),
        ("limit", "2"),
        ("limit", False),
        ("limit", float("nan")),
        ("limit", -(10**400)),
        ("names", "abc"),
        ("names", {"a": 1}),
        ("names", None),
        ("options", []),
        ("options", "x"),
        ("mean", [1.0, 2.0]),
        ("several", {}),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    assert fields_of({**GOOD, name: value}) == [name]


def test_places_inside_are_named() -> None:
    record = {**FULL, "several": [{"word": "a"}, {"share": True}], "names": ["a", 1]}
    assert fields_of(record) == ["names[1]", "several[1].word", "several[1].share"]


def test_everything_is_told_at_once() -> None:
    assert fields_of({"count": None, "colour": 1}) == ["name", "count", "inner", "colour"]


@pytest.mark.parametrize("record", [None, [], "name", 3, True])
def test_what_is_no_object_is_told(record: object) -> None:
    assert len(list(misfits(Outer, record))) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(sorted(FULL)), json_values)
def test_what_is_accepted_can_be_built(name: str, value: Any) -> None:
    """Whatever stands in a field: it is told, or it is of the type that the field has."""
    record = {**FULL, name: value}
    if list(misfits(Outer, record)):
        return
    made = Outer(**record)
    assert isinstance(made.name, str)
    assert type(made.count) is int
    assert all(isinstance(one, str) for one in made.names)
    assert len(made.mean) == 3
    assert dict(made.options) is not None
