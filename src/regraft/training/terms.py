"""What a run is given and what it gives."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from regraft.training.averaging import State
from regraft.training.examples import Augmented
from regraft.training.objectives import Objective
from regraft.training.signs import Point


@dataclass(frozen=True)
class Execution:
    """How a run is carried out; none of it changes what the run ends with, but for rounding.

    workers     processes that decode and augment
    micro       examples that are in memory at once; None: a whole batch
    checkpoint  seconds between checkpoints
    until       of time.monotonic(): no step begins later
    compiled    torch.compile the network
    folds       BatchNorm may be folded while it is frozen; where the least difference in rounding
                decides what is answered, a trial of it would end one way today and another tomorrow
    """

    workers: int = 0
    micro: int | None = None
    checkpoint: float = 60.0
    until: float | None = None
    compiled: bool = False
    folds: bool = True


@dataclass(frozen=True)
class Material:
    """What a run learns from.

    examples  as they are augmented
    labels    (n,) class numbers
    classes   number of them
    weights   (c,) of the classes in the loss; None: all the same
    objective  what the loss is; None: that of classes, as the plan names it
    """

    examples: Augmented
    labels: Any
    classes: int
    weights: Tensor | None = None
    objective: Objective | None = None


class Part(NamedTuple):
    """Parameters of one depth.

    rate_factor  their learning rate as a share of the plan's
    from_step    the step at which they begin to learn
    """

    parameters: list[Tensor]
    rate_factor: float = 1.0
    from_step: int = 0


@dataclass
class Trained:
    """What a run ended with.

    last, average, best  states; `best` is that of the look with the least held-back loss
    steps                that were done, of those planned
    """

    last: State
    average: State | None
    best: State | None
    curve: list[Point]
    steps: int
    seconds: float
    warnings: list[str] = field(default_factory=list)
