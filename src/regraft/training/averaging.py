"""Averages of weights: over the steps of training (EMA), between its start and end (WiSE-FT).

What is averaged is a *state*: names → tensors of all that training moves, parameters and running
statistics alike.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def moving(model: nn.Module, learning: Collection[str]) -> State:
    """What training moves, as it is now and not copied: parameters by name, and float buffers."""
    found: State = {n: p.data for n, p in model.named_parameters() if n in learning}
    found |= {n: b for n, b in model.named_buffers() if b.is_floating_point()}
    return found


def copied(state: Mapping[str, Tensor]) -> State:
    """A copy that later training leaves alone."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@torch.no_grad()
def put(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Write a state into a model that has all of its names."""
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in state.items():
        own[name].copy_(tensor)


class Average:
    """Exponential moving average of a state over the steps of training.

    decay  share of the average that stays at each step; in the first steps less,
           (1 + t) / (10 + t), so that the start does not linger
    """

    def __init__(self, start: Mapping[str, Tensor], decay: float) -> None:
        self.state, self.decay, self.steps = copied(start), decay, 0

    @torch.no_grad()
    def take(self, state: Mapping[str, Tensor]) -> None:
        """Move a little towards a state of the same names."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        names = sorted(state)
        torch._foreach_lerp_([self.state[n] for n in names], [state[n] for n in names], 1 - decay)
        self.steps += 1


@torch.no_grad()
def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> State:
    """start + share · (end - start): WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903)."""
    return {name: torch.lerp(start[name], end[name], share) for name in end}
