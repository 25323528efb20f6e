"""Normalisation layers: which they are, and the statistics of BatchNorm.

Frozen: those of the pretraining. Estimated: those of the user's pictures, taken once. Free: they
move with every batch, which on small data is what spoils naive fine-tuning.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def batch_norms(module: nn.Module) -> Iterator[Any]:
    """Every BatchNorm with running statistics."""
    found: Iterator[Any] = (part for part in module.modules() if isinstance(part, BATCH_NORMS))
    return (part for part in found if part.running_mean is not None)


def free(module: nn.Module) -> None:
    """Training mode for real: `FrozenNetwork.train` keeps itself in evaluation mode."""
    for part in module.modules():
        part.training = True


def norm_parameters(module: nn.Module) -> set[str]:
    """Names of the weights and biases of all normalisation layers, torch's and libraries' own."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        if isinstance(part, NORMS) or type(part).__name__.lower().endswith(("norm", "norm2d"))
        for name, _ in part.named_parameters(recurse=False)
    }


@torch.no_grad()
def estimate_norms(model: nn.Module, batches: Iterable[Tensor], device: torch.device) -> None:
    """Set the statistics of every BatchNorm to those of these pictures, averaged over the batches.

    batches  of (n, size, size, 3) uint8 pixels
    """
    parts = list(batch_norms(model))
    momenta = [part.momentum for part in parts]
    for part in parts:
        part.reset_running_stats()
        part.momentum, part.training = None, True  # None: the plain mean over all batches
    for pixels in batches:
        model(pixels.to(device))
    for part, momentum in zip(parts, momenta, strict=True):
        part.momentum, part.training = momentum, False
