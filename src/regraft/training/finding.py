"""The rate that a sweep suggests for a run, before it begins."""

from collections.abc import Iterator
from itertools import count

from regraft.training.averaging import copied, put
from regraft.training.examples import Batch, Steps, loader
from regraft.training.schedules import RateCurve, find_rate
from regraft.training.tuning import Ready


def found_rate(ready: Ready) -> RateCurve:
    """Sweep the rate over batches of the run itself; all that moved is put back.

    The batches are those of another epoch, far behind the run's own.
    """
    run = ready.training()
    start = copied(run.moving())
    batches = _batches(ready)
    with run.rehearsing():
        curve = find_rate(lambda rate: run.step_at(rate, next(batches)))
    put(run.model, start)
    return curve


def _batches(ready: Ready) -> Iterator[Batch]:
    for first in count(0, 16):
        steps = range(first, first + 16)
        taken = Steps(ready.material.labels, ready.plan.batch, steps, ready.plan.seed + 1)
        yield from loader(ready.material.examples, taken)
