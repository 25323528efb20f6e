"""Where a run's curve is written while it trains: JSON lines always, other places by name."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from regraft.errors import MissingExtra, StorageError, UsageError
from regraft.training.plan import Plan
from regraft.training.signs import Point


class Log(Protocol):
    """Told of each look."""

    def __call__(self, point: Point) -> None: ...


def _json_lines(folder: Path, plan: Plan) -> Log:
    """A line for each look in ``log.jsonl``, the first one the plan."""
    path = folder / "log.jsonl"

    def write(record: object) -> None:
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error

    write({"plan": plan.to_dict()})
    return lambda point: write({"strategy": plan.strategy, **asdict(point)})


def _numbers(point: Point) -> dict[str, float]:
    return {name: value for name, value in asdict(point).items() if value is not None}


def _tensorboard(folder: Path, plan: Plan) -> Log:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", "tensorboard") from None
    writer = SummaryWriter(str(folder / "tensorboard" / plan.strategy))
    writer.add_text("plan", json.dumps(plan.to_dict()))

    def log(point: Point) -> None:
        for name, value in _numbers(point).items():
            writer.add_scalar(name, value, point.step)
        writer.flush()

    return log


def _mlflow(folder: Path, plan: Plan) -> Log:
    """Into the tracking server that MLFLOW_TRACKING_URI names, else a folder of the run's own."""
    import os

    try:
        import mlflow  # type: ignore[import-not-found]
    except ImportError:
        raise MissingExtra("mlflow", "mlflow") from None
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
    client = mlflow.MlflowClient()
    known = client.get_experiment_by_name("regraft")
    experiment = known.experiment_id if known else client.create_experiment("regraft")
    run = client.create_run(experiment, run_name=plan.strategy).info.run_id
    for name, value in plan.to_dict().items():
        client.log_param(run, name, value)

    def log(point: Point) -> None:
        for name, value in _numbers(point).items():
            client.log_metric(run, name, value, step=point.step)

    return log


LOGS: Mapping[str, Callable[[Path, Plan], Log]] = MappingProxyType(
    {"jsonl": _json_lines, "tensorboard": _tensorboard, "mlflow": _mlflow}
)


def logs(names: Sequence[str], folder: Path, plan: Plan) -> list[Log]:
    """The logs of those names, opened. Raises UsageError and MissingExtra."""
    if unknown := [name for name in names if name not in LOGS]:
        raise UsageError(
            *(f"log: {name!r} is not known; choose of {', '.join(LOGS)}" for name in unknown)
        )
    return [LOGS[name](folder, plan) for name in dict.fromkeys(("jsonl", *names))]
