"""Narrow networks: an architecture with fewer channels than it is built with.

How many there are is told by the shapes of the weights alone. Nothing may be larger than it is
built, so that a file of unknown origin cannot ask for more memory than its network takes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from regraft.errors import BackboneError

if TYPE_CHECKING:
    from torch.nn import Module


def narrow(module: "Module", state: Mapping[str, Tensor]) -> None:
    """Bring every layer of a module to the shapes of a state, which is loaded afterwards.

    Raises BackboneError where an entry is larger than the module's own or of another kind.
    """
    if wrong := [*_too_large(module, state)]:
        raise BackboneError(
            f"these weights are not those of a narrower {type(module).__name__}: "
            f"{'; '.join(wrong[:5])}"
        )
    for name, layer in list(module.named_modules()):
        own = {key: state.get(f"{name}.{key}" if name else key) for key in _tensors(layer)}
        changed = {k: t for k, t in own.items() if t is not None and _differs(layer, k, t)}
        for key, tensor in changed.items():
            _replace(layer, key, tensor)
        if changed:
            _note_sizes(layer)


def _tensors(layer: "Module") -> list[str]:
    return [n for n, _ in (*layer.named_parameters(recurse=False), *layer.named_buffers("", False))]


def _differs(layer: "Module", key: str, tensor: Tensor) -> bool:
    return bool(getattr(layer, key).shape != tensor.shape)


def _too_large(module: "Module", state: Mapping[str, Tensor]) -> list[str]:
    """Entries whose axes are fewer, more or longer, or whose kernels are of another size."""
    wrong = []
    for name, own in module.state_dict().items():
        given = state.get(name)
        if given is None:
            continue
        kernel = given.shape[2:] != own.shape[2:]
        longer = any(a > b or a < 1 for a, b in zip(given.shape, own.shape, strict=False))
        if given.ndim != own.ndim or kernel or longer:
            wrong.append(f"{name}: {tuple(given.shape)} for at most {tuple(own.shape)}")
    return wrong


def _replace(layer: "Module", key: str, tensor: Tensor) -> None:
    old = getattr(layer, key)
    new = old.data.new_empty(tensor.shape)
    setattr(layer, key, nn.Parameter(new, old.requires_grad) if key in layer._parameters else new)


def _note_sizes(layer: "Module") -> None:
    """What a layer says of itself, where it computes by it."""
    match layer:
        case nn.Conv2d():
            depthwise = layer.groups > 1 and layer.groups == layer.in_channels
            layer.out_channels = layer.weight.shape[0]
            layer.groups = layer.out_channels if depthwise else layer.groups
            layer.in_channels = layer.weight.shape[1] * layer.groups
        case nn.Linear():
            layer.out_features, layer.in_features = layer.weight.shape
        case nn.BatchNorm2d():
            layer.num_features = len(layer.weight)
        case nn.LayerNorm():
            layer.normalized_shape = tuple(layer.weight.shape)
