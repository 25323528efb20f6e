"""Options of training: each is a field of the recipe; a run is logged, stopped and gone on with."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from regraft.cli import app
from regraft.cli.training import OPTIONS, PANEL
from regraft.model.model import Model
from regraft.recipe import Recipe
from regraft.training.checkpoints import run_folder
from regraft.verbs.settings import PLANNED

STEPS = 3
NETWORK = ("--backbone", "efficientnet-lite0", "--size", 32, "--engine", "torch")
PLAN = ("--strategy", "lp-ft", "--steps", STEPS, "--class-weights", "inverse", "--seed", 3)
TRAINED = (*NETWORK, *PLAN, "--log", "tensorboard")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Beside other processes many threads crawl."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(shell: Any, photos: Path, tmp_path_factory: Any) -> tuple[dict[str, Any], Path]:
    """The document of a fit that trained, and its folder."""
    out = tmp_path_factory.mktemp("trained") / "out"
    done = shell.invoke("fit", photos, *TRAINED, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    return shell.document(done), out


def lasting(part: Any) -> Any:
    """Without what takes time."""
    if isinstance(part, dict):
        return {k: lasting(v) for k, v in part.items() if k not in ("seconds", "timings")}
    return [lasting(one) for one in part] if isinstance(part, list) else part


# --- the options ---------------------------------------------------------------------------------


def test_every_option_is_a_field_of_the_recipe_and_the_other_way_round() -> None:
    assert set(OPTIONS) <= {field.name for field in fields(Recipe)}
    assert {*PLANNED, "epochs", "steps", "batch"} <= set(OPTIONS)


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_help_shows_them_together(verb: str, shell: Any) -> None:
    known: Any = get_command(app).commands[verb]  # type: ignore[attr-defined]
    own = {param.name: param for param in known.params if param.name in OPTIONS}
    assert set(own) == set(OPTIONS)
    assert {param.rich_help_panel for param in own.values()} == {PANEL}
    text = shell.invoke(verb, "--help", env={"COLUMNS": "200"}).stdout
    shown = re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
    first = shown.index(next(iter(own.values())).opts[0])
    assert shown[first : first + len(own)] == [param.opts[0] for param in own.values()]


def test_a_value_of_each_option_reaches_the_recipe(shell: Any, monkeypatch: Any) -> None:
    from regraft.cli import fit as verb

    seen: list[Recipe] = []

    def taken(voice: Any, asked: Recipe, folder: Path, resume: bool) -> Any:
        seen.append(asked)
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "_fitted", taken)
    asked = {
        "rate": 0.25, "batch": 7, "optimiser": "sgd", "schedule": "step", "loss": "focal",
        "augment": "flip", "sampling": "balanced", "weights": "inverse", "norm": "free",
        "weight_decay": 0.0, "average": 0.5, "clip": 0.0, "warmup": 0.2, "frozen": 0.4,
        "reinit": 0.2,
        "patience": 0, "micro_batch": 2, "workers": 0, "precision": "bfloat16", "epochs": 2.5,
        "attack": "n-fgsm:eps=4", "wish": 0.25, "detector": "fcos", "tiles": 2,
        "start": "whole.safetensors",
    }  # fmt: skip
    names = {"weights": "class-weights"}
    pairs = [(f"--{names.get(k, k).replace('_', '-')}", v) for k, v in asked.items()]
    words = [word for pair in pairs for word in pair]
    assert shell.invoke("fit", "photos", *words, "--compile").exit_code == 130
    assert shell.invoke("fit", "photos", "--steps", 9, "--rate", "find").exit_code == 130
    said = ("said.csv", "--task", "transcribe", "--head", "fresh")
    assert shell.invoke("fit", *said).exit_code == 130
    assert seen[0] == Recipe(source="photos", compile=True, **asked)  # type: ignore[arg-type]
    assert seen[1] == Recipe(source="photos", steps=9, rate="find")
    assert seen[2] == Recipe(source="said.csv", task="transcribe", head="fresh")
    assert {*asked, "compile", "steps", "head"} == set(OPTIONS)


WRONG = {
    "--epochs": "0",
    "--batch": "0",
    "--rate": "fast",
    "--weight-decay": "-1",
    "--average": "2",
    "--clip": "-1",
    "--warmup": "2",
    "--frozen": "-1",
    "--reinit": "2",
    "--patience": "-1",
    "--micro-batch": "0",
    "--workers": "-1",
}
UNKNOWN = {
    "--strategy": "lp-tf",
    "--optimiser": "adamm",
    "--schedule": "cosinus",
    "--loss": "focall",
    "--augment": "flp",
    "--sampling": "fair",
    "--class-weights": "inverted",
    "--norm": "thawed",
    "--precision": "float8",
    "--log": "tensorbord",
}


@pytest.mark.parametrize("wrong", [WRONG, UNKNOWN], ids=["numbers", "names"])
def test_wrong_values_are_told_together(
    wrong: dict[str, str], photos: Path, shell: Any, tmp_path: Path
) -> None:
    words = [word for pair in wrong.items() for word in pair]
    done = shell.invoke("fit", photos, *words, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 2
    told = shell.error(done)["messages"]
    assert len(told) == len(wrong)
    for option, value in wrong.items():
        name = option.removeprefix("--class-").removeprefix("--").replace("-", "_")
        assert any(m.startswith((f"{name}:", "augment")) or value in m for m in told), option
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", "many"], "--steps"),
        (["--epochs", "x"], "--epochs"),
        (["--steps", "2", "--epochs", "1"], "steps, epochs: give one of them"),
        (["--strategy", "probe", "--rate", "0.1"], "rate: has no use where nothing is trained"),
        (["--strategy", "lora", "--backbone", "efficientnet-lite0"], "lora"),
        (["--reinit", "0.2"], "reinit: name the strategy whose layers begin anew"),
        (["--strategy", "scratch", "--reinit", "0.2"], "reinit: all weights of scratch are random"),
        (
            ["--strategy", "lp-ft", "--reinit", "0.8"],
            "reinit: in lp-ft 0.3 of the depth stands still, so that at most 0.7 can begin anew",
        ),
    ],
)
def test_what_cannot_be_obeyed_is_refused(
    words: list[str], told: str, photos: Path, shell: Any, tmp_path: Path
) -> None:
    done = shell.invoke("fit", photos, *words, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 2
    assert told in "\n".join(shell.error(done)["messages"])
    assert list(tmp_path.iterdir()) == []


# --- a run ---------------------------------------------------------------------------------------


def test_the_document_tells_how_training_went(trained: Any) -> None:
    found, out = trained
    kinds = ["baseline", "baseline", "probe", "probe", "lp-ft"]
    assert [row["kind"] for row in found["tried"]][:5] == kinds
    (run,) = found["training"]
    assert run["steps"] == STEPS
    assert run["plan"]["weights"] == "inverse"
    assert run["curve"][-1]["step"] == STEPS
    page = (out / "report.html").read_text()
    assert 'id="training"' in page
    assert 'id="looked"' in page


def test_the_curve_is_in_tensorboard_and_in_json_lines(trained: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found, out = trained
    curve = found["training"][0]["curve"]
    assert {path.name for path in (out / "run").iterdir()} == {"log.jsonl", "lock", "tensorboard"}
    events = EventAccumulator(str(out / "run" / "tensorboard" / "lp-ft"))
    events.Reload()
    for name in ("loss", "held_loss", "average_accuracy"):
        expected = [(point["step"], pytest.approx(point[name])) for point in curve]
        assert [(one.step, one.value) for one in events.Scalars(name)] == expected
    lines = [json.loads(line) for line in (out / "run" / "log.jsonl").read_text().splitlines()]
    assert [line.get("step") for line in lines] == [None, *(point["step"] for point in curve)]


def test_the_recipe_keeps_what_was_asked(trained: Any) -> None:
    _, out = trained
    kept = Recipe.from_toml((out / "recipe.toml").read_text())
    asked = (kept.strategy, kept.steps, kept.weights, kept.log)
    assert asked == (("lp-ft",), STEPS, "inverse", ("tensorboard",))


def check_that_it_goes_on(trained: Any, shell: Any, photos: Path, out: Path) -> None:
    """The rest of a run, after which the figures are those of one that was not interrupted."""
    done = shell.invoke("fit", photos, *TRAINED, "--out", out, "--resume", "--json")
    assert done.exit_code == 0, done.stderr
    assert "lp-ft: goes on after step " in done.stderr
    found, expected = shell.document(done), trained[0]
    for key in ("metrics", "tried", "training", "split", "findings"):
        assert lasting(found[key]) == lasting(expected[key]), key
    models = [Model.load(place["bundle"]) for place in (found, expected)]
    assert models[0].temperature == models[1].temperature
    assert not list((out / "run").glob("*.checkpoint"))


def test_a_run_that_is_stopped_says_so_and_goes_on(
    trained: Any, shell: Any, photos: Path, tmp_path: Path
) -> None:
    from regraft.training.loop import Training

    step = Training._one_step

    def stopped(self: Training, batch: Any) -> None:
        if self.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_one_step", stopped)
        done = shell.invoke("fit", photos, *TRAINED, "--out", tmp_path, "--json")
    assert done.exit_code == 130
    assert shell.error(done) == {"kind": "interrupted", "messages": ["interrupted"]}
    assert list((tmp_path / "run").glob("*.checkpoint"))
    assert not (tmp_path / "model.regraft").exists()
    check_that_it_goes_on(trained, shell, photos, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_program_that_is_stopped_goes_on(
    trained: Any, shell: Any, photos: Path, tmp_path: Path
) -> None:
    """As a service manager does it: SIGTERM to the process, and later the same command again."""
    words = (*TRAINED, "--out", tmp_path, "--verbose")
    command = [sys.executable, "-m", "regraft", "fit", str(photos), *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("training (lp-ft): "):
                break
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    assert running.returncode == 130
    check_that_it_goes_on(trained, shell, photos, tmp_path)


def test_a_second_run_in_the_folder_is_refused(shell: Any, photos: Path, tmp_path: Path) -> None:
    with run_folder(tmp_path / "run"):
        done = shell.invoke("fit", photos, *TRAINED, "--out", tmp_path, "--json")
    assert done.exit_code == 2
    (message,) = shell.error(done)["messages"]
    assert "another run is at work here" in message
