"""Robust accuracy: at several ε, by an attack of ATTACKS, with the checks of `sanity`.

    found = measured(box, pictures, labels, LINF, (1.0, 2.0, 4.0), attack="autoattack")

ε rises: an answer that falls under a smaller change falls under a larger one too, so that each
picture is attacked only as long as its answer holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from regraft.progress import Progress
from regraft.robustness.attacks import Norm, cross_entropy, margin, pgd
from regraft.robustness.autoattack import TOLD, Found, run_autoattack, suite
from regraft.robustness.judging import AT_ONCE, seeded
from regraft.robustness.sanity import (
    CHECKS,
    SQUARE,
    AnswersAlone,
    Check,
    Trial,
    checked,
    only_black_box,
)

PGD_STEPS = 20
CHECKED = 48  # pictures that the checks are made on, at most


@dataclass(frozen=True)
class Attack:
    """One row of ATTACKS.

    run    (box, pictures, labels, norm, ε, classes=, seed=, advance=) → Found
    told   of a number of classes
    parts  attacks that each picture sees, for the progress
    whole  whether it is strong enough that its figure can stand alone
    """

    run: Callable[..., Found]
    told: Callable[[int], str]
    parts: Callable[[int], Sequence[str]]
    whole: bool


def _run_pgd(
    box: nn.Module,
    pictures: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    *,
    classes: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
) -> Found:
    """PGD on the cross-entropy, and on the margin for what still holds."""
    changed, by = pictures.float().clone(), [""] * len(pictures)
    for name, losses in {"pgd-ce": cross_entropy, "pgd-margin": margin}.items():
        left = [i for i, known in enumerate(by) if not known]
        advance(len(by) - len(left))
        for start in range(0, len(left), AT_ONCE):
            some = left[start : start + AT_ONCE]
            x, y = pictures[some].float(), labels[some]
            with seeded(seed):
                new = pgd(box, x, y, norm, eps, steps=PGD_STEPS, losses=losses)
            with torch.no_grad():
                wrong = box(new).argmax(1) != y
            for place, tensor, is_wrong in zip(some, new, wrong.tolist(), strict=True):
                if is_wrong:
                    by[place], changed[place] = name, tensor
            advance(len(some))
    return Found(changed, by)


ATTACKS: Mapping[str, Attack] = MappingProxyType(
    {
        "autoattack": Attack(
            run_autoattack,
            lambda classes: suite(classes).told,
            lambda classes: suite(classes).attacks,
            whole=True,
        ),
        "pgd": Attack(
            _run_pgd,
            lambda classes: f"PGD, {PGD_STEPS} steps on two losses",
            lambda classes: ("pgd-ce", "pgd-margin"),
            whole=False,
        ),
    }
)
ITSELF = "itself"  # what a wrong answer on the picture itself falls to


class Point(NamedTuple):
    """At one ε.

    pictures  (n, ...) changed where an attack succeeded
    by        what each answer fell to; empty where it holds, ITSELF where it was wrong before
    """

    eps: float
    pictures: Tensor
    by: list[str]

    @property
    def holds(self) -> list[bool]:
        return [not name for name in self.by]


class Measured(NamedTuple):
    """answers (n,) to the pictures themselves, a point for each ε, and the checks."""

    answers: Tensor
    points: list[Point]
    checks: list[Check]


def measured(
    box: nn.Module,
    pictures: Tensor,
    labels: Tensor,
    norm: Norm,
    sizes: Sequence[float],
    *,
    classes: int,
    attack: str = "autoattack",
    answers_alone: AnswersAlone = SQUARE,
    seed: int = 0,
    progress: Progress,
) -> Measured:
    """Attack examples (n, ...) at each ε of `sizes`, which rise; all in units of the norm."""
    with torch.no_grad():
        answers = torch.cat([box(x.float()).argmax(1) for x in pictures.split(AT_ONCE)])
    right = answers == labels
    by, changed = ["" if ok else ITSELF for ok in right.tolist()], pictures.float()
    row, points = ATTACKS[attack], []
    for eps in sizes:
        left = [i for i, name in enumerate(by) if not name]
        total = len(left) * len(row.parts(classes))
        with progress.stage(f"{row.told(classes)} at ε = {norm.written(eps)}", total) as advance:
            asked: dict[str, Any] = {"classes": classes, "seed": seed, "advance": advance}
            found = row.run(box, pictures[left], labels[left], norm, eps, **asked)
        by, changed = by.copy(), changed.clone()
        for place, name, tensor in zip(left, found.by, found.pictures, strict=True):
            by[place], changed[place] = name, tensor
        points.append(Point(eps, changed, by))
    alone = answers_alone
    checks = _checks(box, pictures, labels, right, norm, points, alone, seed, progress)
    return Measured(answers, points, checks)


def _checks(
    box: nn.Module,
    pictures: Tensor,
    labels: Tensor,
    right: Tensor,
    norm: Norm,
    points: Sequence[Point],
    answers_alone: AnswersAlone,
    seed: int,
    progress: Progress,
) -> list[Check]:
    """At the middle ε, on some of the pictures that are answered rightly."""
    some = right.nonzero()[:CHECKED, 0]
    if not len(some):
        return [Check("there is something to attack", False, "nothing was answered rightly")]
    middle = points[len(points) // 2].eps
    trial = Trial(box, pictures[some], labels[some], norm, middle, seed, answers_alone)
    with progress.stage("checks of the attack", len(CHECKS)) as advance:
        return [*checked(trial, advance), only_black_box(points[-1].by)]


def told_of(name: str) -> str:
    """What an answer fell to, in words."""
    own = {ITSELF: "nothing: it was wrong before", "": "nothing: it holds"}
    return TOLD.get(name) or own.get(name, name)
