"""Networks that learn as if they computed in whole numbers: quantization-aware training.

    with simulated(model.network, batches):
        ...  # train it

Jacob et al. 2018 (arXiv 1712.05877): forwards, the weights of convolutions and linear layers and
what enters these are rounded as the graph in 8 bits will round them; backwards the gradient goes
through as if nothing had been rounded (Bengio et al. 2013, arXiv 1308.3432). What was learned is
again a network in single precision, which loses less when it is brought to whole numbers.

NNCF's own simulation for PyTorch wraps `forward` of a module, by which networks that give the
features of all blocks do not run; these are its rules, on PyTorch's own functions.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

SIMULATED = (nn.Conv1d, nn.Conv2d, nn.Linear)
WEIGHTS = (-64, 63)  # as `quantization` leaves a bit unused
ACTIVATIONS = (0, 255)
MOMENTUM = 0.01  # by which a range follows what enters
SMALLEST = 1e-8


class RoundedWeight(nn.Module):
    """A weight (out, ...) rounded to WEIGHTS, symmetric, each output by its own scale."""

    def forward(self, weight: Tensor) -> Tensor:
        """The same shape."""
        largest = weight.detach().flatten(1).abs().amax(1)
        scale = (largest / WEIGHTS[1]).clamp(min=SMALLEST).float()
        zero = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, *WEIGHTS)


class RoundedInput:
    """Rounds what enters a layer to ACTIVATIONS, by a range that follows what is seen.

    begins  while true, the range takes in all that is seen and nothing is rounded
    """

    def __init__(self) -> None:
        self.low, self.high, self.begins = 0.0, 0.0, True

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = inputs
        low, high = (float(end) for end in torch.aminmax(x.detach()))
        if self.begins:
            self.low, self.high = min(self.low, low), max(self.high, high)
            return inputs
        if torch.is_grad_enabled():
            self.low += MOMENTUM * (min(low, 0.0) - self.low)
            self.high += MOMENTUM * (max(high, 0.0) - self.high)
        scale = max((self.high - self.low) / ACTIVATIONS[1], SMALLEST)
        zero = min(max(round(-self.low / scale), ACTIVATIONS[0]), ACTIVATIONS[1])
        rounded = torch.fake_quantize_per_tensor_affine(x, scale, zero, *ACTIVATIONS)
        return (rounded, *others)


@contextmanager
def simulated(network: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """While it is entered, the network computes as in whole numbers.

    batches  what it reads of some examples, from which the ranges begin

    Weights that are learned meanwhile stay in the network, in single precision and not rounded.
    """
    layers = [part for part in network.modules() if isinstance(part, SIMULATED)]
    inputs = [RoundedInput() for _ in layers]
    with ExitStack() as stack:
        for layer, rounded in zip(layers, inputs, strict=True):
            stack.enter_context(_removed_after(layer.register_forward_pre_hook(rounded)))
        with torch.no_grad():
            for batch in batches:
                network(batch)
        for layer, rounded in zip(layers, inputs, strict=True):
            rounded.begins = False
            stack.enter_context(_rounded(layer))
        yield


@contextmanager
def _rounded(layer: nn.Module) -> Iterator[None]:
    """Its weight, which comes back to its place: states are kept in their order."""
    order = list(layer._parameters)
    parametrize.register_parametrization(layer, "weight", RoundedWeight())
    try:
        yield
    finally:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        own = dict(layer._parameters)
        layer._parameters.clear()
        layer._parameters.update({name: own[name] for name in order})


@contextmanager
def _removed_after(handle: Any) -> Iterator[None]:
    try:
        yield
    finally:
        handle.remove()
