"""Sanity checks of an evaluation: what must be true of every attack that works.

Published claims of 71 % fell to 4.6 % because nobody looked. The checks are those of Carlini et al.
2019, "On evaluating adversarial robustness", arXiv 1902.06705, and the planted example of
Zimmermann et al. 2022, arXiv 2206.13991. Each is a row of CHECKS; one that fails makes the result
unreliable, and says why.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from regraft.robustness.attacks import Norm, cross_entropy, fgsm, gradient, pgd
from regraft.robustness.autoattack import attacks_of_library, square
from regraft.robustness.judging import AT_ONCE, seeded
from regraft.robustness.planted import planted
from regraft.robustness.random_search import random_search

FEW_STEPS, MORE_STEPS = 10, 40
LARGE = (1 / 16, 1 / 4, 1 / 2)  # of the farthest: by the last, all pictures can be the same grey
QUERIES = 150  # of the black box
PLANTED = 12  # examples
ALLOWED = 0.04  # of the examples: what chance may do
FOUND = 0.9  # of the planted examples
REPEATS = 1e-3  # by which an answer may differ from itself, relative to its largest score
MISSED = 0.01  # of all examples: those that only the black box may find


class AnswersAlone(NamedTuple):
    """An attack that sees no gradients, and its name.

    there  raises MissingExtra where its library is not installed
    """

    run: Callable[..., Tensor]
    told: str
    there: Callable[[], Any] = lambda: None


SQUARE = AnswersAlone(square, "Square", attacks_of_library)
RANDOM_SEARCH = AnswersAlone(random_search, "a random search")  # of what is no picture


@dataclass(frozen=True)
class Check:
    """One check: what must be so, whether it is, and the figures."""

    name: str
    passed: bool
    told: str


@dataclass(frozen=True)
class Trial:
    """What the checks share: some examples (n, ...) that are answered rightly, and one ε."""

    box: nn.Module
    pictures: Tensor
    labels: Tensor
    norm: Norm
    eps: float
    seed: int
    answers_alone: AnswersAlone = SQUARE

    def holds(self, changed: Tensor) -> float:
        """Share of the answers that hold."""
        with torch.no_grad():
            parts = [self.box(x).argmax(1) for x in changed.split(AT_ONCE)]
        return float((torch.cat(parts) == self.labels).float().mean())

    def after(self, steps: int, eps: float | None = None) -> float:
        """Share that holds where PGD of so many steps ends, wherever it was on the way."""

        def attack(x: Tensor, y: Tensor) -> Tensor:
            size = self.eps if eps is None else eps
            return pgd(self.box, x, y, self.norm, size, steps=steps, best=False)

        return self._attacked(attack)

    @cached_property
    def one_step(self) -> float:
        return self._attacked(lambda x, y: fgsm(self.box, x, y, self.norm, self.eps))

    @cached_property
    def few_steps(self) -> float:
        return self.after(FEW_STEPS)

    @cached_property
    def more_steps(self) -> float:
        return self.after(MORE_STEPS)

    @cached_property
    def black_box(self) -> float:
        return self.holds(
            self.answers_alone.run(
                self.box,
                self.pictures,
                self.labels,
                self.norm,
                self.eps,
                queries=QUERIES,
                seed=self.seed,
            )
        )

    def _attacked(self, attack: Callable[[Tensor, Tensor], Tensor]) -> float:
        pairs = zip(self.pictures.split(AT_ONCE), self.labels.split(AT_ONCE), strict=True)
        with seeded(self.seed):
            return self.holds(torch.cat([attack(x.float(), y) for x, y in pairs]))

    @property
    def large(self) -> Sequence[float]:
        """Changes after which no answer can hold, in this norm."""
        far = max(self.norm.far(one.float()) for one in self.pictures)
        return [share * far for share in LARGE]


def checked(trial: Trial, advance: Callable[[int], None] = lambda n: None) -> list[Check]:
    """All checks, in their order; `advance` is told of each."""
    found: list[Check] = []
    for check in CHECKS:
        found += check(trial)
        advance(1)
    return found


def _repeats(trial: Trial) -> Iterator[Check]:
    with torch.no_grad():
        first, again = (trial.box(trial.pictures[:AT_ONCE].float()) for _ in range(2))
    error = float((first - again).abs().max() / first.abs().max().clamp(min=1e-12))
    said = "the same" if error <= REPEATS else f"differ by {error:.1%} of the largest score"
    yield Check(
        "answers are not random",
        error <= REPEATS,
        f"asked twice, the answers are {said}; against a random defence an attack has to average",
    )


def _gradients(trial: Trial) -> Iterator[Check]:
    def losses(x: Tensor) -> Tensor:
        return cross_entropy(trial.box(x), trial.labels[:AT_ONCE])

    found = gradient(losses, trial.pictures[:AT_ONCE].float()).flatten(1).abs().amax(1)
    lost = float(((found == 0) | ~torch.isfinite(found)).float().mean())
    yield Check(
        "there are gradients",
        lost <= ALLOWED,
        f"{lost:.0%} of the examples have none; without them gradient attacks walk blindly",
    )


def _falls_to_nothing(trial: Trial) -> Iterator[Check]:
    found = [trial.after(MORE_STEPS // 2, eps) for eps in trial.large]
    *others, last = map(trial.norm.written, trial.large)
    shares = ", ".join(f"{share:.0%}" for share in found)
    yield Check(
        "nothing holds under large changes",
        found[-1] <= ALLOWED,
        f"{shares} hold under changes of {', '.join(others)} and {last}; under the last nothing "
        "can",
    )


def _more_is_never_weaker(trial: Trial) -> Iterator[Check]:
    few, more = trial.few_steps, trial.more_steps
    yield Check(
        "more steps are never weaker",
        more <= few + ALLOWED,
        f"{few:.0%} hold after {FEW_STEPS} steps, {more:.0%} after {MORE_STEPS}",
    )


def _several_beat_one(trial: Trial) -> Iterator[Check]:
    one, few = trial.one_step, trial.few_steps
    yield Check(
        "several steps are at least as strong as one",
        few <= one + ALLOWED,
        f"{one:.0%} hold after one step, {few:.0%} after {FEW_STEPS}",
    )


def _white_beats_black(trial: Trial) -> Iterator[Check]:
    white, black = trial.more_steps, trial.black_box
    yield Check(
        "gradients are at least as strong as answers alone",
        white <= black + ALLOWED,
        f"{white:.0%} hold under PGD, {black:.0%} under {QUERIES} queries of "
        f"{trial.answers_alone.told}, which sees only answers",
    )


def _finds_what_is_planted(trial: Trial) -> Iterator[Check]:
    with seeded(trial.seed):
        some = trial.pictures[:PLANTED]
        found = planted(trial.box, some, trial.norm, trial.eps, steps=MORE_STEPS)
    valid = int(found.valid.sum())
    if not valid:
        yield Check(
            "a planted example is found", False, "none could be planted: the features do not change"
        )
        return
    share = float(found.found[found.valid].float().mean())
    chance = float(found.drawn[found.valid].float().mean())
    yield Check(
        "a planted example is found",
        share >= FOUND,
        f"{share:.0%} of {valid} adversarial examples that are known to be there were found; "
        f"drawing at random found {chance:.0%}",
    )


CHECKS: Sequence[Callable[[Trial], Iterator[Check]]] = (
    _repeats,
    _gradients,
    _falls_to_nothing,
    _more_is_never_weaker,
    _several_beat_one,
    _white_beats_black,
    _finds_what_is_planted,
)


def only_black_box(by: Sequence[str]) -> Check:
    """Of the names of the attacks that succeeded: Square alone may find next to nothing."""
    alone = sum(name == "square" for name in by)
    return Check(
        "the black box adds nothing to the gradients",
        alone <= max(1, MISSED * len(by)),
        f"{alone} of {len(by)} answers fell only to Square, which sees no gradients",
    )


def same_answers(white: Tensor, own: Tensor) -> Check:
    """The answers (n,) that were attacked, and those that the model gives to users."""
    share = float((white == own).float().mean())
    return Check(
        "what is attacked is what answers",
        share >= 1 - MISSED,
        f"{share:.1%} of the answers on the examples themselves are those of the model's engine",
    )
