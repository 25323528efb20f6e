"""Settings of training in their text form: what reads each, so that mistakes are told at once."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from regraft.errors import UsageError
from regraft.training.attacking import Attacking
from regraft.training.examples import SAMPLINGS
from regraft.training.logs import LOGS
from regraft.training.losses import LOSSES, WEIGHTINGS, parse_setting
from regraft.training.optimisers import ALL
from regraft.training.plan import PRECISIONS
from regraft.training.schedules import SCHEDULES
from regraft.training.settings import parse, unknown
from regraft.training.tuning import NORMS


def _one_of(what: str, known: Iterable[str]) -> Callable[[Any], None]:
    def read(name: Any) -> None:
        if name not in known:
            raise UsageError(unknown(what, name, known))

    return read


def check_loss(text: str, kind: str = "classes") -> None:
    """Raise UsageError for a loss that cannot be read, or is for another kind of targets."""
    row = LOSSES[parse_setting(text).name]
    if row.task != kind:
        own = ", ".join(name for name, other in LOSSES.items() if other.task == kind)
        raise UsageError(f"loss: {row.name} is for {row.task}; for {kind} there are {own}")


def _logs(names: Iterable[str]) -> None:
    if mistakes := [unknown("log", name, LOGS) for name in names if name not in LOGS]:
        raise UsageError(*mistakes)


# Field of a recipe → what raises UsageError for a value that cannot be obeyed.
READ: Mapping[str, Callable[[Any], object]] = MappingProxyType(
    {
        "optimiser": lambda text: parse("optimiser", text, ALL),
        "schedule": lambda text: parse("schedule", text, SCHEDULES),
        "loss": check_loss,
        "attack": Attacking.of,
        "sampling": _one_of("sampling", SAMPLINGS),
        "weights": _one_of("weights", WEIGHTINGS),
        "norm": _one_of("norm", NORMS),
        "precision": _one_of("precision", PRECISIONS),
        "log": _logs,
    }
)
