"""Operations of ATen, each as Keras has it: a row of ROWS.

What has weights stands in `keras_layers`; a row gets the arguments of the operation, in which every
tensor that depends on the input is a `Value`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor

from regraft.export import keras_layers
from regraft.export.keras_drawing import PLACES, TO_FIRST, TO_LAST, Drawing, Value

Row = Callable[..., Any]


# --- number by number ----------------------------------------------------------------------------


def _each(name: str, **told: Any) -> Row:
    """The same for each number."""

    def row(draw: Drawing, x: Value, *args: Any, **kwargs: Any) -> Value:
        return Value(getattr(draw.ops, name)(x.tensor, *args, **kwargs, **told), x.last)

    return row


def _limits(draw: Drawing, x: Value, least: Any = None, most: Any = None) -> Value:
    low = -math.inf if least is None else least
    high = math.inf if most is None else most
    if math.isinf(low) or math.isinf(high):  # JSON has no infinity
        ops = draw.ops
        found = x.tensor if math.isinf(low) else ops.maximum(x.tensor, low)
        return Value(found if math.isinf(high) else ops.minimum(found, high), x.last)
    return Value(draw.ops.clip(x.tensor, low, high), x.last)


def _hardtanh(draw: Drawing, x: Value, least: float = -1.0, most: float = 1.0) -> Value:
    return _limits(draw, x, least, most)


def _gelu(draw: Drawing, x: Value, approximate: str = "none") -> Value:
    return Value(draw.ops.gelu(x.tensor, approximate=approximate == "tanh"), x.last)


def _cast(draw: Drawing, x: Value, *, dtype: Any = None, **others: Any) -> Value:
    if dtype is None:
        return x
    return Value(draw.ops.cast(x.tensor, str(dtype).removeprefix("torch.")), x.last)


def _same(draw: Drawing, x: Value, *args: Any, **kwargs: Any) -> Value:
    return x


def _nothing(draw: Drawing, *args: Any, **kwargs: Any) -> None:
    return None


def _pair(name: str) -> Row:
    """Of two, either of which may be a number or a weight."""

    def row(draw: Drawing, a: Any, b: Any, *, alpha: float = 1) -> Value:
        if alpha != 1:
            b = _pair("multiply")(draw, b, alpha)
        last = any(isinstance(one, Value) and one.last for one in (a, b))
        last = last and all(_turns(one) for one in (a, b))
        found = [_operand(draw, one, last) for one in (a, b)]
        return Value(getattr(draw.ops, name)(*found), last)

    return row


def _turns(value: Any) -> bool:
    """Whether it can be had with channels last, beside a picture."""
    return value.rank == 4 if isinstance(value, Value) else True


def _operand(draw: Drawing, value: Any, last: bool) -> Any:
    if isinstance(value, Value):
        return draw.pictures(value) if last else draw.first(value)
    if not isinstance(value, Tensor):
        return value
    if not value.ndim:
        return value.item()
    if last:
        return draw.pictures(value.reshape((1,) * (4 - value.ndim) + tuple(value.shape)))
    return draw.weight(value)


def _power(draw: Drawing, x: Value, exponent: float) -> Value:
    ops = draw.ops
    found = ops.square(x.tensor) if exponent == 2 else ops.power(x.tensor, exponent)
    return Value(found, x.last)


# --- along axes ----------------------------------------------------------------------------------


def _over(name: str) -> Row:
    """One number of all along some axes."""

    def row(draw: Drawing, x: Value, dims: Any = None, keep: bool = False, **others: Any) -> Value:
        some = range(x.rank) if dims is None else [dims] if isinstance(dims, int) else dims
        wanted = {one % x.rank for one in some}
        if x.last and not keep and wanted != {2, 3}:
            x = Value(draw.first(x))
        axes = tuple(x.axis(one) for one in sorted(wanted))
        found = getattr(draw.ops, name)(x.tensor, axis=axes, keepdims=keep)
        return Value(found, x.last and keep)

    return row


def _softmax(draw: Drawing, x: Value, dim: int, half: bool = False) -> Value:
    return Value(draw.ops.softmax(x.tensor, axis=x.axis(dim)), x.last)


def _joined(draw: Drawing, some: Sequence[Any], dim: int = 0) -> Value:
    last = all(isinstance(one, Value) and one.last for one in some)
    parts = [one.tensor if last else draw.first(one) for one in some]
    axis = PLACES[dim % 4] if last else dim
    return Value(draw.ops.concatenate(parts, axis=axis), last)


def _split(draw: Drawing, x: Value, sizes: Sequence[int], dim: int = 0) -> list[Value]:
    ends = [sum(sizes[:i]) for i in range(1, len(sizes))]
    parts = draw.ops.split(x.tensor, ends, axis=x.axis(dim))
    return [Value(one, x.last) for one in parts]


def _slice(
    draw: Drawing, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    axis = x.axis(dim)
    places = range(x.tensor.shape[axis])[start:end:step]
    if len(places) == x.tensor.shape[axis]:
        return x
    return Value(draw.ops.take(x.tensor, list(places), axis=axis), x.last)


def _select(draw: Drawing, x: Value, dim: int, place: int) -> Value:
    tensor, dim = draw.first(x), dim % x.rank
    return Value(draw.ops.take(tensor, place % tensor.shape[dim], axis=dim))


def _chosen(draw: Drawing, x: Value, dim: int, places: Tensor) -> Value:
    return Value(draw.ops.take(x.tensor, places.tolist(), axis=x.axis(dim)), x.last)


def _pad(draw: Drawing, x: Value, sides: Sequence[int], value: float = 0) -> Value:
    if min(sides) < 0:
        raise draw.refused("cutting by a negative margin is not known")
    margins = [(0, 0)] * x.rank
    for i in range(len(sides) // 2):
        margins[x.axis(-1 - i)] = (sides[2 * i], sides[2 * i + 1])
    return Value(draw.ops.pad(x.tensor, tuple(margins), constant_values=value), x.last)


# --- shapes --------------------------------------------------------------------------------------


def _permute(draw: Drawing, x: Value, dims: Sequence[int]) -> Value:
    order = tuple(one % x.rank for one in dims)
    if order == TO_FIRST and not x.last:
        return Value(x.tensor, True)
    if order == TO_LAST and x.last:
        return Value(x.tensor)
    return Value(draw.ops.transpose(draw.first(x), order))


def _transpose(draw: Drawing, x: Value, one: int, other: int) -> Value:
    order = list(range(x.rank))
    order[one], order[other] = order[other], order[one]
    return _permute(draw, x, order)


def _reshape(draw: Drawing, x: Value, shape: Sequence[int]) -> Value:
    return Value(draw.ops.reshape(draw.first(x), tuple(shape)))


def _squeeze(draw: Drawing, x: Value, dims: Any) -> Value:
    some = [dims] if isinstance(dims, int) else dims
    tensor = draw.first(x)
    axes = tuple(one % x.rank for one in some if tensor.shape[one] == 1)
    return Value(draw.ops.squeeze(tensor, axis=axes) if axes else tensor)


def _unsqueeze(draw: Drawing, x: Value, dim: int) -> Value:
    return Value(draw.ops.expand_dims(draw.first(x), dim % (x.rank + 1)))


def _expand(draw: Drawing, x: Value, sizes: Sequence[int], **others: Any) -> Value:
    tensor = draw.first(x)
    own = (1,) * (len(sizes) - x.rank) + tuple(tensor.shape)
    shape = tuple(n if size == -1 else size for n, size in zip(own, sizes, strict=True))
    return Value(tensor if shape == tuple(tensor.shape) else draw.ops.broadcast_to(tensor, shape))


def _strided(draw: Drawing, x: Value, size: Any, stride: Any, offset: Any = None) -> Value:
    """Only where it changes nothing, as after a mean whose axes are kept."""
    before = draw.node.args[0].meta["val"]  # type: ignore[union-attr]
    pairs = zip(size, stride, before.stride(), strict=False)
    if tuple(size) != tuple(before.shape) or any(n > 1 and a != b for n, a, b in pairs) or offset:
        raise draw.refused("reading memory in another order is not known")
    return x


ROWS: Mapping[str, Row] = MappingProxyType(
    {
        **{name: _each(name) for name in ("relu", "sigmoid", "exp", "log", "sqrt", "rsqrt")},
        **{name: _each(name) for name in ("tanh", "erf", "abs", "silu", "sin", "cos", "floor")},
        **dict.fromkeys(("clone", "alias", "detach", "lift_fresh_copy", "contiguous"), _same),
        **dict.fromkeys(("view", "_unsafe_view", "reshape"), _reshape),
        "_assert_tensor_metadata": _nothing,
        "neg": _each("negative"),
        "reciprocal": _each("reciprocal"),
        "clamp": _limits,
        "clamp_min": _limits,
        "hardtanh": _hardtanh,
        "gelu": _gelu,
        "_to_copy": _cast,
        "add": _pair("add"),
        "sub": _pair("subtract"),
        "mul": _pair("multiply"),
        "div": _pair("true_divide"),
        "maximum": _pair("maximum"),
        "minimum": _pair("minimum"),
        "pow": _power,
        "convolution": keras_layers.convolution,
        "_native_batch_norm_legit_no_training": keras_layers.batch_norm,
        "native_layer_norm": keras_layers.layer_norm,
        "linear": keras_layers.linear,
        "mm": keras_layers.matmul,
        "bmm": keras_layers.matmul,
        "matmul": keras_layers.matmul,
        "addmm": keras_layers.addmm,
        "scaled_dot_product_attention": keras_layers.attention,
        "max_pool2d_with_indices": keras_layers.max_pool,
        "avg_pool2d": keras_layers.mean_pool,
        "mean": _over("mean"),
        "sum": _over("sum"),
        "amax": _over("max"),
        "_softmax": _softmax,
        "cat": _joined,
        "split_with_sizes": _split,
        "slice": _slice,
        "select": _select,
        "index_select": _chosen,
        "constant_pad_nd": _pad,
        "permute": _permute,
        "transpose": _transpose,
        "squeeze": _squeeze,
        "unsqueeze": _unsqueeze,
        "expand": _expand,
        "as_strided": _strided,
    }
)
