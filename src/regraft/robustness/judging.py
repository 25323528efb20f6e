"""How many answers hold under an attack: of a network as it learns, quickly."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from regraft.robustness.attacks import Norm, margin, pgd

AT_ONCE = 32
STEPS = 10


class Held(NamedTuple):
    """Which of m answers are right on the pictures themselves, and which under the attack too."""

    clean: Tensor
    robust: Tensor


def held(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Held:
    """By PGD on the margin: an upper bound, which a stronger attack lowers.

    network  (n, ...) pictures from 0 to 255 → (n, c) logits; as it is, in evaluation mode
    pixels   (m, ...), labels (m,)
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    parts = [*_parts(network, pixels, labels, norm, eps, steps, seed, device)]
    return Held(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _parts(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    steps: int,
    seed: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    with seeded(seed), evaluating(network):
        for start in range(0, len(pixels), AT_ONCE):
            x = pixels[start : start + AT_ONCE].to(device).float()
            y = labels[start : start + AT_ONCE].to(device)
            changed = pgd(network, x, y, norm, eps, steps=steps, losses=margin) if eps else x
            with torch.no_grad():
                clean = network(x).argmax(1) == y
                still = clean & (network(changed).argmax(1) == y)
            yield clean.cpu(), still.cpu()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of this block by a seed; nobody else's generator moves."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.SeedSequence([seed, 21]).generate_state(1)[0]))
        yield


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """While it is entered, all parts are in evaluation mode."""
    was = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in was:
            part.training = training
