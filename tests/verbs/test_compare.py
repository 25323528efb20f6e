"""compare: the same examples for every strategy, and figures that follow from single answers."""

import json
import shlex
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from typer.main import get_command

import regraft
from regraft.backbones.catalog import DEFAULT
from regraft.cli import app
from regraft.errors import DataError, StorageError, UsageError
from regraft.evaluation.compare_page import REQUIRED
from regraft.training import tuning
from regraft.training.tuning import Lesson, Ready
from regraft.verbs import compare as module
from regraft.verbs.compare import Comparison, compare, drawn
from regraft.verbs.compared import ALL, Outcome

Settings = dict[str, Any]
NETWORK: Settings = {"backbone": DEFAULT, "size": 32, "engine": "torch", "resamples": 100}
STRATEGIES = ("scratch", "copy", "probe", "lp-ft")


class Watched(NamedTuple):
    """A comparison, and what each of its trainings began with."""

    found: Comparison
    begun: list[tuple[str, Lesson]]
    steps: list[int]


def watched(source: Any, **settings: Any) -> Watched:
    begun: list[tuple[str, Lesson]] = []
    steps: list[int] = []
    ready, training = tuning.ready, Ready.training

    def noted(wanted: Any, *about: Any, **more: Any) -> Ready:
        begun.append((wanted.name, next(a for a in about if isinstance(a, Lesson))))
        return ready(wanted, *about, **more)

    def counted(self: Ready, **about: Any) -> Any:
        steps.append(self.plan.steps)
        return training(self, **about)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "ready", noted)
        patch.setattr(Ready, "training", counted)
        return Watched(compare(source, **{**NETWORK, **settings}), begun, steps)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Beside other processes many threads crawl."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def families(lesson: Path) -> Watched:
    """All that users compare, once."""
    return watched(lesson, strategies=STRATEGIES, steps=2)


@pytest.fixture(scope="module")
def curves(lesson: Path) -> Watched:
    """Three examples of each class and all of them, twice."""
    return watched(lesson, strategies=("probe", "partial"), labels=(3,), seeds=(0, 1), steps=2)


def runs(found: Comparison, name: str, labels: int | str = ALL) -> list[Outcome]:
    return [o for o in found.outcomes if (o.strategy, o.labels) == (name, labels)]


def row(found: Comparison, name: str) -> dict[str, Any]:
    (one,) = (one for one in found.record["strategies"] if one["name"] == name)
    return dict(one)


# --- the same for all ----------------------------------------------------------------------------


def test_every_strategy_learns_from_the_same_examples(families: Watched, curves: Watched) -> None:
    files = [lesson.files for _, lesson in families.begun]
    assert [name for name, _ in families.begun] == ["scratch", "copy", "lp-ft"]
    assert files == [files[0]] * 3
    assert len(files[0]) == len(set(files[0])) == 42
    few = [lesson for _, lesson in curves.begun if len(lesson.files) == 9]
    assert [np.bincount(lesson.labels).tolist() for lesson in few] == [[3, 3, 3]] * 2
    assert set(few[0].files) != set(few[1].files)  # another seed draws others


def test_nothing_of_the_measured_part_is_learned_from(families: Watched, lesson: Path) -> None:
    learned = {Path(file) for _, some in families.begun for file in some.files}
    assert learned == {path for path in (lesson / "train").rglob("*.png")}
    assert families.found.record["n"] == 15
    assert {len(o.answer) for o in families.found.outcomes} == {15}


def test_the_probe_is_that_of_fit(families: Watched, tuned: Any) -> None:
    (probe,) = (r for r in tuned.fitted.report.record["tried"] if r["kind"] == "probe")
    assert row(families.found, "probe")["score"]["value"] == probe["score"]["value"]


def test_a_run_alone_gives_the_same_answers(curves: Watched, lesson: Path) -> None:
    """What else is compared changes nothing, nor in which form the examples come."""
    alone = watched(regraft.load(lesson), strategies=("partial",), seeds=(1,), steps=2)
    (one,) = alone.found.outcomes
    (_, other) = runs(curves.found, "partial")
    assert np.array_equal(one.answer, other.answer)
    assert [p["accuracy"] for p in one.curve] == [p["accuracy"] for p in other.curve]


def test_examples_are_drawn_by_class_and_seed() -> None:
    labels = np.repeat([0, 1, 2], [9, 4, 2])
    place = drawn(labels, 3, seed=0)
    assert np.bincount(labels[place]).tolist() == [3, 3, 2]  # as many as there are
    assert len(set(place)) == 8
    assert np.array_equal(place, drawn(labels, 3, seed=0))
    assert len({tuple(drawn(labels, 3, seed=seed)) for seed in range(8)}) > 4
    assert set(place) <= set(drawn(labels, 4, seed=0))  # of a longer draw the first
    assert drawn(labels, ALL, seed=0).tolist() == list(range(15))


# --- figures -------------------------------------------------------------------------------------


def test_the_record_is_complete_and_plain(families: Watched, lesson: Path) -> None:
    record = families.found.record
    assert set(record) == {
        *("title", "created", "regraft", "modality", "classes", "n", "split", "backbone", "size"),
        *("seeds", "strategies", "warnings", "recipe", "reproduce"),
    }
    assert set(REQUIRED) <= set(record)
    assert record == json.loads(json.dumps(record, allow_nan=False))
    assert record["classes"] == ["disc", "square", "stripes"]
    assert (record["backbone"], record["size"], record["seeds"]) == (DEFAULT, 32, [0])
    assert record["split"]["source"] == "given"
    assert sum(record["split"]["counts"]["test"].values()) == 15
    assert record["recipe"]["source"] == str(lesson)
    assert [one["name"] for one in record["strategies"]] == list(STRATEGIES)
    for one in record["strategies"]:
        assert set(one) == {
            *("name", "told", "score", "seconds", "curve", "per_class", "by_labels"),
            "against_probe",
        }
        assert 0 <= one["score"]["low"] <= one["score"]["value"] <= one["score"]["high"] <= 1
        assert one["seconds"] > 0


def test_scores_are_means_over_the_seeds(curves: Watched) -> None:
    for name in ("probe", "partial"):
        one, whole = row(curves.found, name), runs(curves.found, name)
        assert [o.seed for o in whole] == [0, 1]
        assert one["score"]["value"] == pytest.approx(np.mean([o.right.mean() for o in whole]))
        assert one["seconds"] == pytest.approx(np.mean([o.seconds for o in whole]))


def test_classes_are_told_apart_from_one_another(curves: Watched) -> None:
    classes = curves.found.record["classes"]
    truth = np.repeat(np.arange(3), 5)  # of the folder, in its order
    for name in ("probe", "partial"):
        right = np.mean([o.answer == truth for o in runs(curves.found, name)], 0)
        expected = {n: right[truth == place].mean() for place, n in enumerate(classes)}
        assert row(curves.found, name)["per_class"] == pytest.approx(expected)


def test_the_learning_curve_has_a_point_for_each_number_of_labels(curves: Watched) -> None:
    for name in ("probe", "partial"):
        points = row(curves.found, name)["by_labels"]
        assert [point["labels"] for point in points] == [3, ALL]
        for point in points:
            accuracies = [o.right.mean() for o in runs(curves.found, name, point["labels"])]
            assert point["runs"] == pytest.approx(accuracies)
            mean, spread = np.mean(accuracies), abs(accuracies[0] - accuracies[1])
            assert (point["value"], point["high"] - point["low"]) == pytest.approx(
                (mean, 2 * spread)  # two standard errors on each side, of two runs
            )


def test_without_more_seeds_a_point_has_no_interval(families: Watched) -> None:
    (point,) = row(families.found, "copy")["by_labels"]
    assert (point["low"], point["high"]) == (None, None)


def test_gains_are_over_the_probe_of_the_same_seed(curves: Watched, families: Watched) -> None:
    both = zip(runs(curves.found, "partial"), runs(curves.found, "probe"), strict=True)
    gains = [o.right.mean() - probe.right.mean() for o, probe in both]
    against = row(curves.found, "partial")["against_probe"]
    assert against["difference"] == pytest.approx(np.mean(gains))
    for one in families.found.record["strategies"]:
        gain = one["against_probe"]
        assert (gain is None) == (one["name"] == "probe")
        assert gain is None or -1 <= gain["low"] <= gain["difference"] <= gain["high"] <= 1


def test_a_curve_ends_with_the_score_and_begins_with_the_start(families: Watched) -> None:
    for outcome in families.found.outcomes:
        curve = row(families.found, outcome.strategy)["curve"]
        seconds = [point["seconds"] for point in curve]
        assert seconds == sorted(seconds)
        assert curve[-1]["accuracy"] == pytest.approx(outcome.accuracy)
        assert curve[-1]["seconds"] == pytest.approx(outcome.seconds, rel=0.2)
    probe = row(families.found, "probe")["score"]["value"]
    assert row(families.found, "lp-ft")["curve"][0]["accuracy"] == probe  # it begins from it


def test_without_the_probe_there_is_nothing_to_gain_on(lesson: Path) -> None:
    found = watched(lesson, strategies=("tune-norm",), steps=1).found
    assert row(found, "tune-norm")["against_probe"] is None
    assert "tune-norm is best" in " ".join(page_words(found))


def page_words(found: Comparison) -> Iterator[str]:
    import re

    from regraft.evaluation.compare_page import compare_page

    yield from re.sub(r"<[^>]+>", "", compare_page(found.record)).split()


# --- what was asked ------------------------------------------------------------------------------


def test_steps_are_those_that_were_asked_for(families: Watched, curves: Watched) -> None:
    assert set(families.steps) == set(curves.steps) == {2} or 1 in families.steps
    assert families.steps.count(2) == 3  # the others rehearse one step


def test_a_budget_shortens_the_runs(lesson: Path) -> None:
    short = watched(lesson, strategies=("tune-norm",), epochs=50, budget="0.1s")
    assert short.steps[-1] == 1


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_budget_is_kept(lesson: Path) -> None:
    start = time.monotonic()
    found = watched(lesson, strategies=("copy", "probe", "lp-ft"), epochs=1000, budget="40s")
    assert time.monotonic() - start < 44
    assert min(sorted(found.steps)[-2:]) > 5


def test_the_command_that_repeats_it_says_all_that_was_asked(lesson: Path) -> None:
    asked: Settings = {"loss": "focal:gamma=1.5", "weights": "inverse", "seed": 3, "resamples": 100}
    found = compare(lesson, strategies=("probe", "copy"), seeds=(4,), steps=1, **{**NETWORK, **asked})
    (line,) = found.record["reproduce"]
    program, verb, *words = shlex.split(line)
    assert (program, verb) == ("regraft", "compare")
    known: Any = get_command(app).commands["compare"]  # type: ignore[attr-defined]
    context = known.make_context("compare", words)
    given = {k: v for k, v in context.params.items() if v}
    assert given.pop("source") == str(lesson)
    expected = {"size": 32, "engine": "torch", "steps": 1, "class_weights": "inverse"}
    for name, value in {**expected, "loss": "focal:gamma=1.5"}.items():
        assert given[name.replace("class_weights", "weights")] == value
    assert given["strategies"] == ["probe,copy"]
    assert given["seeds"] == ["4"]


WRONG: Settings = {
    "strategies": ("lp-tf", "probe", "skratch"),
    "labels": (0, 4),
    "seeds": (-1,),
    "rate": -1.0,
    "optimiser": "adamm",
    "loss": "focall",
    "augment": "flp",
    "colour": "red",
}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is opened."""

    def opened(*about: Any, **more: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(module, "load", opened)


@pytest.mark.usefixtures("no_work")
def test_all_mistakes_are_told_at_once(lesson: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compare(lesson, **WRONG)
    told = "\n".join(caught.value.mistakes)
    for word in ("'lp-tf'", "'skratch'", "labels: ", "seeds: ", "colour: ", "rate: "):
        assert word in told
    with pytest.raises(UsageError) as caught:
        compare(lesson, **{**WRONG, "rate": None, "colour": "red"} | {"colour": None})
    told = "\n".join(caught.value.mistakes)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"strategies": ()}, "strategies: name one or several"),
        ({"strategies": ("probe", "probe")}, "strategies: .*probe.*once"),
        ({"strategies": ("copy",), "seeds": (0, 0)}, "seeds: .*once"),
        ({"strategies": ("copy",), "labels": (3, 3)}, "labels: .*once"),
        ({"strategies": ("copy",), "seeds": ()}, "seeds: "),
        ({"strategies": ("copy",), "labels": (1.5,)}, "labels: "),
        ({"strategies": ("probe",), "steps": 3}, "steps: has no use where nothing is trained"),
        ({"strategies": ("copy",), "strategy": "probe"}, "strategy: .*strategies"),
        ({"strategies": ("copy",), "log": "tensorboard"}, "log: "),
        ({"strategies": ("copy",), "backbone": f"{DEFAULT},efficientnet-lite1"}, "backbone: "),
        ({"strategies": ("copy",), "views": "centre,whole-mirrored"}, "views: "),
        ({"strategies": ("lora",), "backbone": DEFAULT}, "lora.*do not offer"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_before_any_work(
    asked: Settings, words: str, lesson: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        compare(lesson, **asked)


@pytest.mark.parametrize(
    ("numbers", "error", "words"),
    [
        ({"train/disc": range(4), "test/disc": range(2)}, UsageError, "one class"),
        ({}, DataError, "no example found"),
    ],
)
def test_what_cannot_be_learned_from_is_told(
    numbers: Settings,
    error: type[Exception],
    words: str,
    write_photos: Callable[..., Path],
    tmp_path: Path,
) -> None:
    write_photos(tmp_path, numbers)
    with pytest.raises(error, match=words):
        compare(tmp_path, strategies=("probe",), **NETWORK)


def test_a_file_that_vanished_after_loading_is_named(
    write_photos: Callable[..., Path], tmp_path: Path
) -> None:
    write_photos(tmp_path / "train", {"disc": range(6), "square": range(6)})
    write_photos(tmp_path / "test", {"disc": [50], "square": [50]})
    data = regraft.load(tmp_path)
    (tmp_path / "train" / "disc" / "003.png").unlink()
    with pytest.raises(DataError, match=r"train/disc/003\.png"):
        compare(data, strategies=("probe",), **NETWORK)


def test_one_example_of_each_class_is_enough_to_draw(lesson: Path) -> None:
    found = compare(lesson, strategies=("probe",), labels=(1,), **NETWORK)
    assert [p["labels"] for p in row(found, "probe")["by_labels"]] == [1, ALL]


# --- files ---------------------------------------------------------------------------------------


def test_it_is_saved_as_a_page_and_as_json(families: Watched, tmp_path: Path) -> None:
    found = families.found
    page = found.save(tmp_path / "found.html").read_text()
    assert page.startswith("<!")
    assert all(name in page for name in STRATEGIES)
    assert json.loads(found.save(tmp_path / "found.json").read_text()) == found.record
    with pytest.raises(UsageError, match=r"\.html nor \.json"):
        found.save(tmp_path / "found.txt")
    with pytest.raises(StorageError, match="no such folder"):
        found.save(tmp_path / "nowhere" / "found.html")


def test_what_is_said_on_the_way_names_each_run(lesson: Path) -> None:
    said = defaultdict(list)

    class Heard:
        stage = regraft.progress.Quiet().stage if hasattr(regraft, "progress") else None

        def say(self, message: str) -> None:
            said["all"].append(message)

    assert Heard
