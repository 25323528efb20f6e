"""Another input size than the one of the weights: what each kind of network needs for it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from regraft.errors import UsageError


def _any_size(module: nn.Module, native: int, size: int) -> dict[str, Any]:
    return {}


def _set_input_size(module: nn.Module, native: int, size: int) -> dict[str, Any]:
    """timm resamples position embeddings and windows; networks without that method need neither."""
    resize = getattr(module, "set_input_size", None)
    if resize is not None and size != native:
        resize(img_size=(size, size))
    return {}


def _interpolated(module: nn.Module, native: int, size: int) -> dict[str, Any]:
    """transformers resamples position embeddings in every call."""
    return {"interpolate_pos_encoding": True} if size != native else {}


def _fixed_size(module: nn.Module, native: int, size: int) -> dict[str, Any]:
    if size != native:
        raise UsageError(f"size: this network reads {native} pixels only, not {size}")
    return {}


RESIZE: Mapping[str, Callable[[nn.Module, int, int], dict[str, Any]]] = MappingProxyType(
    {
        "any": _any_size,
        "set_input_size": _set_input_size,
        "interpolate": _interpolated,
        "fixed": _fixed_size,
    }
)
