"""Whether training has paid: which of its weights, with how much of the probe, or none of it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regraft.transfer.targets import CLASSES, Target

if TYPE_CHECKING:
    from regraft.training.averaging import State
    from regraft.training.terms import Trained

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[Any]

SHARES = (1.0, 0.75, 0.5)  # of the way from the start to the end: WiSE-FT
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the tuned network beside the probe
SIMPLER = 1.02  # of the least loss: the tuned network alone is taken below that
RIGHTER = 1.0  # the same for the answers that became right, less those that became wrong
FEW_HELD = 0.12  # share of the examples that may be held back before the probe has to stay in
BESIDE_PROBE = 0.5  # share of the tuned network then, at most
SURE = 1.0  # standard errors by which a gain must be above 0


def weight_candidates(trained: "Trained", start: "State") -> Iterator[tuple[str, "State"]]:
    """Weights to choose from, with their names, the likeliest first."""
    from regraft.training.averaging import between

    ends: Mapping[str, State | None] = {
        "averaged": trained.average,
        "best averaged": trained.best if trained.best is not trained.average else None,
        "last": None if trained.average else trained.last,
    }
    for name, end in ends.items():
        for share in SHARES if end is not None else ():
            assert end is not None
            how = name if share == 1 else f"{name}, {share:.0%} of the way from the probe"
            yield how, end if share == 1 else between(start, end, share)


class Mix(NamedTuple):
    """How much of the tuned network there is in the answer, and why.

    share        0: the probe stays; 1: the tuned network alone
    temperature  that the tuned network's scores are divided by
    scores       (m, c) of the mixed answer on the held-back examples
    """

    share: float
    temperature: float
    scores: Scores
    why: str


def largest_share(held: int, examples: int) -> float:
    """Of the tuned network in an answer, where so many of the examples were held back from it.

    The probe learns from all of them in the end. Where few are held back that hardly counts; of few
    examples a quarter is, and without the probe the answer would have lost what they say.
    """
    return 1.0 if held <= FEW_HELD * examples else BESIDE_PROBE


def mixed_answer(
    tuned: Scores, probe: Scores, labels: Labels, most: float = 1.0, target: Target = CLASSES
) -> Mix:
    """Choose the mix on held-back examples by log-loss, and keep it only where it clearly gains.

    tuned   (m, c) logits of the tuned network
    probe   (m, c) calibrated logits of the probe that learned from the same examples
    labels  (m,), or what else is right: see `Target`
    most    share of the tuned network that may be in the answer

    The gain in log-loss must be SURE standard errors above 0, each at its best temperature: a
    network trained by cross-entropy is surer than a ridge head that is right as often. And more
    answers must have become right than wrong, by more than RIGHTER standard errors.
    """
    temperature = target.temperature(tuned, labels)
    tuned = tuned / temperature
    probe = np.asarray(target.calm(probe, labels))
    shares = [share for share in MIXES if share <= most]
    mixes = [share * tuned + (1 - share) * probe for share in shares]
    losses = [float(target.losses(scores, labels).mean()) for scores in mixes]
    best = int(np.argmin(losses[1:])) + 1
    if most == 1 and losses[-1] <= SIMPLER * losses[best]:
        best = len(shares) - 1
    gain = target.losses(probe, labels) - target.losses(mixes[best], labels)
    error = float(gain.std(ddof=1)) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    sure = float(gain.mean()) > SURE * error
    right = target.right(mixes[best], probe, labels)
    now, before = (target.told(target.score(scores, labels)) for scores in (mixes[best], probe))
    figures = f"{now} against {before} of {len(labels)} held-back examples"
    if not sure or not _righter(*right):
        return Mix(0.0, temperature, probe, f"not clearly better than the probe: {figures}")
    return Mix(shares[best], temperature, mixes[best], f"better than the probe: {figures}")


def _righter(now: npt.NDArray[np.bool_], before: npt.NDArray[np.bool_]) -> bool:
    """Whether answers became right more often than wrong, beyond what chance does."""
    won, lost = int((now & ~before).sum()), int((before & ~now).sum())
    return won - lost > RIGHTER * np.sqrt(won + lost)
