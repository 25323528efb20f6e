"""A run's state as tensors and plain data, and back: what a checkpoint holds."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from torch import Tensor

from regraft.training.averaging import State, put
from regraft.training.checkpoints import Checkpoint
from regraft.training.judging import Score
from regraft.training.signs import Point
from regraft.training.states import flatten, unflatten

if TYPE_CHECKING:
    from regraft.training.loop import Training


def checkpoint_of(run: "Training") -> Checkpoint:
    """Weights, average, best, optimiser, schedule, curve and position."""
    model = run.moving | dict(run.model.named_buffers())  # those that count as well
    tensors = {f"model/{name}": t for name, t in model.items()}
    if run.average:
        tensors |= {f"average/{name}": t for name, t in run.average.state.items()}
    if run.best:
        tensors |= {f"best/{name}": t for name, t in run.best[1].items()}
    moments, plain = flatten(run.optimiser.state_dict())
    tensors |= {f"optimiser/{name}": t for name, t in moments.items()}
    document = {
        "optimiser": plain,
        "schedule": run.schedule.state(),
        "average_steps": run.average.steps if run.average else 0,
        "best_loss": run.best[0] if run.best else None,
        "curve": [asdict(point) for point in run.curve],
        "losses": run.losses,
        "seconds": run.seconds,
        "warnings": run.warnings,
        "start": run.start,
        "micro": run.micro,
    }
    return Checkpoint(run.step, tensors, document)


def go_on(run: "Training", found: Checkpoint) -> None:
    """Put a run where a checkpoint of the same plan was."""
    told = found.document
    put(run.model, _under(found.tensors, "model/"))
    if run.average:
        own = _under(found.tensors, "average/")
        run.average.state = {name: t.to(run.device) for name, t in own.items()}
        run.average.steps = told["average_steps"]
    if told["best_loss"] is not None:
        run.best = (told["best_loss"], _under(found.tensors, "best/"))
    moments = _under(found.tensors, "optimiser/")
    run.optimiser.load_state_dict(unflatten(moments, told["optimiser"]))
    run.schedule.restore(told["schedule"])
    run.curve = [Point(**point) for point in told["curve"]]
    run.losses, run.seconds = list(told["losses"]), told["seconds"]
    run.warnings, run.micro = list(told["warnings"]), told["micro"]
    run.start = Score(*told["start"]) if told["start"] else None
    run.step = found.step


def _under(tensors: Mapping[str, Tensor], start: str) -> State:
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
