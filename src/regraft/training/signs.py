"""What a training curve says of the run, in plain words, with what to do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from regraft.training.plan import Plan

FREE_NORM_EXAMPLES = 10_000  # below, BatchNorm's own statistics do harm as a rule
FREE_NORM_BATCH = 16


@dataclass(frozen=True)
class Point:
    """One look at a run.

    epoch, seconds  of training so far
    loss            mean training loss since the look before
    held_loss, held_accuracy        of the weights as they are, on held-back examples
    average_loss, average_accuracy  of the averaged weights
    rate            learning rate
    """

    step: int
    epoch: float
    seconds: float
    loss: float
    rate: float
    held_loss: float | None = None
    held_accuracy: float | None = None
    average_loss: float | None = None
    average_accuracy: float | None = None


def before_training(plan: Plan, examples: int) -> Iterator[str]:
    """Of settings that are known to do harm."""
    if plan.norm == "free" and (examples < FREE_NORM_EXAMPLES or plan.batch < FREE_NORM_BATCH):
        yield (
            f"BatchNorm learns its statistics from {examples:,} examples in batches of "
            f"{plan.batch}: with so few, the network often does far worse on new examples than on "
            "those it learns from; norm = frozen avoids that"
        )


def during_training(
    curve: Sequence[Point], majority: float, start_loss: float | None
) -> Iterator[str]:
    """Of the looks so far; each begins with a word of its own and a colon.

    majority    share of the commonest class among the held-back examples
    start_loss  held-back loss before the first step
    """
    held = [p for p in curve if p.held_loss is not None and p.held_accuracy is not None]
    if len(held) < 2:
        return
    last, best = held[-1], min(held, key=lambda p: p.held_loss or 0.0)
    assert last.held_loss is not None
    assert last.held_accuracy is not None
    assert best.held_loss is not None
    if last.held_accuracy <= majority + 0.01 and last.epoch >= 1:
        yield (
            f"collapse: after {last.epoch:.1f} epochs it is right for {last.held_accuracy:.0%}, as "
            "always saying the commonest class is; a lower rate, or a start from the probe "
            "(lp-ft), helps as a rule"
        )
    elif start_loss is not None and last.held_loss > 1.5 * max(start_loss, 0.05) and best != last:
        yield (
            f"overfitting: on held-back examples the loss went from {best.held_loss:.2f} up to "
            f"{last.held_loss:.2f} while training fell to {last.loss:.2f}; fewer steps, stronger "
            "augmentation or more examples help"
        )
    if len(curve) > 2 and curve[-1].loss > 2 * max(curve[0].loss, 0.1):
        yield (
            f"rising: the training loss went from {curve[0].loss:.2f} to {curve[-1].loss:.2f}; "
            f"the rate ({last.rate:.1e}) is too high"
        )
