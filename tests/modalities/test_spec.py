"""InputSpec: what it refuses, and that it survives the way through a bundle's JSON."""

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.modalities.spec import FITS, INTERPOLATIONS, InputSpec

triples = st.tuples(*[st.floats(0, 1)] * 3)
specs = st.builds(
    InputSpec,
    size=st.integers(8, 2048),
    fit=st.sampled_from(FITS),
    crop_fraction=st.floats(0, 1, exclude_min=True),
    interpolation=st.sampled_from(INTERPOLATIONS),
    mean=triples,
    std=st.tuples(*[st.floats(1e-3, 1)] * 3),
    views=st.sampled_from([("centre",), ("centre", "whole-mirrored")]),
)


@given(specs)
def test_a_spec_survives_json(spec: InputSpec) -> None:
    again = InputSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 7),
        ("size", 2049),
        ("size", 224.0),
        ("size", "224"),
        ("size", True),
        ("size", None),
        ("fit", "stretch"),
        ("interpolation", "cubic"),
        ("crop_fraction", 0),
        ("crop_fraction", 1.01),
        ("crop_fraction", float("nan")),
        ("crop_fraction", "0.9"),
        ("mean", (0.5, 0.5)),
        ("mean", (0.5, 0.5, float("nan"))),
        ("mean", 0.5),
        ("mean", "abc"),
        ("std", (0.5, 0.5, 0)),
        ("std", (0.5, 0.5, -1)),
        ("std", (0.5, 0.5, float("inf"))),
        ("views", ()),
        ("views", "centre"),
        ("views", ("centre", "centre")),
        ("views", (1,)),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name}: .*") as caught:
        InputSpec(**{name: value})
    assert repr(value) in str(caught.value)
    assert len(caught.value.mistakes) == 1


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        InputSpec(size=1, fit="x", crop_fraction=2, interpolation="x", std=(0, 0, 0), views=())
    names = [mistake.split(":")[0] for mistake in caught.value.mistakes]
    assert names == ["size", "fit", "interpolation", "crop_fraction", "std", "views"]


def test_unknown_parts_are_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"channels: .*known: size, fit") as caught:
        InputSpec.from_dict({"channels": 3, "colour": "RGB"})
    assert len(caught.value.mistakes) == 2


def test_another_size_changes_nothing_else() -> None:
    spec = InputSpec(size=224, fit="pad", views=("whole-mirrored",))
    assert spec.at(None) is spec
    assert spec.at(64).to_dict() == spec.to_dict() | {"size": 64}
    with pytest.raises(UsageError, match="size: 4 "):
        spec.at(4)


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        InputSpec().size = 128  # type: ignore[misc]
