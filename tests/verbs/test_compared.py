"""What a comparison tells: every figure follows from the single answers of its runs."""

import ast
import shlex
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command

import regraft
from regraft.cli import app
from regraft.data.dataset import Dataset
from regraft.recipe import Recipe
from regraft.training.strategies import STRATEGIES, strategy
from regraft.verbs.compare import compare
from regraft.verbs.compared import ALL, BUDGET, Outcome, Telling, command, settle
from regraft.verbs.withstanding import Withstanding, over_seeds

Settings = dict[str, Any]
NAMES = ("probe", "lp-ft", "copy")


@pytest.fixture(scope="module")
def data(lesson: Path) -> Dataset:
    return regraft.load(lesson)


def outcomes(
    truth: Any, names: Sequence[str], amounts: Sequence[Any], seeds: Sequence[int], draw: int = 0
) -> list[Outcome]:
    """Answers that are right in about two of three cases."""
    found = []
    for number, (k, seed, name) in enumerate(
        (k, seed, name) for k in amounts for seed in seeds for name in names
    ):
        rng = np.random.default_rng([draw, number])
        answer = np.where(rng.random(len(truth)) < 0.6, truth, rng.integers(0, 3, len(truth)))
        warnings = (f"overfitting: {k}",) if name == "copy" else ()
        seconds = float(rng.uniform(1, 9))
        found.append(
            Outcome(name, k, seed, answer == truth, answer, seconds, warnings=warnings)
        )  # fmt: skip
    return found


def told(data: Dataset, runs: Sequence[Outcome], **asked: Any) -> dict[str, Any]:
    """The record of some runs, and its rows by the names of the strategies."""
    recipe = Recipe(**{"budget": 600.0, "resamples": 100, **asked})
    wanted = [strategy(name) for name in dict.fromkeys(o.strategy for o in runs)]
    record = Telling(data, data.held_out, recipe, "network", 32).record(wanted, runs)
    return {"record": record} | {one["name"]: one for one in record["strategies"]}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.integers(0, 2**32 - 1), seeds=st.integers(1, 3))
def test_figures_are_means_over_the_seeds(draw: int, seeds: int, data: Dataset) -> None:
    truth = data.held_out.targets
    runs = outcomes(truth, NAMES, (3, 5, ALL), range(seeds), draw)
    found = told(data, runs)
    for name in NAMES:
        row, whole = found[name], [o for o in runs if (o.strategy, o.labels) == (name, ALL)]
        right = np.array([o.right for o in whole], float)
        assert row["score"]["value"] == pytest.approx(right.mean())
        assert row["score"]["low"] <= row["score"]["value"] <= row["score"]["high"]
        assert row["seconds"] == pytest.approx(np.mean([o.seconds for o in whole]))
        expected = {n: right[:, truth == place].mean() for place, n in enumerate(data.classes)}
        assert row["per_class"] == pytest.approx(expected)
    assert found["record"]["seeds"] == list(range(seeds))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.integers(0, 2**32 - 1))
def test_gains_are_over_the_probe_of_the_same_seed(draw: int, data: Dataset) -> None:
    runs = outcomes(data.held_out.targets, NAMES, (3, ALL), (0, 1), draw)
    found = told(data, runs)
    accuracy = {(o.strategy, o.seed): o.accuracy for o in runs if o.labels == ALL}
    for name in NAMES[1:]:
        gains = [accuracy[name, seed] - accuracy["probe", seed] for seed in (0, 1)]
        against = found[name]["against_probe"]
        assert against["difference"] == pytest.approx(np.mean(gains))
        assert against["low"] <= against["difference"] <= against["high"]
    assert found["probe"]["against_probe"] is None


def test_without_the_probe_there_is_nothing_to_gain_on(data: Dataset) -> None:
    runs = outcomes(data.held_out.targets, ("lp-ft",), (ALL,), (0,))
    assert told(data, runs)["lp-ft"]["against_probe"] is None


def test_the_same_answers_are_no_gain(data: Dataset) -> None:
    truth = data.held_out.targets
    (run,) = outcomes(truth, ("probe",), (ALL,), (0,))
    same = Outcome("copy", ALL, 0, run.right, run.answer, 1.0)
    against = told(data, [run, same])["copy"]["against_probe"]
    assert against == {"difference": 0.0, "low": 0.0, "high": 0.0}


def test_the_learning_curve_has_a_point_for_each_number_of_labels(data: Dataset) -> None:
    runs = outcomes(data.held_out.targets, NAMES, (3, 5, ALL), (4, 7))
    found = told(data, runs)
    for name in NAMES:
        points = found[name]["by_labels"]
        assert [point["labels"] for point in points] == [3, 5, ALL]
        for point in points:
            own = [o.accuracy for o in runs if (o.strategy, o.labels) == (name, point["labels"])]
            assert point["runs"] == own
            assert point["value"] == pytest.approx(np.mean(own))
            # Two standard errors of the mean of two are the distance between them.
            assert point["high"] - point["low"] == pytest.approx(2 * abs(own[0] - own[1]))


def test_one_seed_has_no_interval_over_the_seeds(data: Dataset) -> None:
    found = told(data, outcomes(data.held_out.targets, NAMES, (ALL,), (0,)))
    (point,) = found["copy"]["by_labels"]
    assert (point["low"], point["high"]) == (None, None)


def test_each_warning_is_told_once(data: Dataset) -> None:
    record = told(data, outcomes(data.held_out.targets, NAMES, (3, ALL), (0, 1)))["record"]
    assert record["warnings"] == ["copy: overfitting: 3", "copy: overfitting: all"]


# --- how to do it again --------------------------------------------------------------------------


def line(data: Dataset, **asked: Any) -> str:
    runs = outcomes(data.held_out.targets, ("probe", "lp-ft"), (2, 9, ALL), (4,))
    (found,) = told(data, runs, **asked)["record"]["reproduce"]
    return str(found)


def test_the_command_says_all_that_was_asked(data: Dataset) -> None:
    asked: Settings = {"size": 32, "engine": "torch", "steps": 1, "weight_decay": 0.0}
    asked |= {"loss": "focal:gamma=1.5", "weights": "inverse", "split": "part", "compile": True}
    said = line(data, source="my 'photos'/", budget=60.0, resamples=1000, **asked)
    program, verb, *words = shlex.split(said)
    assert (program, verb) == ("regraft", "compare")
    known: Any = get_command(app).commands["compare"]  # type: ignore[attr-defined]
    read = known.make_context("compare", words).params
    read["split"] = read.pop("split_column")
    lists = {"strategies": ["probe,lp-ft"], "labels": ["2,9"], "seeds": ["4"]}
    expected = {**asked, **lists, "source": "my 'photos'/", "budget": "60.0"}
    assert {name: value for name, value in read.items() if value} == {
        name: value for name, value in expected.items() if value
    }
    assert read["weight_decay"] == 0


def test_the_budget_that_is_usual_is_not_said(data: Dataset) -> None:
    assert "budget" not in line(data, source="photos", resamples=1000)


@pytest.mark.parametrize("source", ["", "photos"])
def test_what_only_python_can_say_is_said_in_python(data: Dataset, source: str) -> None:
    said = line(data, source=source, seed=3, weight_decay=0.0)
    call = ast.parse(said, mode="eval").body
    assert isinstance(call, ast.Call)
    first = repr(source) if source else "data"
    assert [ast.unparse(part) for part in (call.func, *call.args)] == ["regraft.compare", first]
    asked = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    assert asked == {
        **{"strategies": ["probe", "lp-ft"], "labels": [2, 9], "seeds": [4]},
        **{"seed": 3, "weight_decay": 0.0, "resamples": 100},
    }


def test_what_it_says_is_done_again(data: Dataset) -> None:
    asked = {"backbone": "efficientnet-lite0", "size": 32, "engine": "torch", "resamples": 100}
    found = compare(data, strategies=("probe",), labels=(2,), **asked)
    (said,) = found.record["reproduce"]
    words = ast.parse(said, mode="eval").body
    assert isinstance(words, ast.Call)
    again = compare(data, **{str(w.arg): ast.literal_eval(w.value) for w in words.keywords})
    assert again.record["recipe"] == found.record["recipe"]
    for one, other in zip(found.outcomes, again.outcomes, strict=True):
        assert np.array_equal(one.answer, other.answer)


# The weights that count --------------------------------------------------------------------------


@pytest.mark.parametrize("averages", [True, False], ids=["averaged", "last"])
@pytest.mark.parametrize("back", [0.0, 0.5, 1.0])
def test_weights_go_back_to_the_start_by_the_share_that_is_asked(
    back: float, averages: bool
) -> None:
    import torch

    model = torch.nn.Linear(1, 1)
    values = {name: {"weight": torch.full((1, 1), v)} for name, v in (("s", 2.0), ("e", 6.0))}
    trained = SimpleNamespace(
        last=values["s"] if averages else values["e"], average=values["e"] if averages else None
    )
    settle(SimpleNamespace(model=model), trained, values["s"], back)  # type: ignore[arg-type]
    assert model.weight.item() == 2.0 * back + 6.0 * (1 - back)


def test_of_few_examples_only_what_begins_at_the_probe_goes_back_to_it() -> None:
    going = [one for one in STRATEGIES.values() if one.back]
    assert "lp-ft" in [one.name for one in going]
    assert all(one.head == "ridge" and one.trains and 0 < one.back < 1 for one in going)


# --- beyond accuracy -----------------------------------------------------------------------------


def test_of_several_runs_the_mean_is_told_with_the_interval_of_the_first_around_it() -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "reliable": True, "why": []}
    other = {**share, "value": 0.7, "reliable": False, "why": ["a: b"]}
    found = over_seeds([{"robust": share}, {"robust": other}])["robust"]
    assert [found[end] for end in ("low", "value", "high")] == pytest.approx([0.5, 0.6, 0.7])
    assert (found["n"], found["reliable"], found["why"]) == (9, False, ["a: b"])
    assert over_seeds([]) == {}
    sure = {"robust": {"value": 0.98, "low": 0.93, "high": 1.0}}
    (ends,) = over_seeds([sure, {"robust": {"value": 1.0, "low": 1.0, "high": 1.0}}]).values()
    assert ends == {"value": pytest.approx(0.99), "low": pytest.approx(0.94), "high": 1.0}


def test_what_was_measured_beyond_accuracy_is_said_in_the_command() -> None:
    beyond = Withstanding.asked(True, "4/255", None, 9)
    assert beyond is not None
    recipe = Recipe(budget=BUDGET, source="photos")
    said = command(recipe, ["probe"], [0], (), beyond.settings())
    usual = command(recipe, ["probe"], [0])
    assert said == f"{usual} --robust --eps 4/255 --examples 9"
    known: Any = get_command(app).commands["compare"]  # type: ignore[attr-defined]
    read = known.make_context("compare", shlex.split(said)[2:]).params
    assert (read["robust"], read["eps"], read["examples"]) == (True, "4/255", 9)
