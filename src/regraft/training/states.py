"""Nested states as tensors and plain data, bit for bit and without pickle.

A state, such as an optimiser's, becomes named tensors for safetensors and a document for JSON. In
the document None, booleans, text, lists, and the numbers that JSON keeps are themselves; all else
is an object with one key, which tells what it is:

    {"tensor": [name, order]}    a tensor whose dimensions were put in this order to be stored, so
                                 that it comes back with its own layout in memory (channels-last)
    {"array": name}              a numpy array
    {"dict": [[key, value]...]}  with text or whole numbers as keys
    {"tuple": [value...]}
    {"int": "0x..."}             larger than a float keeps
    {"float": "7ff8..."}         infinite or NaN: the eight bytes
    {"dtype": "bfloat16"}        of torch
"""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.errors import UsageError

DEEPEST = 64
EXACT = 2**53  # whole numbers below it are the same in every reader of JSON

# What safetensors keeps.
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
        *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz),
    )
}

Tensors = dict[str, Tensor]


def flatten(state: Any) -> tuple[Tensors, Any]:
    """State → (tensors, plain): for `safetensors.torch.save` and `json.dumps`.

    Takes None, bool, int, float, str, list, tuple, dict with text or whole numbers as keys, torch
    dtypes, dense tensors on any device and numpy arrays. The tensors are contiguous copies on the
    CPU, named ``0``, ``1`` ...: what trains on does not change them.
    Raises UsageError for anything else, with its path in the state.
    """
    tensors: Tensors = {}
    return tensors, _flat(state, tensors, ())


def unflatten(tensors: Mapping[str, Tensor], plain: Any) -> Any:
    """(tensors, plain) → state, tensors on the CPU. Tensors that it does not name are ignored.

    Raises UsageError where the document is not one that `flatten` wrote, or a tensor is missing.
    """
    return _deep(plain, tensors, 0)


# To plain data ------------------------------------------------------------------------------------

Path = tuple[str, ...]


def _flat(value: Any, tensors: Tensors, path: Path) -> Any:
    kind = type(value)  # exactly: what inherits would come back as something else
    if kind not in FLATTENED:
        raise _unfit(path, f"{kind.__module__}.{kind.__qualname__} cannot be stored")
    if len(path) > DEEPEST:
        raise _unfit(path[:3], f"nested deeper than {DEEPEST}, or within itself")
    return FLATTENED[kind](value, tensors, path)


def _unfit(path: Path, what: str) -> UsageError:
    return UsageError(
        f"state{''.join(path)}: {what}; expected None, bool, int, float, str, list, tuple, dict, "
        "torch dtype, dense tensor or array of numbers"
    )


def _same(value: Any, tensors: Tensors, path: Path) -> Any:
    return value


def _flat_int(value: int, tensors: Tensors, path: Path) -> Any:
    return value if abs(value) < EXACT else {"int": hex(value)}


def _flat_float(value: float, tensors: Tensors, path: Path) -> Any:
    return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}


def _flat_items(value: list[Any] | tuple[Any, ...], tensors: Tensors, path: Path) -> list[Any]:
    return [_flat(item, tensors, (*path, f"[{n}]")) for n, item in enumerate(value)]


def _flat_dict(value: dict[Any, Any], tensors: Tensors, path: Path) -> Any:
    pairs = []
    for key, item in value.items():
        inside = (*path, f"[{key!r}]")
        if type(key) not in (str, int):
            raise _unfit(inside, f"the key is of type {type(key).__name__}, not str or int")
        pairs.append([_flat(key, tensors, inside), _flat(item, tensors, inside)])
    return {"dict": pairs}


def _flat_tensor(value: Tensor, tensors: Tensors, path: Path) -> Any:
    if value.layout != torch.strided or value.dtype not in DTYPES.values():
        raise _unfit(path, f"a tensor of {value.dtype} and {value.layout} cannot be stored")
    strides = value.stride()
    order = sorted(range(value.ndim), key=lambda d: -strides[d])
    name = str(len(tensors))
    ordered = value.detach().resolve_conj().resolve_neg().permute(order)
    tensors[name] = ordered.to("cpu", copy=True).contiguous()
    return {"tensor": [name, order]}


def _flat_array(value: np.ndarray[Any, Any], tensors: Tensors, path: Path) -> Any:
    if value.dtype.name not in DTYPES or not value.dtype.isnative:
        raise _unfit(path, f"an array of {value.dtype} cannot be stored")
    name = str(len(tensors))
    tensors[name] = torch.from_numpy(value.copy(order="C"))
    return {"array": name}


FLATTENED: Mapping[type, Callable[[Any, Tensors, Path], Any]] = {
    type(None): _same,
    bool: _same,
    str: _same,
    int: _flat_int,
    float: _flat_float,
    list: _flat_items,
    tuple: lambda value, tensors, path: {"tuple": _flat_items(value, tensors, path)},
    dict: _flat_dict,
    Tensor: _flat_tensor,
    np.ndarray: _flat_array,
    torch.dtype: lambda value, tensors, path: {"dtype": str(value).removeprefix("torch.")},
}


# And back -----------------------------------------------------------------------------------------


def _deep(plain: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    if depth > DEEPEST:
        raise UsageError(f"stored state: nested deeper than {DEEPEST}")
    if isinstance(plain, list):
        return [_deep(item, tensors, depth + 1) for item in plain]
    if not isinstance(plain, dict):
        return plain
    try:
        ((kind, content),) = plain.items()
        return DEEPENED[kind](content, tensors, depth + 1)
    except (KeyError, ValueError, TypeError, AttributeError, struct.error, RuntimeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"stored state: {str(plain)[:80]} cannot be read: {error!r}") from error


def _deep_dict(content: Any, tensors: Mapping[str, Tensor], depth: int) -> dict[Any, Any]:
    return {_deep(key, tensors, depth): _deep(item, tensors, depth) for key, item in content}


def _deep_tensor(content: Any, tensors: Mapping[str, Tensor], depth: int) -> Tensor:
    name, order = content
    return tensors[name].permute([order.index(d) for d in range(len(order))])


DEEPENED: Mapping[str, Callable[[Any, Mapping[str, Tensor], int], Any]] = {
    "int": lambda content, tensors, depth: int(content, 16),
    "float": lambda content, tensors, depth: struct.unpack(">d", bytes.fromhex(content))[0],
    "tuple": lambda content, tensors, depth: tuple(_deep(i, tensors, depth) for i in content),
    "dict": _deep_dict,
    "tensor": _deep_tensor,
    "array": lambda content, tensors, depth: tensors[content].numpy(),
    "dtype": lambda content, tensors, depth: DTYPES[content],
}
