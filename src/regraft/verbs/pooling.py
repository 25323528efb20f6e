"""How members become one: the methods, and which of them is taken.

A method chooses (shares of members, whose weights are averaged, how far from the start) on examples
whose answers are honest, and is itself compared with the others by cross-validation on these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from regraft.evaluation.calibration import log_losses
from regraft.transfer.selection import cross_validated, folds_of, greedy_shares, loss_of
from regraft.verbs.bench import Bench, Method, Shares
from regraft.verbs.members import Logits
from regraft.verbs.rungs import Numbers, Rung
from regraft.verbs.soups import SOUPS

SIMPLER = 1.02  # of the least log-loss: what has fewer networks is taken below that


def _best(bench: Bench, place: Numbers) -> Shares:
    losses = [loss_of(one[place], bench.labels[place]) for one in bench.honest]
    return tuple(float(k == int(np.argmin(losses))) for k in range(len(losses)))


def _equal(bench: Bench, place: Numbers) -> Shares:
    return (1 / len(bench.members),) * len(bench.members)


def _greedy(bench: Bench, place: Numbers) -> Shares:
    return greedy_shares(bench.honest[:, place], bench.labels[place])


def side_by_side(kind: str) -> Callable[[Bench, Shares], Rung]:
    """Members by their shares, as a rung of a kind."""

    def rung(bench: Bench, shares: Shares) -> Rung:
        return bench.rung(kind, shares, told_shares(bench, shares))

    return rung


def told_shares(bench: Bench, shares: Shares) -> str:
    """``50 % a.regraft, 50 % b.regraft``."""
    pairs = zip(shares, bench.members, strict=True)
    return ", ".join(f"{share:.0%} {one.name}" for share, one in pairs if share)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "best": Method("The best member alone.", _best, side_by_side("best")),
        "average": Method(
            "The mean of calibrated logits, every member alike.", _equal, side_by_side("average")
        ),
        "greedy": Method(
            "Greedy selection with replacement (Caruana et al. 2004).",
            _greedy,
            side_by_side("greedy"),
        ),
        **SOUPS,
    }
)


@dataclass(frozen=True)
class Tried:
    """A method on a bench, and how good its choices are where they were not made.

    logits  (m, c) cross-validated, calibrated
    """

    name: str
    rung: Rung
    logits: Logits
    loss: float
    accuracy: float

    @property
    def networks(self) -> int:
        return len(self.rung.extractors)


def tried(bench: Bench, name: str, methods: Mapping[str, Method]) -> Tried:
    """Choose by a method, and judge the choice by cross-validation."""
    method = methods[name]
    folds = folds_of(bench.labels, bench.groups, bench.seed)
    logits = cross_validated(
        lambda place: method.choose(bench, place),
        lambda pick: method.rung(bench, pick).judged.scores,
        bench.labels,
        folds,
    )
    loss = float(log_losses(logits, bench.labels).mean())
    right = float((logits.argmax(1) == bench.labels).mean())
    rung = method.rung(bench, method.choose(bench, np.arange(len(bench.labels))))
    return Tried(name, rung, logits, loss, right)


def kept_of(found: Sequence[Tried]) -> Tried:
    """The one with the least cross-validated loss, or a simpler one that comes close."""
    least = min(one.loss for one in found)
    close = [one for one in found if one.loss <= SIMPLER * least]
    return min(close, key=lambda one: (one.networks, one.loss))
