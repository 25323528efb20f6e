"""Logs: what is written of a run's looks, read back with the readers of those formats."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from regraft.errors import MissingExtra, StorageError, UsageError
from regraft.training.logs import logs
from regraft.training.plan import Plan
from regraft.training.signs import Point

Tiny = Any  # of conftest.py

PLAN = Plan("lp-ft", 32, 20)
POINTS = [
    Point(step=10, epoch=0.5, seconds=1.0, loss=0.75, rate=1e-3),
    Point(20, 1.0, 2.0, 0.5, 1e-4, 0.625, 0.875, 0.5625, 0.9375),
]
VALUES = [name for name in asdict(POINTS[1]) if name != "step"]


def log_of(names: list[str], folder: Path, plan: Plan = PLAN) -> None:
    opened = logs(names, folder, plan)
    for point in POINTS:
        for log in opened:
            log(point)


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("names", [[], ["jsonl"], ["jsonl", "jsonl"]])
def test_json_lines_are_always_written_and_once(tmp_path: Path, names: list[str]) -> None:
    log_of(names, tmp_path)
    plan, *looks = lines(tmp_path)
    assert Plan.from_dict(plan["plan"]) == PLAN
    assert looks == [{"strategy": "lp-ft", **asdict(point)} for point in POINTS]


def test_a_run_that_goes_on_adds_to_what_is_there(tmp_path: Path) -> None:
    log_of([], tmp_path)
    log_of([], tmp_path, Plan("copy", 32, 20))
    assert [line.get("strategy") for line in lines(tmp_path)] == [
        *(None, "lp-ft", "lp-ft"),
        *(None, "copy", "copy"),
    ]


def test_tensorboard_reads_every_value(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_of(["tensorboard"], tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard" / "lp-ft"))
    found.Reload()
    assert set(VALUES) <= set(found.Tags()["scalars"])
    for name in VALUES:
        events = {event.step: event.value for event in found.Scalars(name)}
        expected = {p.step: getattr(p, name) for p in POINTS if getattr(p, name) is not None}
        assert events == pytest.approx(expected, rel=1e-6)
    text = found.Tensors("plan/text_summary")[0].tensor_proto.string_val[0]
    assert Plan.from_dict(json.loads(text)) == PLAN
    assert len(lines(tmp_path)) == 3


class Tracking:
    """What a run says to the library of MLflow."""

    def __init__(self) -> None:
        self.uri = ""
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[str, float, int]] = []

    def module(self) -> SimpleNamespace:
        return SimpleNamespace(MlflowClient=lambda: self, set_tracking_uri=self.set_uri)

    def set_uri(self, uri: str) -> None:
        self.uri = uri

    def get_experiment_by_name(self, name: str) -> None:
        assert name == "regraft"

    def create_experiment(self, name: str) -> str:
        return f"of {name}"

    def create_run(self, experiment: str, run_name: str) -> SimpleNamespace:
        assert (experiment, run_name) == ("of regraft", "lp-ft")
        return SimpleNamespace(info=SimpleNamespace(run_id="1"))

    def log_param(self, run: str, name: str, value: Any) -> None:
        self.params[name] = value

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.metrics.append((name, value, step))


@pytest.mark.parametrize("server", ["", "http://127.0.0.1:5000"])
def test_mlflow_is_told_of_plan_and_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    tracking = Tracking()
    monkeypatch.setitem(sys.modules, "mlflow", tracking.module())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    log_of(["mlflow"], tmp_path)
    assert tracking.uri == ("" if server else f"sqlite:///{tmp_path}/mlflow.db")
    assert tracking.params == PLAN.to_dict()
    assert tracking.metrics == [
        (name, value, point.step)
        for point in POINTS
        for name, value in asdict(point).items()
        if value is not None
    ]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_library_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in [m for m in sys.modules if m.startswith(("tensorboard", "torch.utils.tensorb"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=rf"{name} is not installed.*regraft\[{name}\]"):
        logs([name], tmp_path, PLAN)


def test_unknown_names_are_told_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        logs(["wandb", "jsonl", "comet"], tmp_path, PLAN)
    assert len(caught.value.mistakes) == 2
    assert "'wandb' is not known; choose of jsonl, tensorboard, mlflow" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"log\.jsonl: cannot be written: No such file"):
        logs([], tmp_path / "missing", PLAN)


def test_a_run_is_logged_look_by_look(tiny: Tiny, tmp_path: Path) -> None:
    ready = tiny("resnet").ready("tune-norm", steps=3)
    trained = ready.training(logs=logs([], tmp_path, ready.plan), held=tiny("resnet").held).run()
    _, *looks = lines(tmp_path)
    assert [{"strategy": "tune-norm", **asdict(point)} for point in trained.curve] == looks
    assert looks[-1]["step"] == 3
