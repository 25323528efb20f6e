"""Plan: everything that decides the numbers of one training run, as plain data.

A run that is begun again from the same plan, examples and weights ends with the same weights.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Self

from regraft.errors import UsageError

PRECISIONS = ("float32", "bfloat16")

# The largest value of what is a number from 0 on.
MOST: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("warmup", "average", "shallow", "frozen", "reinit"), 1.0),
        **{"head": 1e6, "rate": 100.0, "weight_decay": 100.0, "clip": sys.float_info.max},
    }
)


@dataclass(frozen=True)
class Plan:
    """How one strategy is trained.

    strategy      its name
    size          of the input, in its unit: pixels, tokens, seconds
    steps         of the optimiser
    batch         examples that a step learns from, on all processes together
    rate          highest learning rate
    shallow       rate of the shallowest layers as a share of it; those between follow in geometric
                  steps; 1: one rate for all
    head          rate of the head, in those of the deepest layers
    frozen        share of the depth, from the shallow end, that stands still
    reinit        share of the depth, from the deep end, that begins with random weights
    optimiser, schedule, loss, augment, attack  by name, with parameters in their text form
    warmup        share of the steps in which the rate rises
    weight_decay  of matrices and kernels
    average       share of the steps that the moving average of the weights remembers; 0: none
    clip          largest norm of the gradient; 0: any
    sampling      ``plain``: each example once in an epoch; ``balanced``: each class as often
    weights       of classes in the loss, a name of `losses.class_weights`
    norm          BatchNorm: ``frozen``, ``estimated`` (anew, then frozen) or ``free``
    views         of each example that are kept where the shallow part of a network is cached
    precision     the network computes in; the head always in float32
    seed          of order, augmentation and fresh weights
    """

    strategy: str
    size: int
    steps: int
    batch: int = 32
    rate: float = 1e-3
    shallow: float = 0.02
    head: float = 1.0
    frozen: float = 0.0
    reinit: float = 0.0
    optimiser: str = "adamw"
    schedule: str = "cosine"
    loss: str = "cross-entropy:smoothing=0.1"
    augment: str = "light"
    attack: str = "none"
    warmup: float = 0.1
    weight_decay: float = 0.01
    average: float = 0.2
    clip: float = 5.0
    sampling: str = "plain"
    weights: str = "none"
    norm: str = "frozen"
    views: int = 4
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        if mistakes := list(self._mistakes()):
            raise UsageError(*mistakes)

    def _mistakes(self) -> Iterator[str]:
        for name, least in {"steps": 0, "batch": 1, "size": 1, "seed": 0, "views": 1}.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                yield f"{name}: expected a whole number of {least} or more, got {value!r}"
        for name, most in MOST.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= most:
                yield f"{name}: expected a number from 0 to {most:g}, got {value!r}"
        for name in (f.name for f in fields(self) if f.type is str):
            if type(value := getattr(self, name)) is not str:
                yield f"{name}: expected text, got {value!r}"
        if self.precision not in PRECISIONS:
            yield f"precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read `to_dict` back. Raises UsageError for unknown or missing names and wrong values."""
        known = {f.name for f in fields(cls)}
        needed = {f.name for f in fields(cls) if f.default is MISSING}
        mistakes = [f"{name}: not a part of a plan" for name in sorted(set(record) - known)]
        mistakes += [f"{name}: missing" for name in sorted(needed - set(record))]
        if mistakes:
            raise UsageError(*mistakes)
        return cls(**record)

    def key(self, *what: object) -> str:
        """Short name of a run: of the plan and of what else decides its numbers."""
        text = json.dumps([self.to_dict(), *map(str, what)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
