"""AutoAttack, standard: four attacks without a parameter, by its authors' own code.

Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", arXiv 2003.01690; package pyautoattack (MIT). Each attack sees only the
pictures whose answers still hold.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from regraft.errors import MissingExtra
from regraft.robustness.attacks import TOP, Norm
from regraft.robustness.judging import AT_ONCE, seeded

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGETS = 9  # classes that targeted attacks aim at, at most
LIBRARY_NORMS = {"linf": "Linf", "l2": "L2"}
TOLD = {
    "apgd-ce": "APGD on the cross-entropy",
    "apgd-dlr": "APGD on the difference of logits ratio",
    "apgd-t": "APGD aimed at other classes",
    "fab": "FAB",
    "fab-t": "FAB aimed at other classes",
    "square": "Square, a black box",
}


class Found(NamedTuple):
    """What attacks found for n pictures.

    pictures  (n, ...) changed ones where an attack succeeded, else as they were
    by        name of the attack that succeeded; empty where the answer holds
    """

    pictures: Tensor
    by: list[str]

    @property
    def holds(self) -> Tensor:
        """(n,) whether the answer holds."""
        return torch.tensor([not name for name in self.by])


@dataclass(frozen=True)
class Suite:
    """Which of the attacks run for a number of classes, and how that is told."""

    attacks: Sequence[str]
    targets: int
    told: str


def suite(classes: int) -> Suite:
    """The standard one; the targeted loss needs four classes, and aims at those there are."""
    targets = min(TARGETS, classes - 1)
    if classes < 4:
        attacks = ("apgd-ce", *(("apgd-dlr", "fab-t") if classes == 3 else ("fab",)), "square")
        told = f"AutoAttack for {classes} classes ({', '.join(TOLD[name] for name in attacks)})"
        return Suite(attacks, targets, told)
    few = "" if targets == TARGETS else f", aimed at {targets} classes"
    return Suite(("apgd-ce", "apgd-t", "fab-t", "square"), targets, f"AutoAttack standard{few}")


def run_autoattack(
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
    """Attack pictures (n, c, h, w), from 0 to 255, that are answered rightly; ε in the same units.

    advance  is told of each picture that an attack is done with: n × attacks in all

    Raises MissingExtra.
    """
    chosen = suite(classes)
    library = _library(box, norm, eps, seed, chosen, pictures.device)
    changed, by = pictures.float().clone(), [""] * len(pictures)
    for name in chosen.attacks:
        left = [i for i, known in enumerate(by) if not known]
        advance(len(by) - len(left))
        for start in range(0, len(left), AT_ONCE):
            some = left[start : start + AT_ONCE]
            x, y = pictures[some].float() / TOP, labels[some]
            with seeded(seed), _quiet():
                new = RUN[name](library, x, y) * TOP
                with torch.no_grad():
                    wrong = box(new).argmax(1) != y
            for place, tensor, is_wrong in zip(some, new, wrong.tolist(), strict=True):
                if is_wrong:
                    by[place], changed[place] = name, tensor
            advance(len(some))
    return Found(changed, by)


def square(
    box: nn.Module,
    pictures: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    *,
    queries: int,
    seed: int,
) -> Tensor:
    """Pictures changed by answers alone (Andriushchenko et al. 2020, arXiv 1912.00049)."""
    library = _library(box, norm, eps, seed, suite(2), pictures.device)
    library.square.n_queries = queries
    parts = []
    for x, y in zip(pictures.split(AT_ONCE), labels.split(AT_ONCE), strict=True):
        with seeded(seed), _quiet():
            parts.append(library.square.perturb(x.float() / TOP, y) * TOP)
    return torch.cat(parts)


def attacks_of_library() -> Any:
    """The library's class. Raises MissingExtra."""
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise MissingExtra("pyautoattack", "robust") from None
    return AutoAttack


def _library(
    box: nn.Module, norm: Norm, eps: float, seed: int, chosen: Suite, device: torch.device
) -> Any:
    made = attacks_of_library()(
        lambda x: box(x * TOP),
        norm=LIBRARY_NORMS[norm.name],
        eps=eps / TOP,
        seed=seed,
        version="standard",
        device=device,
    )
    made.apgd_targeted.n_target_classes = made.fab.n_target_classes = chosen.targets
    return made


def _apgd(loss: str) -> Callable[[Any, Tensor, Tensor], Tensor]:
    def run(library: Any, x: Tensor, y: Tensor) -> Tensor:
        library.apgd.loss = loss
        return torch.as_tensor(library.apgd.perturb(x, y))

    return run


def _fab(targeted: bool) -> Callable[[Any, Tensor, Tensor], Tensor]:
    def run(library: Any, x: Tensor, y: Tensor) -> Tensor:
        library.fab.targeted = targeted
        return torch.as_tensor(library.fab.perturb(x, y))

    return run


RUN: Mapping[str, Callable[[Any, Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "apgd-ce": _apgd("ce"),
        "apgd-dlr": _apgd("dlr"),
        "apgd-t": lambda library, x, y: library.apgd_targeted.perturb(x, y),
        "fab": _fab(False),
        "fab-t": _fab(True),
        "square": lambda library, x, y: library.square.perturb(x, y),
    }
)


@contextmanager
def _quiet() -> "Iterator[None]":
    """The library warns on a logger what is checked and told here by `sanity`."""
    logger = logging.getLogger("auto-attack")
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was
