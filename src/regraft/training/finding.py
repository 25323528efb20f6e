"""The rate that a sweep suggests for a run, before it begins."""

from collections.abc import Iterator
from itertools import count

from regraft.training.examples import Batch
from regraft.training.loop import Training
from regraft.training.schedules import RateCurve, find_rate
from regraft.training.tuning import Ready


def found_rate(ready: Ready) -> RateCurve:
    """Sweep the rate over batches of the run itself; nothing stays moved.

    The batches are those of another epoch, far behind the run's own.
    """
    run = ready.training()
    batches = _batches(run)
    with run.rehearsing():
        return find_rate(lambda rate: run.step_at(rate, next(batches)))


def _batches(run: Training) -> Iterator[Batch]:
    for first in count(0, 16):
        yield from run.batches(range(first, first + 16), run.plan.seed + 1)
