"""A planted adversarial example: an attack that misses it finds nothing that can be believed.

Zimmermann et al. 2022, "Increasing confidence in adversarial robustness evaluations", arXiv
2206.13991 (the binarization test): around a picture a linear classifier on the network's own
features is made that calls everything near it one class, and one known picture on the edge of the
ε-ball the other. So an adversarial example is there, and the attack must find one; drawing at
random must not, or the test would be too easy.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from regraft.robustness.attacks import Norm, pgd

INNER = 48  # random pictures near the picture, that get its class
NEAR = 0.5  # of ε: how far those are
DRAWN = 48  # random pictures in the whole ball, to show that chance does not find it
DAMPING = 1e-3  # of the mean diagonal


class Planted(NamedTuple):
    """Of n planted examples, which were found by the attack, and which by chance.

    valid  (n,) whether the classifier could be made
    """

    valid: Tensor
    found: Tensor
    drawn: Tensor


class _Line(nn.Module):
    """Features (n, d) → one score: above 0 for the planted class."""

    weight: Tensor

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.bias = bias

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight + self.bias


def planted(box: nn.Module, pictures: Tensor, norm: Norm, eps: float, *, steps: int) -> Planted:
    """Plant an example beside each picture (n, ...), and look for it by PGD.

    box  has ``features`` of pictures, (n, d)
    """
    columns = [_one(box, one[None].float(), norm, eps, steps) for one in pictures]
    return Planted(*(torch.tensor(column) for column in zip(*columns, strict=True)))


def _one(
    box: nn.Module, picture: Tensor, norm: Norm, eps: float, steps: int
) -> tuple[bool, bool, bool]:
    many = picture.expand(INNER, *picture.shape[1:])
    inner = torch.cat([picture, norm.kept(many + norm.drawn(many, NEAR * eps), many)])
    edge = norm.kept(picture + eps * norm.steepest(norm.drawn(picture, eps)), picture)
    with torch.no_grad():
        seen = _features(box, torch.cat([inner, edge]))
    line = _between(seen[:-1], seen[-1])
    with torch.no_grad():
        scores = line(seen)
    if not (scores[:-1] < 0).all() or not scores[-1] > 0:
        return False, False, False

    def score(x: Tensor, _: Tensor) -> Tensor:
        return x[:, 0]

    def logits(x: Tensor) -> Tensor:
        return line(_features(box, x))[:, None]

    nothing = torch.zeros(1, dtype=torch.long, device=picture.device)
    changed = pgd(logits, picture, nothing, norm, eps, steps=steps, losses=score)
    with torch.no_grad():
        many = picture.expand(DRAWN, *picture.shape[1:])
        chance = norm.kept(many + norm.drawn(many, eps), many)
        by_chance = bool((logits(chance) > 0).any())
        return True, bool(logits(changed)[0, 0] > 0), by_chance


def _features(box: nn.Module, x: Tensor) -> Tensor:
    return torch.as_tensor(box.features(x))  # type: ignore[operator]


def _between(inner: Tensor, edge: Tensor) -> _Line:
    """Ridge regression in the span of the differences, its threshold half-way to the edge."""
    middle = inner.mean(0)
    rows = torch.cat([inner, edge[None]]) - middle
    targets = torch.cat([-torch.ones(len(inner)), torch.ones(1)]).to(rows)
    kernel = (rows @ rows.T).double()
    kernel += DAMPING * kernel.diagonal().mean().clamp(min=1e-12) * torch.eye(len(rows)).to(kernel)
    weight = rows.T @ torch.linalg.solve(kernel, targets.double()).to(rows)
    scores = rows @ weight
    threshold = float((scores[:-1].max() + scores[-1]) / 2)
    return _Line(weight, float(-(middle @ weight)) - threshold)
