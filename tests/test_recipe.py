"""Recipe: what was asked for, in and out of TOML and plain data, and every mistake by its name."""

import json
import tomllib
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.errors import UsageError
from regraft.recipe import Recipe, seconds

texts = st.text(max_size=20)
names = st.lists(st.text(min_size=1, max_size=12), max_size=3)
shares = st.tuples(*[st.integers(0, 1000)] * 3).filter(lambda parts: parts[0] > 0)
TEXTS = ("optimiser", "schedule", "loss", "augment", "attack", "sampling", "weights")
TEXTS += ("norm", "precision")
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "source": texts,
    "root": st.none() | texts,
    "label": st.none() | texts,
    "path_column": st.none() | texts,
    "text": st.none() | texts,
    "group": st.none() | texts,
    "split": st.none() | texts,
    "backbone": names,
    "size": st.none() | st.integers(8, 2048),
    "views": names,
    "engine": st.none() | texts,
    "licence": names,
    "parts": shares.map(lambda parts: [part / sum(parts) for part in parts]),
    "seed": st.integers(0, 2**64),
    "budget": st.floats(0, 1e9, exclude_min=True) | st.integers(1, 10**9),
    "strategy": names,
    "epochs": st.none() | st.floats(0.01, 1e4),
    "steps": st.none() | st.integers(1, 10**6),
    "batch": st.none() | st.integers(1, 10**6),
    "rate": st.none() | st.floats(1e-9, 100) | st.just("find"),
    "clip": st.none() | st.floats(0, 1e9),
    **dict.fromkeys(("warmup", "frozen", "reinit", "wish"), st.none() | st.floats(0, 1)),
    **dict.fromkeys(("micro_batch", "tiles"), st.none() | st.integers(1, 10**6)),
    **dict.fromkeys(("workers", "patience"), st.none() | st.integers(0, 10**6)),
    "compile": st.booleans(),
    "repair": st.booleans(),
    **dict.fromkeys(TEXTS, st.none() | texts),
    "weight_decay": st.none() | st.floats(0, 10),
    "average": st.none() | st.floats(0, 1),
    "log": names,
    "at": st.none() | texts,
    "positive": st.none() | texts,
    "labels": names,
    "separator": st.none() | texts,
    "detector": st.none() | texts,
    "head": st.none(),  # another one goes with one task: see below
    "start": st.none() | texts,
    "modality": st.none() | texts,
    "task": st.none() | texts,
    "window": st.none() | st.sampled_from(["file", "full", "percentile", "40,400"]),
    "patients": st.none() | st.just("shared"),
    "coverage": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "resamples": st.integers(100, 10**6),
}


def one_length(asked: dict[str, Any]) -> bool:
    """Steps and epochs exclude each other."""
    return asked.get("steps") is None or asked.get("epochs") is None


asked_for = st.fixed_dictionaries({}, optional=SETTINGS).filter(one_length)
recipes = asked_for.map(lambda asked: Recipe(**asked))

WRONG: dict[str, list[Any]] = {
    "source": [None, 3, b"photos", "caf\udce9"],
    "root": [3, b"photos"],
    "label": [3, ["label"], "\ud800"],
    "path_column": [0, True],
    "text": [0, []],
    "group": [0, {}],
    "split": [1.5, ()],
    "backbone": [3, [""], ["a", 1], {"a": 1}, "a,,b", ["a\udc00"]],
    "size": [0, -7, 2049, True, 64.0, "64"],
    "views": [7, [None], ","],
    "engine": [1, ["torch"]],
    "licence": [False, [["mit"]]],
    "parts": [
        None,
        3,
        "111",
        (),
        (1,),
        (0.5, 0.5),
        (0, 0.5, 0.5),
        (1.2, -0.1, -0.1),
        (0.7, 0.2, 0.2),
        (True, 0, 0),
        (float("nan"), 0.5, 0.5),
    ],
    "seed": [-1, 1.0, True, "1", None],
    "budget": [0, -1, "soon", "0s", "9" * 400, float("inf"), float("nan"), True, None, [60]],
    "strategy": [3, [""], "a,,b"],
    "epochs": [0, -1, 10_001, "3", True, float("nan")],
    "steps": [0, -1, 2.0, "10", True],
    "batch": [0, 1.5, "8", True],
    "rate": [0, -1e-3, 101, "1e-3", "seek", True, float("inf")],
    "clip": [-1, "5", True, float("nan")],
    **{name: [-0.1, 1.1, "0.1", True] for name in ("warmup", "frozen", "reinit", "wish")},
    **{name: [0, 1.5, "8", True] for name in ("micro_batch", "tiles")},
    **{name: [-1, 1.5, "4", True] for name in ("workers", "patience")},
    "compile": [1, "yes", None],
    "repair": [0, "no", None],
    **{name: [3, ["sgd"], "\ud800"] for name in TEXTS},
    "weight_decay": [-0.1, 11, "0.1", True],
    "average": [-0.1, 1.1, "0.1", True],
    "log": [3, [None], ","],
    **{
        name: [3, ["sgd"], "\ud800"]
        for name in ("at", "positive", "modality", "task", "separator", "detector", "start")
    },
    "head": [3, "new", "fresh"],
    "labels": [3, [""], "a,,b"],
    "window": [3, "bone", "40", "40,0", "\ud800"],
    "patients": [3, "apart", "\ud800"],
    "coverage": [0, 1, 1.5, "0.9", None, float("nan"), True],
    "resamples": [99, 1000.0, "many", None, True],
}


def mistakes(function: Any, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(UsageError) as caught:
        function(*args, **kwargs)
    return list(caught.value.mistakes)


@pytest.mark.parametrize("head", ["brought", "fresh"])
def test_a_head_goes_with_transcription(head: str) -> None:
    asked = Recipe(task="transcribe", head=head)
    assert Recipe.from_toml(asked.to_toml()) == asked


def test_every_field_is_covered_here() -> None:
    every = {field.name for field in fields(Recipe)}
    assert every == set(SETTINGS) == set(WRONG)


@given(recipes)
def test_toml_and_plain_data_round_trip(recipe: Recipe) -> None:
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@given(recipes)
def test_toml_tells_exactly_what_was_set(recipe: Recipe) -> None:
    told = tomllib.loads(recipe.to_toml())
    always = {"parts", "seed", "budget", "compile", "repair", "coverage", "resamples"}
    blank = Recipe()
    set_here = {f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(blank, f.name)}
    assert set(told) == always | set_here


@pytest.mark.parametrize("text", ["\x7f", "🌻 naïve", 'a"b\\c\n\t', "\x00\x1f", "日本\u2028"])
def test_awkward_text_survives_toml(text: str) -> None:
    assert Recipe.from_toml(Recipe(source=text, backbone=(text,)).to_toml()).source == text


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG.items() for v in vs])
def test_a_wrong_value_names_its_field(name: str, value: Any) -> None:
    (told,) = mistakes(Recipe, **{name: value})
    assert told.startswith(f"{name}: expected ")
    assert mistakes(Recipe.from_dict, {name: value}) == [told]


def test_all_mistakes_are_told_at_once() -> None:
    asked = {name: values[0] for name, values in WRONG.items()}
    told = mistakes(Recipe().changed, **asked, budgte="1h", colour="red")
    assert sorted(line.split(":")[0] for line in told) == sorted([*asked, "budgte", "colour"])


@pytest.mark.parametrize("wrong", ["budgte", "sise", "backbones", "parst"])
def test_the_closest_name_is_suggested(wrong: str) -> None:
    meant = {"budgte": "budget", "sise": "size", "backbones": "backbone", "parst": "parts"}
    assert mistakes(Recipe().changed, **{wrong: 1}) == [
        f"{wrong}: no such setting; did you mean {meant[wrong]}?"
    ]


def test_a_name_like_none_is_answered_with_all_names() -> None:
    (told,) = mistakes(Recipe().changed, xyzzy=1)
    assert all(field.name in told for field in fields(Recipe))


def test_python_words_are_unknown_settings_like_others() -> None:
    assert mistakes(Recipe.from_toml, "self = 1")[0].startswith("self: no such setting")


@pytest.mark.parametrize("text", ["seed = ", "seed = 1\nseed = 2", "[a", "x = " + "[" * 5000])
def test_text_that_is_no_toml_is_told(text: str) -> None:
    assert mistakes(Recipe.from_toml, text)[0].startswith("recipe: not valid TOML: ")


@pytest.mark.parametrize("record", [None, [], "seed", 3])
def test_a_record_that_is_no_table_is_told(record: Any) -> None:
    assert mistakes(Recipe.from_dict, record)[0].startswith("recipe: expected settings")


def test_a_recipe_as_a_person_writes_it() -> None:
    recipe = Recipe.from_toml(
        'backbone = "efficientnet-lite0, resnet18"\nbudget = "10min"\nsize = 64'
    )
    assert recipe.backbone == ("efficientnet-lite0", "resnet18")
    assert (recipe.budget, recipe.size) == (600, 64)


def test_changed_sets_what_it_is_told_and_nothing_else() -> None:
    first = Recipe(seed=3, views=("centre",))
    second = first.changed(budget="1h", label="species")
    assert second == Recipe(seed=3, views=("centre",), budget=3600.0, label="species")
    assert first == Recipe(seed=3, views=("centre",))
    assert second.changed() == second


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90s", 90),
        (" 90 seconds ", 90),
        (".5s", 0.5),
        ("10min", 600),
        ("10 MIN", 600),
        ("2m", 120),
        ("1.5h", 5400),
        ("2 hours", 7200),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@given(st.integers(0, 10**6), st.sampled_from(["s", "min", "h"]))
def test_times_are_linear_in_their_unit(number: int, unit: str) -> None:
    assert seconds(f"{number}{unit}") == number * seconds(f"1{unit}")


@pytest.mark.parametrize(
    "text", ["", "soon", "-5s", "5ms", "1h30", "1:30", "10 min 5 s", "inf", "٣s"]
)
def test_other_times_are_refused(text: str) -> None:
    assert mistakes(seconds, text) == [
        f"budget: expected a time such as 90s, 10min or 1h, got {text!r}"
    ]


def test_steps_and_epochs_exclude_each_other() -> None:
    assert mistakes(Recipe, steps=5, epochs=2) == ["steps, epochs: give one of them"]
