"""compare: the same examples for every strategy, and figures that follow from single answers."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import regraft
from regraft.backbones.catalog import DEFAULT
from regraft.errors import DataError, StorageError, UsageError
from regraft.evaluation.compare_page import REQUIRED
from regraft.training import tuning
from regraft.training.tuning import Lesson, Ready
from regraft.training.variants import varied
from regraft.verbs import compare as module
from regraft.verbs.compare import Comparison, compare, drawn
from regraft.verbs.compare_asked import alike
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
    tried = tuned.fitted.report.record["tried"]
    probe = next(r for r in tried if r["kind"] == "probe")  # the linear one
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
        *("seeds", "strategies", "warnings", "left_out", "recipe", "reproduce"),
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


def test_classes_are_told_apart_from_one_another(curves: Watched) -> None:
    classes = curves.found.record["classes"]
    truth = np.repeat(np.arange(3), 5)  # of the folder, in its order
    for name in ("probe", "partial"):
        right = np.mean([o.answer == truth for o in runs(curves.found, name)], 0)
        expected = {n: right[truth == place].mean() for place, n in enumerate(classes)}
        assert row(curves.found, name)["per_class"] == pytest.approx(expected)


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


# --- variants, and what is measured beyond accuracy ------------------------------------------


@pytest.fixture(scope="module")
def varied_rows(lesson: Path) -> Watched:
    """Attacked and corrupted as well, a little."""
    pytest.importorskip("pyautoattack")
    from regraft.robustness import corruptions

    few = {name: corruptions.CORRUPTIONS[name] for name in ("impulse noise",)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corruptions, "CORRUPTIONS", few)
        patch.setattr("regraft.robustness.measuring.CHECKED", 2)
        patch.setattr("regraft.robustness.measuring.PGD_STEPS", 2)
        patch.setattr("regraft.robustness.sanity.PLANTED", 1)
        for name, value in {"QUERIES": 4, "FEW_STEPS": 2, "MORE_STEPS": 3}.items():
            patch.setattr(f"regraft.robustness.sanity.{name}", value)
        asked: Settings = {"robust": True, "attacked": 5, "eps": "4/255", "steps": 2}
        names = ("probe", "lp-ft")
        return watched(lesson, strategies=names, variants=("focal",), **asked)


def test_variants_are_rows_beside_their_strategy(varied_rows: Watched) -> None:
    record = varied_rows.found.record
    names = ["probe", "lp-ft", "lp-ft+focal"]
    assert [one["name"] for one in record["strategies"]] == names
    assert [name for name, _ in varied_rows.begun] == names[1:]
    (command,) = record["reproduce"]
    assert f"strategies={names!r}" in command
    assert command.endswith("robust=True, eps='4/255', attacked=5)")


def test_a_row_that_is_what_its_strategy_does_anyway_is_told() -> None:
    names = ("probe", "lp-ft", "lp-ft+focal", "lp-ft+label-smoothing", "lp-ft+wise-ft")
    rows = [varied(name).of("picture") for name in names]
    told = [*alike(rows, "picture", 500)]
    assert [text.split(":")[0] for text in told] == list(names[3:])
    assert len([*alike(rows, "picture", 5000)]) == 1  # of many examples nothing goes back by itself


def test_rows_are_measured_on_worse_examples_and_under_attack(varied_rows: Watched) -> None:
    found = varied_rows.found
    for one in found.record["strategies"]:
        robust, worse = one["robust"], one["corrupted"]
        assert (robust["n"], worse["n"]) == (5, 5)
        assert robust["clean"]["value"] == worse["clean"]["value"]
        assert robust["value"] <= robust["clean"]["value"]
        for interval in (robust, worse):
            assert interval["low"] <= interval["value"] <= interval["high"]
        assert robust["attack"].endswith("ε = 4/255")
        assert robust["reliable"] == (not robust["why"])
    text = " ".join(page_words(found))
    for words in ("On worse pictures", "Under attack", "upper bounds", "lp-ft+focal"):
        assert words in text


def test_a_row_as_a_model_answers_as_its_run_did(varied_rows: Watched, lesson: Path) -> None:
    """On the same examples: what is attacked is what was measured."""
    data = regraft.load(lesson)
    place = np.sort(np.random.default_rng([0, 41]).permutation(15)[:5])
    truth = data.held_out.targets[place]
    for one in varied_rows.found.record["strategies"]:
        (outcome,) = runs(varied_rows.found, one["name"])
        assert one["robust"]["clean"]["value"] == np.mean(outcome.answer[place] == truth)


# --- what was asked ------------------------------------------------------------------------------


def test_steps_are_those_that_were_asked_for(families: Watched, curves: Watched) -> None:
    assert families.steps == [2] * 3
    assert curves.steps == [2] * 4


def test_a_budget_shortens_the_runs(lesson: Path) -> None:
    short = watched(lesson, strategies=("tune-norm",), epochs=50, budget="0.1s")
    assert short.steps[-1] == 1


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_budget_is_kept(write_photos: Callable[..., Path], tmp_path: Path) -> None:
    """Also where looking at the measured part takes longer than the training."""
    kinds = ("disc", "square", "stripes")
    write_photos(tmp_path / "train", {kind: range(14) for kind in kinds})
    write_photos(tmp_path / "test", {kind: range(100, 200) for kind in kinds})
    start = time.monotonic()
    found = watched(tmp_path, strategies=("copy", "probe", "lp-ft"), epochs=1000, budget="60s")
    assert time.monotonic() - start < 66
    assert min(found.steps) > 5


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is opened."""

    def opened(*about: Any, **more: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(module, "pass_over", opened)


@pytest.mark.usefixtures("no_work")
def test_all_mistakes_are_told_at_once(lesson: Path) -> None:
    wrong: Settings = {"rate": -1.0, "colour": "red", "seeds": (-1,), "labels": (0, 4)}
    with pytest.raises(UsageError) as caught:
        compare(lesson, strategies=("lp-tf", "probe", "skratch"), **wrong)
    assert sorted(mistake.split(":")[0] for mistake in caught.value.mistakes) == [
        *("colour", "labels", "rate", "seeds", "strategy", "strategy")
    ]
    names = {"optimiser": "adamm", "loss": "focall", "augment": "flp", "norm": "thawed"}
    with pytest.raises(UsageError) as caught:
        compare(lesson, strategies=("lora", "copy"), backbone=DEFAULT, **names)
    told = list(caught.value.mistakes)
    assert len(told) == 5
    assert all(any(name in mistake for mistake in told) for name in (*names.values(), "lora"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"strategies": ()}, "strategies: name one or several"),
        ({"strategies": ("probe", "probe")}, "strategies: name each once"),
        ({"seeds": (0, 0)}, "seeds: give each once"),
        ({"labels": (3, 3)}, "labels: give each once"),
        ({"seeds": ()}, "seeds: expected"),
        ({"labels": (1.5,)}, "labels: expected"),
        ({"labels": ("few",)}, "labels: expected .*few"),
        ({"strategies": ("probe",), "steps": 3}, "steps: has no use where nothing is trained"),
        ({"strategies": ("lp-ft+fokal",)}, "did you mean focal"),
        ({"strategies": ("probe",), "variants": ("fokal",)}, "variants: 'fokal' is not known"),
        ({"strategies": ("probe",), "variants": ("focal",)}, "no use where nothing is trained"),
        ({"strategies": ("lp-ft",), "variants": ("focal",), "loss": "focal"}, "loss: is set for"),
        ({"eps": "2/255"}, "eps: is for robust"),
        ({"robust": True, "robust_by": "autoatack"}, "autoatack"),
        ({"robust": True, "eps": "9"}, "eps"),
        ({"robust": True, "attacked": 0}, "attacked|examples"),
        ({"strategy": "probe"}, "strategy: is for fit"),
        ({"log": "tensorboard"}, "log: is for fit"),
        ({"coverage": 0.8}, "coverage: is for fit"),
        ({"rate": "find"}, "rate: find is for fit"),
        ({"backbone": f"{DEFAULT},efficientnet-lite1"}, "backbone: a comparison is of one"),
        ({"views": "centre,whole-mirrored"}, "views: a comparison is of one"),
        ({"licence": "mit", "backbone": DEFAULT}, "Apache"),
        ({"label": "kind"}, "label: cannot be set for a folder"),
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


def test_what_cannot_be_read_is_left_out_and_listed(
    write_photos: Callable[..., Path], tmp_path: Path
) -> None:
    """Also what vanished after it was loaded: no zeros are learned in its place."""
    write_photos(tmp_path / "train", {"disc": range(6), "square": range(6)})
    write_photos(tmp_path / "test", {"disc": [50, 51], "square": [50]})
    (tmp_path / "train" / "square" / "bad.png").write_bytes(b"no picture")
    data = regraft.load(tmp_path)
    for name in ("train/disc/003.png", "test/disc/051.png"):
        (tmp_path / name).unlink()
    seen = watched(data, strategies=("tune-norm",), steps=1)
    ((_, learned),) = {id(lesson): (name, lesson) for name, lesson in seen.begun}.values()
    assert np.bincount(learned.labels).tolist() == [5, 6]
    record = seen.found.record
    assert record["n"] == 2
    names = {"train/disc/003.png", "test/disc/051.png", "train/square/bad.png"}
    assert {one["file"] for one in record["left_out"]} == names
    (words,) = (w for w in record["warnings"] if w.startswith("not readable and left out: "))
    assert all(name in words for name in names)


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
