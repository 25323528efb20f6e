"""How many steps of a run there is time for, by what a step and a look take here."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regraft.training.judging import Held
    from regraft.training.tuning import Ready


def affordable(begun: "Ready", held: "Held", until: float) -> int:
    """Steps for which there is time beside the looks, of which a longer run has more."""
    from regraft.training.loop import LOOKS

    pace, plan = begun.pace(), begun.plan
    look = _look_seconds(begun, held) * (2 if plan.average else 1)  # of the averaged weights too
    left = until - time.monotonic() - pace.before - 2 * look  # at the start and for the answers
    epoch = len(begun.material.labels) / plan.batch
    steps = 1
    for looks in range(LOOKS, 1, -1):
        steps = int((left - looks * look) / pace.step)
        if steps >= (looks - 0.5) * epoch:
            break
    return max(1, steps)


def _look_seconds(begun: "Ready", held: "Held") -> float:
    """Of one look at all examples, by one at a part of them."""
    from regraft.training.judging import AT_ONCE

    some = replace(held, pixels=held.pixels[:AT_ONCE])
    device = next(begun.model.parameters()).device
    start = time.perf_counter()
    some.logits(begun.model, device)
    return (time.perf_counter() - start) * len(held.pixels) / len(some.pixels)
