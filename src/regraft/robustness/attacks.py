"""Attacks: small changes of examples that raise the loss.

    adversarial = pgd(logits, pictures, labels, LINF, eps=2.0, steps=10)

Examples are float tensors of any shape (n, ...); ε is in the same units. Pictures go from 0 to TOP,
so that 2/255 of the range is 2; samples from -1 to 1; vectors of word pieces are in units of their
mean length. Nothing here knows a network: `logits` is any differentiable function.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

TOP = 255.0  # the brightest pixel

Logits = Callable[[Tensor], Tensor]  # (n, ...) examples → (n, c)
Losses = Callable[[Tensor, Tensor], Tensor]  # logits (n, c), labels (n,) → (n,)


@dataclass(frozen=True)
class Norm:
    """How the size of a change is measured, and of what.

    project  change (n, ...), ε → the nearest change that is no larger than ε
    steepest  gradient (n, ...) → the change of size 1 along which the loss rises most
    drawn    like (n, ...), ε → a random change no larger than ε
    size     change (n, ...) → (n,)
    written  ε as a user writes it, which is `unit` times as small
    axis     title of ε in a chart, and how many times a written one is shown there
    far      one example → about the size of a change that makes anything of anything
    low, high  the range of values
    counts   (n, ...) examples → which of their values may change; None: all
    """

    name: str
    told: str
    project: Callable[[Tensor, float], Tensor]
    steepest: Callable[[Tensor], Tensor]
    drawn: Callable[[Tensor, float], Tensor]
    size: Callable[[Tensor], Tensor]
    written: Callable[[float], str]
    axis: tuple[str, float]
    far: Callable[[Tensor], float]
    unit: float = TOP
    low: float = 0.0
    high: float = TOP
    counts: Callable[[Tensor], Tensor] | None = None

    def kept(self, changed: Tensor, x: Tensor) -> Tensor:
        """Within the range, and as it was where nothing may change."""
        inside = changed.clamp(self.low, self.high)
        return inside if self.counts is None else torch.where(self.counts(x), inside, x)


def _each(values: Tensor, like: Tensor) -> Tensor:
    """(n,) → (n, 1, ...), as many axes as `like` has."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _length(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def _shorter(change: Tensor, eps: float) -> Tensor:
    factor = (eps / _length(change).clamp(min=1e-12)).clamp(max=1.0)
    return change * _each(factor, change)


def _unit(gradient: Tensor) -> Tensor:
    return gradient / _each(_length(gradient).clamp(min=1e-12), gradient)


def _in_the_ball(like: Tensor, eps: float) -> Tensor:
    """Evenly over the ball, which in many dimensions is nearly its surface."""
    radius = torch.rand(len(like), device=like.device) ** (1 / max(1, like[0].numel()))
    return _unit(torch.randn_like(like)) * _each(radius, like) * eps


def _by_vectors(change: Tensor) -> tuple[Tensor, Tensor]:
    """(..., d + 1) → vectors, the last column being none of them, and their lengths (..., 1)."""
    vectors = torch.cat([change[..., :-1], torch.zeros_like(change[..., -1:])], -1)
    return vectors, vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def _shorter_vectors(change: Tensor, eps: float) -> Tensor:
    vectors, lengths = _by_vectors(change)
    return vectors * (eps / lengths).clamp(max=1.0)


def _unit_vectors(gradient: Tensor) -> Tensor:
    vectors, lengths = _by_vectors(gradient)
    return vectors / lengths


def _in_each_ball(like: Tensor, eps: float) -> Tensor:
    width = max(1, like.shape[-1] - 1)
    radius = torch.rand(like.shape[:-1], device=like.device)[..., None] ** (1 / width)
    return _unit_vectors(torch.randn_like(like)) * radius * eps


def _longest_vector(change: Tensor) -> Tensor:
    return _by_vectors(change)[1].flatten(1).amax(1)


def _there(x: Tensor) -> Tensor:
    """The last column is none of the values, and says which of those beside it are there."""
    there = x[..., -1:] > 0.5
    return torch.cat([there.expand_as(x[..., :-1]), torch.zeros_like(there)], -1)


LINF = Norm(
    "linf",
    "L∞: every value of a pixel may change by ε",
    lambda change, eps: change.clamp(-eps, eps),
    torch.sign,
    lambda like, eps: torch.empty_like(like).uniform_(-eps, eps),
    lambda change: change.abs().flatten(1).amax(1),
    lambda eps: f"{eps:g}/255",
    ("ε, of 255", TOP),
    lambda one: TOP + 1,
)
L2 = Norm(
    "l2",
    "L2: the root of the sum of all squared changes is at most ε",
    _shorter,
    _unit,
    _in_the_ball,
    _length,
    lambda eps: f"{eps / TOP:g}",
    ("ε, length", 1.0),
    lambda one: (TOP + 1) * one.numel() ** 0.5,
)
SAMPLES = replace(  # (..., length, 2): a sample, and whether it is there
    LINF,
    told="L∞: every sample may change by ε of full scale",
    written=lambda eps: f"{eps:g}",
    axis=("ε, of full scale", 1.0),
    far=lambda one: 2.0,
    unit=1.0,
    low=-1.0,
    high=1.0,
    counts=_there,
)
VECTORS = Norm(  # (..., length, d + 1): a word piece's vector, and whether it is there
    "l2",
    "L2: the vector of every word piece may move by ε times the mean length of such vectors",
    _shorter_vectors,
    _unit_vectors,
    _in_each_ball,
    _longest_vector,
    lambda eps: f"{eps:g}",
    ("ε, of a vector's mean length", 1.0),
    lambda one: 2 * float(_longest_vector(one[None])),
    unit=1.0,
    low=-torch.inf,
    high=torch.inf,
    counts=_there,
)
NORMS: Mapping[str, Norm] = MappingProxyType({row.name: row for row in (LINF, L2)})


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,) the loss that networks are trained by."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,) best wrong score less that of the label: it does not fade where a network is sure."""
    own = logits.gather(1, labels[:, None])[:, 0]
    wrong = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return wrong - own


def gradient(losses: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Of the sum of losses (n,) by the pictures; no parameter gets any. Zero without one."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        value = losses(leaf).sum()
        if not value.requires_grad:
            return torch.zeros_like(x)
        (found,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return torch.zeros_like(x) if found is None else found.detach()


def fgsm(
    logits: Logits,
    pictures: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    losses: Losses = cross_entropy,
) -> Tensor:
    """One step of length ε (Goodfellow et al. 2015, arXiv 1412.6572)."""
    found = gradient(lambda x: losses(logits(x), labels), pictures)
    return norm.kept(pictures + eps * norm.steepest(found), pictures)


def pgd(
    logits: Logits,
    pictures: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    *,
    steps: int = 10,
    step: float | None = None,
    losses: Losses = cross_entropy,
    best: bool = True,
) -> Tensor:
    """Projected gradient ascent from a random place (Madry et al. 2018, arXiv 1706.06083).

    step  length of a step; None: 2.5 ε / steps
    best  give the picture with the highest loss of those seen; else the last one

    Random numbers come from torch's generator. What is given is within ε and within the range.
    """
    length = 2.5 * eps / steps if step is None else step
    x = norm.kept(pictures + norm.drawn(pictures, eps), pictures)
    worst, most = x, torch.full((len(x),), -torch.inf, device=x.device)
    for _ in range(steps):
        seen: list[Tensor] = []

        def raised(leaf: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(losses(logits(leaf), labels))
            return seen[0]

        found = gradient(raised, x)
        worst, most = _worse(worst, most, x, seen[0].detach())
        moved = x + length * norm.steepest(found) - pictures
        x = norm.kept(pictures + norm.project(moved, eps), pictures)
    if not best:
        return x
    with torch.no_grad():
        return _worse(worst, most, x, losses(logits(x), labels))[0]


def _worse(worst: Tensor, most: Tensor, x: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    higher = losses > most
    return torch.where(_each(higher, x), x, worst), torch.where(higher, losses, most)
