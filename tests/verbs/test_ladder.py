"""The upper rungs: told whether kept or not, never worse than the probe, repeatable, resumable."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import regraft
from regraft.backbones.catalog import DEFAULT, find
from regraft.backbones.extractor import Extractor
from regraft.errors import UsageError
from regraft.modalities.spec import InputSpec
from regraft.model.model import Model
from regraft.progress import Quiet
from regraft.recipe import Recipe
from regraft.training.checkpoints import run_folder
from regraft.training.loop import Training
from regraft.verbs import fit as fit_module
from regraft.verbs.climb import Climb
from regraft.verbs.fit import fit, fit_and_report
from regraft.verbs.fitted import Fitted
from regraft.verbs.ladder import Ladder, perhaps, refusals
from regraft.verbs.planning import Planner
from regraft.verbs.rungs import Learning

Settings = dict[str, Any]
Run = Any  # of conftest.py
Train = Callable[..., Run]

VOLATILE = {"created", "timings"}


def lasting(found: Fitted) -> dict[str, Any]:
    """The report without dates, durations and the budget."""
    record = {k: v for k, v in found.report.record.items() if k not in VOLATILE}
    return dict(without_seconds(record))


def without_seconds(part: Any) -> Any:
    if isinstance(part, dict):
        return {k: without_seconds(v) for k, v in part.items() if k != "seconds"}
    return [without_seconds(one) for one in part] if isinstance(part, list) else part


def are_equal(one: Model, other: Model) -> bool:
    """Bit for bit: networks, heads and calibration."""
    heads = (model.head.tensors().values() for model in (one, other))
    same = all(np.array_equal(a, b) for a, b in zip(*heads, strict=True))
    networks = ([e.fingerprint for e in model.extractors] for model in (one, other))
    calibration = ((model.temperature, model.threshold) for model in (one, other))
    return same and len({tuple(n) for n in networks}) == 1 == len(set(calibration))


def rung(found: Fitted, kind: str) -> dict[str, Any]:
    (row,) = (row for row in found.report.record["tried"] if row["kind"] == kind)
    return dict(row)


# --- what is told --------------------------------------------------------------------------------


def test_a_strategy_is_a_row_with_its_accuracy_and_a_reason(tuned: Run) -> None:
    tried = tuned.fitted.report.record["tried"]
    assert [row["kind"] for row in tried] == ["baseline", "baseline", "probe", "probe", "lp-ft"]
    row = tried[-1]
    assert row["backbone"] == "efficientnet-lite0 (lp-ft)"
    assert row["detail"].startswith("32 px, ")
    assert 0 <= row["held_back"] <= 1
    assert 0 <= row["score"]["low"] <= row["score"]["value"] <= row["score"]["high"] <= 1
    assert row["why"].startswith("not clearly better than the probe: ")
    assert row["seconds"] > 0
    assert sum(one["kept"] for one in tried[2:4]) == 1
    assert not row["kept"]
    assert tuned.fitted.model.record["tried"] == json.loads(json.dumps(tried))


@pytest.mark.parametrize(
    ("asked", "aims", "losses", "views"),
    [
        ((), "accuracy", {1: 0.5, 2: 0.4}, 2),
        ((), "accuracy", {1: 0.4, 2: 0.5}, 1),
        (("centre", "whole-mirrored"), "accuracy", {}, 2),
        ((), "robustness", {}, 1),
    ],
)
def test_a_tuned_network_has_as_many_views_as_lose_least(
    asked: tuple[str, ...], aims: str, losses: dict[int, float], views: int
) -> None:
    """Only an accuracy is looked for with several: an attack is against one."""
    row = find(DEFAULT)
    one = Extractor(row, replace(row.spec, views=("centre",)), "torch")
    two = replace(one, spec=replace(one.spec, views=("centre", "whole-mirrored")))
    climb: Any = object.__new__(Climb)
    climb.lessons = SimpleNamespace(
        network=two, seen=lambda each, _: SimpleNamespace(features=len(each.spec.views))
    )
    climb.ground = SimpleNamespace(recipe=Recipe(views=asked))
    climb.planned = SimpleNamespace(turn=SimpleNamespace(wanted=SimpleNamespace(aims=aims)))
    target = SimpleNamespace(mean_loss=lambda scores, _: losses[scores])
    climb.held = SimpleNamespace(place=None, labels=None, target=target)
    found = climb._looking(one, SimpleNamespace(scores=lambda features: features))
    assert len(found.spec.views) == views


def test_how_training_went_is_told(tuned: Run) -> None:
    told = tuned.told
    assert (told["name"], told["size"], told["steps"]) == ("lp-ft", 32, 6)
    assert told["plan"]["strategy"] == "lp-ft"
    assert told["chosen"].startswith("weights: ")
    assert 0 <= told["start_accuracy"] <= 1
    steps = [point["step"] for point in told["curve"]]
    assert steps == sorted(steps)
    assert steps[-1] == 6
    for point in told["curve"]:
        assert all(math.isfinite(point[name]) for name in ("loss", "rate", "held_loss", "seconds"))
        assert 0 <= point["held_accuracy"] <= 1
        assert 0 <= point["average_accuracy"] <= 1


def test_the_report_has_curves_and_heat_maps(tuned: Run) -> None:
    page = tuned.fitted.report.html()
    section = page.split('id="training"')[1].split("</section>")[0]
    assert section.count("<figure") == 2
    assert "the probe before training" in section
    looked = tuned.fitted.report.record["looked"]
    assert looked
    section = page.split('id="looked"')[1].split("</section>")[0]
    assert section.count("<figure") == len(looked)
    assert section.count("<img") == 2 * len(looked)


def test_the_log_tells_each_look_and_nothing_to_go_on_with_is_left(tuned: Run) -> None:
    lines = [json.loads(line) for line in (tuned.folder / "log.jsonl").read_text().splitlines()]
    assert lines[0] == {"plan": tuned.told["plan"]}
    assert lines[1:] == [{"strategy": "lp-ft", **point} for point in tuned.told["curve"]]
    assert {path.name for path in tuned.folder.iterdir()} == {"log.jsonl", "lock"}


def test_what_the_user_set_is_in_the_plan(lesson: Path, short: Settings, train: Train) -> None:
    """Nothing of it is changed on the way; what was left to the strategy is the strategy's."""
    asked = {
        "rate": 2e-4,
        "batch": 9,
        "optimiser": "sgd",
        "schedule": "constant",
        "augment": "flip",
    }
    asked |= {"weight_decay": 0.0, "average": 0.0, "norm": "free", "sampling": "balanced"}
    asked |= {"loss": "focal:gamma=1.5", "weights": "inverse"}
    folder = lesson.parent / "asked"
    told = train(lesson, folder, **{**short, "steps": 1, "strategy": "tune-norm", **asked}).told
    assert told["plan"] | asked == told["plan"]
    assert told["steps"] == 1
    assert told["curve"][-1]["average_loss"] is None


# --- never worse than the probe ------------------------------------------------------------------


def test_what_is_not_clearly_better_leaves_the_probe_as_it_was(
    tuned: Run, lesson: Path, short: Settings
) -> None:
    probe = fit_and_report(lesson, **{**short, "strategy": "probe", "steps": None})
    assert "training" not in probe.report.record
    assert are_equal(probe.model, tuned.fitted.model)
    assert probe.report.metrics == tuned.fitted.report.metrics


def test_of_the_held_back_examples_no_more_are_wrong_than_before(tuned: Run) -> None:
    why = rung(tuned.fitted, "lp-ft")["why"]
    found = re.search(r"([\d.]+)% against ([\d.]+)% of (\d+) held-back examples", why)
    assert found
    assert float(found[1]) / 100 == pytest.approx(
        rung(tuned.fitted, "lp-ft")["held_back"], abs=6e-4
    )
    assert int(found[3]) == 11  # a quarter of 42


def two_squares(folder: Path, numbers: range) -> None:
    """Red left of blue, or the other way round, anywhere in noise."""
    red, blue = (220, 60, 60), (60, 60, 220)
    for place, pair in enumerate(((red, blue), (blue, red))):
        (folder / str(place)).mkdir(parents=True)
        for number in numbers:
            rng = np.random.default_rng([place, number])
            pixels = rng.integers(60, 190, (32, 32, 3), dtype=np.uint8)
            top, left = rng.integers(2, 22), rng.integers(2, 16)
            for x, colour in zip((left, left + 8), pair, strict=True):
                pixels[top : top + 6, x : x + 6] = colour
            Image.fromarray(pixels).save(folder / str(place) / f"{number}.png")


@pytest.mark.slow
def test_a_clear_gain_is_kept(short: Settings, train: Train, tmp_path: Path) -> None:
    """Which of two things is left: a network learned not to see that, and sees it when tuned."""
    two_squares(tmp_path / "data" / "train", range(120))
    two_squares(tmp_path / "data" / "test", range(200, 260))
    asked = {**short, "steps": 100, "rate": 2e-3, "augment": "none"}
    found = train(tmp_path / "data", tmp_path / "run", **asked).fitted
    (kept,) = (row for row in found.report.record["tried"] if row["kept"])
    assert kept["kind"] in ("lp-ft", "ensemble")
    assert kept["why"].startswith("better than the probe: ")
    assert kept["score"]["value"] > rung(found, "probe")["score"]["value"] + 0.05


# --- a tuned model -------------------------------------------------------------------------------

ANSWERS = """
import json, sys
import torch
import regraft
from regraft.verbs.evaluate import evaluate
torch.set_num_threads(1)
folder, bundle = sys.argv[1:]
model = regraft.Model.load(bundle)
answers = [[p.file, p.top] for p in regraft.predict(model, folder, top=len(model.classes))]
metrics = evaluate(model, folder, resamples=100).metrics
print(json.dumps({"answers": answers, "metrics": {k: v["value"] for k, v in metrics.items()}}))
"""


@pytest.mark.parametrize(
    ("share", "networks"),
    [
        (1.0, ["efficientnet-lite0 (copy)"]),
        pytest.param(
            0.5, ["efficientnet-lite0", "efficientnet-lite0 (copy)"], marks=pytest.mark.slow
        ),
    ],
    ids=["alone", "mixed with the probe"],
)
def test_a_tuned_model_is_reloaded_elsewhere_and_says_the_same_bit_for_bit(
    share: float,
    networks: list[str],
    kept: Callable[[float], Run],
    lesson: Path,
    tmp_path: Path,
) -> None:
    """In a process of its own, with an empty cache: all that it needs is in the bundle."""
    found = kept(share).fitted
    assert [one.row.name for one in found.model.extractors] == networks
    row = rung(found, "copy" if share == 1 else "ensemble")
    assert (row["kept"], row["loo_error"]) == (True, None)
    assert found.model.record["held_back"] == {"accuracy": row["held_back"], "n": 11}
    bundle, folder = found.model.save(tmp_path / "tuned.regraft"), lesson / "test"
    command = [sys.executable, "-c", ANSWERS, str(folder), str(bundle)]
    env = {**os.environ, "REGRAFT_CACHE": str(tmp_path / "cache")}
    out = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout
    told = json.loads(out)
    here = regraft.predict(found.model, folder, top=len(found.model.classes))
    assert told["answers"] == json.loads(json.dumps([[p.file, p.top] for p in here]))
    assert told["metrics"] == {k: v["value"] for k, v in found.report.metrics.items()}
    assert told["metrics"]["accuracy"] == row["score"]["value"]


# --- what is refused, and when nothing is trained ------------------------------------------------


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is opened."""

    def opened(*about: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(fit_module, "hash_files", opened)


@pytest.mark.usefixtures("no_work")
def test_unknown_names_are_told_together_before_any_work(lesson: Path) -> None:
    wrong = {
        "strategy": "lp-tf",
        "optimiser": "adamm",
        "schedule": "cosinus",
        "loss": "focall",
        "augment": "flp",
        "sampling": "fair",
        "weights": "inverted",
        "norm": "thawed",
        "precision": "float8",
    }
    with pytest.raises(UsageError) as caught:
        fit(lesson, **wrong)
    told = list(caught.value.mistakes)
    assert len(told) == len(wrong)
    for value in wrong.values():
        assert any(value in mistake for mistake in told), value
    assert "did you mean lp-ft?" in next(m for m in told if "lp-tf" in m)


@pytest.mark.usefixtures("no_work")
def test_settings_that_have_no_use_are_refused_before_any_work(lesson: Path) -> None:
    with pytest.raises(UsageError) as caught:
        fit(lesson, strategy="probe", rate=1e-3, steps=5, augment="none")
    told = sorted(caught.value.mistakes)
    assert told == [
        f"{name}: has no use where nothing is trained" for name in ("augment", "rate", "steps")
    ]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"steps": 3, "epochs": 1.0}, "steps, epochs: give one of them"),
        ({"steps": 0}, "steps: expected a whole number"),
        ({"rate": -1.0}, "rate: expected"),
        ({"loss": "focal:gama=2"}, "gama"),
        ({"loss": "focal:gamma=-2"}, "gamma"),
        ({"strategy": "lora"}, "lora.*do not offer"),
        ({"log": "tensorbord"}, "log: 'tensorbord'"),
        ({"augment": "flip=2"}, "flip=2"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_before_any_work(
    asked: Settings, words: str, lesson: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        fit(lesson, run=tmp_path, **{"backbone": "efficientnet-lite0", **asked})


def learning(n: int) -> Learning:
    """So many examples of two classes."""
    return Learning(np.arange(n), np.arange(n) % 2, np.arange(n), 2)


@pytest.mark.parametrize(
    ("asked", "n", "expected"),
    [
        ({}, 400, ""),  # a short budget: nobody would expect any training
        ({"budget": 89.0}, 400, ""),
        ({"strategy": "probe", "budget": 900.0}, 400, ""),
        ({"budget": 90.0}, 400, None),
        ({"budget": 90.0}, 116, "29 examples to judge a gain by are too few (30)"),
        ({"budget": 90.0}, 120, None),
        ({"budget": 90.0, "steps": 9}, 40, None),
        ({"strategy": "lp-ft"}, 40, None),
        ({"rate": 1e-3}, 40, None),
    ],
)
def test_whether_to_train_is_decided_by_counts(
    asked: Settings, n: int, expected: str | None
) -> None:
    recipe = Recipe(**asked)
    assert refusals(recipe, learning(n)) == expected
    assert perhaps(recipe) == (expected != "")


def test_a_short_budget_trains_nothing_and_says_nothing(fitted: Fitted) -> None:
    assert "training" not in fitted.report.record
    assert "looked" not in fitted.report.record
    assert "training" not in fitted.model.record["chosen"]


def test_too_few_to_judge_by_is_said(lesson: Path, short: Settings, tmp_path: Path) -> None:
    asked = {**short, "strategy": (), "steps": None, "budget": 100.0}
    found = fit_and_report(lesson, run=tmp_path, **asked)
    expected = "none: 11 examples to judge a gain by are too few (30)"
    assert found.model.record["chosen"]["training"] == expected
    assert "training" not in found.report.record


def test_three_of_each_class_are_enough_to_ask_for_training(
    write_photos: Callable[..., Path], short: Settings, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    write_photos(data / "train", {"disc": range(3), "square": range(3)})
    write_photos(data / "test", {"disc": [50], "square": [50]})
    found = fit_and_report(data, **{**short, "steps": 1, "strategy": "tune-norm"})
    assert rung(found, "tune-norm")["why"]


# --- the order -----------------------------------------------------------------------------------

ORDERS: list[tuple[dict[str, Any], list[str]]] = [
    ({"lp-ft": (64, 20), "partial": (64, 100)}, ["partial", "lp-ft"]),  # ten epochs against two
    ({"lp-ft": (64, 300), "partial": (64, 900)}, ["lp-ft", "partial"]),  # there is time for both
    ({"lp-ft": (32, 60), "partial": (64, 60)}, ["partial", "lp-ft"]),  # at half the size
    ({"lp-ft": (64, 20), "partial": UsageError("too much memory")}, ["lp-ft"]),
]


@pytest.mark.parametrize(("lengths", "expected"), ORDERS)
def test_close_offers_are_ordered_by_what_the_time_allows(
    lengths: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def length(self: Planner) -> tuple[int, int]:
        found = lengths[self.turn.wanted.name]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(Planner, "length", length)
    monkeypatch.setattr(Planner, "epoch", 10)
    said: list[str] = []
    network = SimpleNamespace(spec=InputSpec(size=64))
    ground = SimpleNamespace(
        recipe=Recipe(source="x"), folder=None, until=0.0, progress=SimpleNamespace(say=said.append)
    )
    lessons: Any = SimpleNamespace(ground=ground, network=network, row=find(DEFAULT))
    offers = [offer.turn.wanted.name for offer in Ladder(lessons)._offers()]
    assert [name for name in offers if name in lengths] == expected
    assert offers[0] == expected[0]
    assert said == [] if len(expected) == 2 else ["partial: not tried, too much memory"]


# --- again ---------------------------------------------------------------------------------------


def test_the_recipe_of_the_record_repeats_the_run(tuned: Run, train: Train, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(json.loads(json.dumps(tuned.fitted.model.record["recipe"])))
    assert recipe == Recipe.from_toml(recipe.to_toml())
    again = train(recipe.source, tmp_path, recipe=Recipe.from_toml(recipe.to_toml()))
    assert again.ends == tuned.ends
    assert lasting(again.fitted) == lasting(tuned.fitted)
    assert are_equal(again.fitted.model, tuned.fitted.model)


CHILD = """
import json, sys
from functools import partial
import torch
from regraft.progress import Quiet
from regraft.training import loop, terms
from regraft.verbs.fit import fit

class Telling(Quiet):
    def stage(self, name, total=None):
        stage = super().stage(name, total)
        if not name.startswith("training"):
            return stage
        stage.__enter__()
        class Told:
            __enter__ = lambda self: lambda steps: print("step", flush=True)
            __exit__ = lambda self, *error: None
        return Told()

torch.set_num_threads(1)
terms.Execution = partial(terms.Execution, checkpoint=0.0)  # one after each step
source, run, resume, settings = sys.argv[1:]
fit(source, progress=Telling(), run=run, resume=bool(resume), **json.loads(settings))
"""


def stopped(source: Path, run: Path, settings: Settings, number: int, resume: bool) -> None:
    """A fit in a process of its own, which gets a signal after its second step."""
    command = [sys.executable, "-c", CHILD, str(source), str(run), "yes" if resume else ""]
    with subprocess.Popen(
        [*command, json.dumps(settings)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(3):  # the first tells where it begins
            assert child.stdout.readline() == "step\n", child.communicate()
        child.send_signal(number)
        child.communicate(timeout=60)
    assert child.returncode != 0


class Heard(Quiet):
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def begun(self) -> int:
        """The step after which a run went on; 0: it began from the start."""
        found = [said.rpartition(" ")[2] for said in self.said if "goes on after step" in said]
        return int(found[0]) if found else 0


def check_that_it_goes_on(
    tuned: Run, lesson: Path, short: Settings, train: Train, folder: Path, least: int
) -> None:
    """The rest of a run, after which everything is as if nothing had happened."""
    heard = Heard()
    whole = train(lesson, folder, resume=True, progress=heard, **short)
    assert least <= heard.begun() < short["steps"]
    assert whole.ends == tuned.ends
    assert lasting(whole.fitted) == lasting(tuned.fitted)
    assert are_equal(whole.fitted.model, tuned.fitted.model)
    assert {path.name for path in folder.iterdir()} == {"log.jsonl", "lock"}


def stopped_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, in this process, is asked to end when it has done so many steps."""
    step = Training._one_step

    def asked(self: Training, batch: Any) -> None:
        if self.step == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, batch)

    monkeypatch.setattr(Training, "_one_step", asked)


@pytest.fixture(scope="module")
def interrupted(
    lesson: Path, short: Settings, train: Train, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run that was asked to stop after four steps."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        stopped_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            train(lesson, folder, **short)
    assert list(folder.glob("*.checkpoint"))
    return folder


def test_a_run_that_was_asked_to_stop_goes_on_and_ends_with_the_same_weights(
    interrupted: Path, tuned: Run, lesson: Path, short: Settings, train: Train, tmp_path: Path
) -> None:
    folder = shutil.copytree(interrupted, tmp_path / "run")
    check_that_it_goes_on(tuned, lesson, short, train, folder, least=4)


@pytest.mark.parametrize(("resume", "step"), [(False, 0), (True, 4)])
def test_only_a_run_that_is_to_go_on_does_so(
    resume: bool, step: int, interrupted: Path, lesson: Path, short: Settings, train: Train,
    tmp_path: Path,
) -> None:  # fmt: skip
    """What an older one has left in the folder is forgotten by a new one."""
    folder = shutil.copytree(interrupted, tmp_path / "run")
    steps = []

    def begun(self: Training) -> None:
        resumed(self)
        steps.append(self.step)
        raise KeyboardInterrupt

    resumed = Training._resume
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_resume", begun)
        with pytest.raises(KeyboardInterrupt):
            train(lesson, folder, resume=resume, **short)
    assert steps == [step]
    assert bool(list(folder.glob("*.checkpoint"))) == resume


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    tuned: Run, lesson: Path, short: Settings, train: Train, tmp_path: Path
) -> None:
    """Killed outright, then asked to stop, then left alone."""
    stopped(lesson, tmp_path, short, signal.SIGKILL, resume=False)
    assert list(tmp_path.glob("*.checkpoint"))
    stopped(lesson, tmp_path, short, signal.SIGTERM, resume=True)
    check_that_it_goes_on(tuned, lesson, short, train, tmp_path, least=2)


def test_two_runs_in_one_folder_are_refused(lesson: Path, short: Settings, tmp_path: Path) -> None:
    with run_folder(tmp_path), pytest.raises(UsageError, match="another run is at work here"):
        fit(lesson, run=tmp_path, **short)


def test_to_go_on_needs_a_folder(lesson: Path, short: Settings) -> None:
    with pytest.raises(UsageError, match="resume: name the folder of the interrupted run"):
        fit(lesson, resume=True, **short)


# --- the time ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_budget_is_kept_and_spent_on_training(
    write_photos: Callable[..., Path], short: Settings, tmp_path: Path
) -> None:
    kinds = {kind: range(60) for kind in ("disc", "square", "stripes")}
    data = write_photos(tmp_path / "data", kinds)
    asked = {**short, "strategy": (), "steps": None, "budget": 100.0}
    start = time.monotonic()
    found = fit_and_report(data, run=tmp_path / "run", **asked)
    assert time.monotonic() - start < 110
    assert found.report.record["training"]
    assert all(row["why"] for row in found.report.record["tried"])
