"""Operations of ATen that are layers in Keras, with their weights; see `keras_rows`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regraft.export.keras_drawing import Drawing, Value

LEAST = -3.4e38  # what no maximum is


def convolution(
    draw: Drawing,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    if transposed or weight.ndim != 4:
        raise draw.refused("only convolutions of pictures are known")
    pixels = _padded(draw, draw.pictures(x), padding)
    out, own, *size = weight.shape
    told = {"kernel_size": tuple(size), "strides": tuple(stride), "use_bias": bias is not None}
    told |= {"dilation_rate": tuple(dilation)}
    if own == 1 and groups > 1 and stride[0] == stride[1]:
        kernel = weight.reshape(groups, out // groups, *size).permute(2, 3, 0, 1)
        told |= {"depth_multiplier": out // groups}
        return Value(draw.layer("DepthwiseConv2D", pixels, [kernel, bias], **told), True)
    told |= {"filters": out, "groups": groups}
    kernel = weight.permute(2, 3, 1, 0)
    return Value(draw.layer("Conv2D", pixels, [kernel, bias], **told), True)


def _padded(draw: Drawing, pixels: Any, padding: Sequence[int], value: float = 0) -> Any:
    """(n, h, w, c) with so many pixels more on each side."""
    if not any(padding):
        return pixels
    sides = ((0, 0), *((n, n) for n in _two(padding)), (0, 0))
    return draw.ops.pad(pixels, sides, constant_values=value)


def _two(value: Any) -> tuple[int, int]:
    both = (value,) if isinstance(value, int) else tuple(value)
    return (both[0], both[-1])


def batch_norm(
    draw: Drawing,
    x: Value,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    epsilon: float,
) -> tuple[Value, None, None]:
    tensor = draw.pictures(x) if x.rank == 4 else x.tensor
    told = {"epsilon": epsilon, "scale": weight is not None, "center": bias is not None}
    axis = 1 if x.rank == 3 else -1
    weights = [weight, bias, mean, variance]
    found = draw.layer("BatchNormalization", tensor, weights, axis=axis, **told)
    return Value(found, x.rank == 4), None, None


def layer_norm(
    draw: Drawing,
    x: Value,
    shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
) -> tuple[Value, None, None]:
    axis = list(range(-len(shape), 0))
    told = {"epsilon": epsilon, "scale": weight is not None, "center": bias is not None}
    along = axis if len(axis) > 1 else -1
    weights = [weight, bias]
    found = draw.layer("LayerNormalization", draw.first(x), weights, axis=along, **told)
    return Value(found), None, None


def linear(draw: Drawing, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    told = {"units": weight.shape[0], "use_bias": bias is not None}
    return Value(draw.layer("Dense", draw.first(x), [weight.T, bias], **told))


def matmul(draw: Drawing, a: Any, b: Any) -> Value:
    if isinstance(b, Tensor) and b.ndim == 2:
        return linear(draw, a, b.T)
    return Value(draw.ops.matmul(draw.first(a), draw.first(b)))


def addmm(draw: Drawing, bias: Any, a: Any, b: Any) -> Value:
    if isinstance(b, Tensor) and isinstance(bias, Tensor) and bias.ndim == 1:
        return linear(draw, a, b.T, bias)
    return Value(draw.ops.add(draw.first(bias), matmul(draw, a, b).tensor))


def attention(
    draw: Drawing,
    query: Value,
    key: Value,
    value: Value,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    if causal or enable_gqa or (isinstance(mask, Tensor) and mask.dtype == torch.bool):
        raise draw.refused("attention of this kind is not known")
    ops, factor = draw.ops, scale or query.tensor.shape[query.axis(-1)] ** -0.5
    across = ops.swapaxes(draw.first(key), -1, -2)
    scores = ops.matmul(ops.multiply(draw.first(query), factor), across)
    if mask is not None:
        scores = ops.add(scores, draw.first(mask))
    return Value(ops.matmul(ops.softmax(scores, axis=-1), draw.first(value)))


def max_pool(
    draw: Drawing,
    x: Value,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil: bool = False,
) -> tuple[Value, None]:
    if ceil or _two(dilation) != (1, 1):
        raise draw.refused("maxima of this kind are not known")
    pixels = _padded(draw, draw.pictures(x), _two(padding), LEAST)
    told = {"pool_size": _two(size), "strides": _two(stride or size)}
    return Value(draw.layer("MaxPooling2D", pixels, [], **told), True), None


def mean_pool(
    draw: Drawing,
    x: Value,
    size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    ceil: bool = False,
    padded: bool = True,
    divisor: int | None = None,
) -> Value:
    if ceil or divisor or (any(_two(padding)) and not padded):
        raise draw.refused("means of this kind are not known")
    pixels = _padded(draw, draw.pictures(x), _two(padding))
    told = {"pool_size": _two(size), "strides": _two(stride or size)}
    return Value(draw.layer("AveragePooling2D", pixels, [], **told), True)
