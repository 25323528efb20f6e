"""Frozen BatchNorm folded into the convolution before it: the same function, a third less time.

With frozen statistics BatchNorm is an affine map of each channel, and so

    BN(conv(x; w)) = conv(x; w·s) + (β - μ·s),   s = γ / sqrt(σ² + ε).

The folded weights are computed anew in each step from w, γ and β, which stay the parameters: their
gradients are the same to rounding. What is saved are two passes over every map, forwards and
backwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from regraft.training.norms import batch_norms

TOLERANCE = 1e-3  # of the output, relative to its largest value: folding must not show

Pair = tuple[Any, Any]  # a convolution and the BatchNorm that alone reads what it gives


@contextmanager
def folded(model: nn.Module, example: Tensor) -> Iterator[int]:
    """While it is entered, convolutions carry the BatchNorm behind them; how many do.

    model    in evaluation mode; its statistics must not move meanwhile
    example  (1, ...) an input; where the folded model differs on it, nothing is folded
    """
    pairs = _pairs(model, example)
    try:
        if _shows(model, example, pairs):
            _unfold(pairs)
            pairs = []
        yield len(pairs)
    finally:
        _unfold(pairs)


def _shows(model: nn.Module, example: Tensor, pairs: list[Pair]) -> bool:
    """Fold, and try whether the output is another one."""
    with _shifted([norm for _, norm in pairs]):
        before = _output(model, example)
        for conv, norm in pairs:
            conv.forward, norm.forward = _folded_convolution(conv, norm), _rest_of(norm)
        error = (_output(model, example) - before).abs().max()
    return bool(error > TOLERANCE * before.abs().max().clamp(min=1.0))


@contextmanager
def _shifted(norms: list[Any]) -> Iterator[None]:
    """Other statistics for a trial: a BatchNorm that changes nothing yet would hide a mistake."""
    kept = [norm.running_mean.clone() for norm in norms]
    for norm in norms:
        spread = norm.running_var.sqrt()
        norm.running_mean += spread * torch.linspace(-0.5, 0.5, len(spread)).to(spread)
    try:
        yield
    finally:
        for norm, mean in zip(norms, kept, strict=True):
            norm.running_mean.copy_(mean)


def _unfold(pairs: list[Pair]) -> None:
    for part in (part for pair in pairs for part in pair):
        part.__dict__.pop("forward", None)


@torch.no_grad()
def _output(model: nn.Module, example: Tensor) -> Tensor:
    found: Tensor = model(example)
    return found


@torch.no_grad()
def _pairs(model: nn.Module, example: Tensor) -> list[Pair]:
    """By a trial: which BatchNorm gets the very tensor that a convolution gave."""
    given: dict[int, tuple[nn.Module, Tensor]] = {}  # the tensor is held: an id is not used twice
    pairs: list[Pair] = []

    def after(conv: nn.Module, inputs: Any, output: Tensor) -> None:
        given[id(output)] = (conv, output)

    def before(norm: nn.Module, inputs: Any) -> None:
        if id(inputs[0]) in given:
            pairs.append((given[id(inputs[0])][0], norm))

    hooks = [p.register_forward_hook(after) for p in model.modules() if _is_plain(p)]
    hooks += [p.register_forward_pre_hook(before) for p in batch_norms(model) if p.affine]
    model(example)
    for hook in hooks:
        hook.remove()
    return pairs


def _is_plain(part: nn.Module) -> bool:
    """A two-dimensional convolution whose computation is known here."""
    return type(part).__name__ in ("Conv2d", "Conv2dSame") and isinstance(part, nn.Conv2d)


def _folded_convolution(conv: Any, norm: Any) -> Any:
    same = type(conv).__name__ == "Conv2dSame"

    def forward(x: Tensor) -> Tensor:
        factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = conv.weight * factor.view(-1, 1, 1, 1)
        bias = norm.bias - norm.running_mean * factor
        if conv.bias is not None:
            bias = bias + conv.bias * factor
        padding = conv.padding
        if same:  # TensorFlow's padding depends on the input's size
            from timm.layers.padding import pad_same

            x, padding = pad_same(x, conv.kernel_size, conv.stride, conv.dilation), (0, 0)
        return nn.functional.conv2d(
            x, weight, bias, conv.stride, padding, conv.dilation, conv.groups
        )

    return forward


def _rest_of(norm: Any) -> Any:
    """What a BatchNorm does besides: timm's have the activation inside."""
    if not hasattr(norm, "act"):
        return lambda x: x
    return lambda x: norm.act(norm.drop(x))
