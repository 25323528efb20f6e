"""Vectors of word pieces: what a network of texts makes of their numbers first, and changes of it.

    x = embedded(module, lines)             # vectors, and the numbers beside them
    with in_place_of(module, vectors):
        module(numbers)                     # goes on with these vectors

    x = unmoved(module, tokens)             # changes of vectors, of which there are none yet
    Moved(network, module)(x)               # what the network gives under them

Lengths are in units of the mean length of the vocabulary's vectors: 0.1 is a tenth of that in every
network.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.padding import PADDING
from regraft.errors import UsageError


def embedding_of(module: nn.Module) -> nn.Embedding:
    """The layer of the vocabulary. Raises UsageError for a network without one."""
    find = getattr(module, "get_input_embeddings", None)
    found = find() if callable(find) else None
    if not isinstance(found, nn.Embedding):
        raise UsageError(
            f"attack: {type(module).__name__} has no vectors of word pieces that could be changed"
        )
    return found


def unit(embedding: nn.Embedding) -> float:
    """Mean length of the vocabulary's vectors."""
    return float(embedding.weight.detach().norm(dim=1).mean())


def embedded(module: nn.Module, lines: Sequence[Any]) -> Tensor:
    """(n, longest, d + 1): of each word piece its vector in units, and its number + 1.

    lines  n times numbers (length,); behind the end of a shorter one there are zeros
    """
    embedding = embedding_of(module)
    weight, width = embedding.weight.detach(), embedding.embedding_dim
    out = torch.zeros(len(lines), max(map(len, lines)), width + 1, device=weight.device)
    for row, line in zip(out, lines, strict=True):
        numbers = torch.as_tensor(line, device=weight.device)
        row[: len(line), :-1] = weight[numbers].float() / unit(embedding)
        row[: len(line), -1] = numbers + 1
    return out


def numbers_of(x: Tensor) -> Tensor:
    """(n, length, d + 1) → (n, length) numbers, -1 behind the ends."""
    return x[..., -1].round().long() - 1


@contextmanager
def in_place_of(module: nn.Module, vectors: Tensor) -> Iterator[None]:
    """While it is entered the network goes on with vectors (n, length, d), in units."""
    scaled = vectors * unit(embedding_of(module))
    with _going_on(module, lambda own: scaled.to(own.dtype)):
        yield


@contextmanager
def moved_by(module: nn.Module, change: Tensor) -> Iterator[None]:
    """While it is entered vectors are moved by a change (n, length, d), in units.

    Both get gradients: the change, and the vectors as they are.
    """
    scaled = change * unit(embedding_of(module))
    with _going_on(module, lambda own: own + scaled.to(own.dtype)):
        yield


@contextmanager
def _going_on(module: nn.Module, with_these: Callable[[Tensor], Tensor]) -> Iterator[None]:
    def given(part: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return with_these(output)

    handle = embedding_of(module).register_forward_hook(given)
    try:
        yield
    finally:
        handle.remove()


def unmoved(module: nn.Module, tokens: Tensor) -> Tensor:
    """(n, length) numbers, behind the ends PADDING → (n, length, d + 1): of each word piece a
    change of its vector, which is 0, and its number + 1.
    """
    width = embedding_of(module).embedding_dim
    out = torch.zeros(*tokens.shape, width + 1, device=tokens.device)
    out[..., -1] = tokens - PADDING
    return out


class Moved(nn.Module):
    """A network of texts as a function of how far its word pieces' vectors are moved.

    network  numbers (n, length) → anything; `module` is what is in it with these vectors
    """

    def __init__(self, network: nn.Module, module: nn.Module) -> None:
        super().__init__()
        self.network, self.module = network, module

    def forward(self, x: Tensor) -> Any:
        """Of changes (n, length, d + 1), see `unmoved`."""
        with moved_by(self.module, x[..., :-1]):
            return self.network(numbers_of(x))
