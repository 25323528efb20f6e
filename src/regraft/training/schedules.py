"""Schedules: the learning rate's factor at each step, and a finder of the rate itself."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from regraft.errors import UsageError
from regraft.training.settings import Parameter, complete, parameter_mistakes, parse

Shape = Callable[[int, int, Mapping[str, float]], float]


class Schedule:
    """Factor of the learning rate at each step of a run.

    First `warmup` steps in which it rises in a straight line, then the row's shape over the rest,
    from 1 towards `floor`. After the last step it stays.
    """

    def __init__(
        self,
        row: "ScheduleRow",
        steps: int,
        warmup: int,
        floor: float,
        parameters: Mapping[str, float],
    ) -> None:
        self.row, self.steps, self.warmup, self.floor = row, steps, warmup, floor
        self.parameters = MappingProxyType(dict(parameters))

    def factor(self, step: int) -> float:
        """In [0, 1], at a step: 0 is the first. Raises UsageError below 0."""
        if step < 0:
            raise UsageError(f"step: {step} is below 0")
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)  # 0 would waste a step, 1 comes next
        done, steps = min(step, self.steps) - self.warmup, self.steps - self.warmup
        return self.floor + (1 - self.floor) * self._shape(done, steps)

    def _shape(self, done: int, steps: int) -> float:
        return self.row.shape(done, steps, self.parameters)

    def tell(self, value: float) -> None:
        """Hear how large a loss is; only `plateau` listens."""

    def state(self) -> dict[str, Any]:
        """What it remembers, as plain data for JSON; `restore` reads it."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember what another one did. Raises UsageError for the state of another schedule."""
        if state.keys() != self.state().keys():
            expected = ", ".join(self.state()) or "nothing"
            raise UsageError(
                f"schedule {self.row.name}: its state has {expected}, not {', '.join(state)}"
            )


class Plateau(Schedule):
    """Lower the rate where the loss has not fallen for a while.

    A loss counts as lower below best × (1 − 0.0001), as in torch's ReduceLROnPlateau; NaN never is.
    """

    LEAST = 1e-4

    best: float | None = None
    waited: int = 0  # values since the lowest one
    drops: int = 0

    def _shape(self, done: int, steps: int) -> float:
        return float(self.parameters["by"] ** self.drops)

    def tell(self, value: float) -> None:
        """Hear a loss, lower is better: as a rule once an epoch, of the held-out examples."""
        best = math.inf if self.best is None else self.best
        if value < best * (1 - self.LEAST):
            self.best, self.waited = float(value), 0  # JSON knows no numpy
            return
        self.waited += 1
        if self.waited > self.parameters["patience"]:
            self.waited, self.drops = 0, self.drops + 1

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "drops": self.drops}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.best, self.waited, self.drops = state["best"], state["waited"], state["drops"]


@dataclass(frozen=True)
class ScheduleRow:
    """One schedule.

    told    one plain sentence
    source  the paper
    shape   (steps done after the warm-up, their number, parameters) → in [0, 1]
    rises   whether its shape begins with a warm-up of its own
    kind    of the object that keeps it
    """

    name: str
    told: str
    source: str
    shape: Shape
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    rises: bool = False
    kind: type[Schedule] = Schedule


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _stairs(done: int, steps: int, parameters: Mapping[str, float]) -> float:
    length = max(1, round(parameters["every"] * steps))
    return float(parameters["by"] ** (done // length))


def _one_cycle(done: int, steps: int, parameters: Mapping[str, float]) -> float:
    """Up to 1 and far below the start, both in half a cosine wave; the last step has the lowest."""
    start, end = 1 / parameters["start"], 1 / (parameters["start"] * parameters["end"])
    peak, last = parameters["rise"] * steps - 1, steps - 1
    if done <= peak:
        return _cosine(start, 1.0, done / peak if peak > 0 else 1.0)
    return _cosine(1.0, end, min(1.0, (done - peak) / (last - peak)) if last > peak else 1.0)


BY = Parameter(0.1, 0.0, 1.0, "factor of each drop")

SCHEDULES: Mapping[str, ScheduleRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            ScheduleRow("constant", "Stays.", "", lambda done, steps, _: 1.0),
            ScheduleRow(
                "cosine",
                "Falls slowly, then faster, then slowly: the usual one.",
                "Loshchilov and Hutter 2017, 1608.03983, without restarts",
                lambda done, steps, _: _cosine(1.0, 0.0, done / steps if steps else 1.0),
            ),
            ScheduleRow(
                "linear",
                "Falls in a straight line.",
                "",
                lambda done, steps, _: 1 - done / steps if steps else 0.0,
            ),
            ScheduleRow(
                "one-cycle",
                "Rises to its peak and falls far below its start.",
                "Smith and Topin 2018, 1708.07120",
                _one_cycle,
                {
                    "rise": Parameter(0.3, 0.0, 1.0, "share of the steps in which it rises"),
                    "start": Parameter(25.0, 1.0, 1e9, "peak divided by the start"),
                    "end": Parameter(1e4, 1.0, 1e9, "start divided by the end"),
                },
                rises=True,
            ),
            ScheduleRow(
                "step",
                "Drops at even distances.",
                "He 2016, 1512.03385",
                _stairs,
                {
                    "every": Parameter(1 / 3, 1e-6, 1.0, "share of the steps between drops"),
                    "by": BY,
                },
            ),
            ScheduleRow(
                "plateau",
                "Drops when the loss has not fallen for a while.",
                "He 2016, 1512.03385",
                lambda done, steps, _: 1.0,
                {
                    "by": BY,
                    "patience": Parameter(
                        3, 0, 1_000_000, "losses in a row that may not be lower", whole=True
                    ),
                },
                kind=Plateau,
            ),
        )
    }
)


def schedule(
    name: str, steps: int, *, warmup: float = 0.0, floor: float = 0.0, **options: float
) -> Schedule:
    """The schedule of a name in SCHEDULES, or of a name with numbers: ``step:every=0.2``.

    steps    of the run; 0 is a run that only evaluates
    warmup   share of the steps in which the factor rises from near 0, in [0, 1]
    floor    factor that the shape falls towards, in [0, 1]
    options  parameters of the row; what is left out has its default
    Raises UsageError with all that is wrong.
    """
    text = parse("schedule", name, SCHEDULES)
    row = SCHEDULES[text.name]
    mistakes = parameter_mistakes(f"schedule {row.name}", options, row)
    if type(steps) is not int or steps < 0:
        mistakes.append(f"steps: {steps!r} is not a whole number of 0 or more")
    for word, value in (("warmup", warmup), ("floor", floor)):
        if not 0 <= value <= 1:
            mistakes.append(f"{word}: {value!r} is not a number from 0 to 1")
    if row.rises and warmup:
        mistakes.append(f"warmup: schedule {row.name} has its own; set it to 0 and set rise")
    if mistakes:
        raise UsageError(*mistakes)
    parameters = complete(text.parameters | options, row)
    return row.kind(row, steps, round(warmup * steps), floor, parameters)


# Finder of the rate -------------------------------------------------------------------------------

MEMORY = 0.8  # of the moving average of the losses
TOO_HIGH = 4.0  # times the lowest: the sweep ends
FEWEST = 5  # losses that a suggestion needs
FALL = 0.01  # share of the first loss: less is rounding and chance


class RateCurve(NamedTuple):
    """What a sweep of the learning rate found.

    rates      (n,) rising
    losses     (n,) at each, a moving average of those that were told
    suggested  a rate to train with; None where the loss fell by less than 1 %
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None


def find_rate(
    step: Callable[[float], float], *, low: float = 1e-6, high: float = 1.0, steps: int = 60
) -> RateCurve:
    """Sweep the rate from low to high in equal ratios (Smith 2015, 1506.01186).

    step  takes one step of the optimiser at a rate, and returns the loss before it; what it moved
          is the caller's to put back
    The sweep ends early where the averaged loss is above four times its lowest, or no number.

    Suggested is the lower of two rates: where the averaged loss falls steepest over the logarithm
    of the rate, and a tenth of the rate where it is lowest. Raises UsageError for a wrong range.
    """
    if not (0 < low < high < math.inf and steps >= FEWEST):
        raise UsageError(
            f"low, high, steps: {low!r}, {high!r}, {steps!r}; expected 0 < low < high and at least "
            f"{FEWEST} steps"
        )
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    for number, rate in enumerate(np.geomspace(low, high, steps).tolist()):
        average = MEMORY * average + (1 - MEMORY) * step(rate)
        smooth = average / (1 - MEMORY ** (number + 1))
        if not math.isfinite(smooth):
            break
        rates.append(rate)
        losses.append(smooth)
        if smooth > TOO_HIGH * min(losses):
            break
    return RateCurve(tuple(rates), tuple(losses), _suggested(rates, losses))


def _suggested(rates: list[float], losses: list[float]) -> float | None:
    lowest = int(np.argmin(losses)) if losses else 0
    if len(losses) < FEWEST or losses[0] - losses[lowest] < FALL * abs(losses[0]) or lowest == 0:
        return None
    slopes = np.gradient(losses[: lowest + 1])  # the rates are equally far apart
    return min(rates[int(np.argmin(slopes))], rates[lowest] / 10)
