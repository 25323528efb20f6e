"""States come back bit for bit from safetensors and JSON."""

import json
import math
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor, nn

from regraft.errors import UsageError
from regraft.training.optimisers import optimiser
from regraft.training.states import DTYPES, flatten, unflatten


def through_files(state: Any) -> Any:
    tensors, plain = flatten(state)
    return unflatten(load(save(tensors)), json.loads(json.dumps(plain, allow_nan=False)))


def raw(tensor: Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def same(a: Any, b: Any) -> bool:
    """Alike in type, order and every bit."""
    if type(a) is not type(b):
        return False
    match a:
        case Tensor():
            alike = (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
            return alike and raw(a) == raw(b)
        case np.ndarray():
            return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        case float():
            return struct.pack("d", a) == struct.pack("d", b)
        case dict():
            return same(list(a.items()), list(b.items()))
        case list() | tuple():
            return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@st.composite
def a_tensor(draw: st.DrawFn) -> Tensor:
    """Any bits, of any type, also without dimensions or elements."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    size = math.prod(shape) * DTYPES[dtype].itemsize
    most = 1 if dtype == "bool" else 255
    content = draw(st.lists(st.integers(0, most), min_size=size, max_size=size))
    return torch.tensor(content, dtype=torch.uint8).view(DTYPES[dtype]).reshape(shape)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | a_tensor()
    | st.sampled_from([torch.bfloat16, torch.float32])
    | a_tensor().filter(lambda t: t.dtype == torch.float64).map(Tensor.numpy)
    | st.sampled_from([2**53, -(2**200), math.inf, -math.inf, math.nan, -0.0, 5e-324])
)
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.integers() | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=100)
@given(STATES)
def test_any_state_comes_back(state: Any) -> None:
    assert same(through_files(state), state)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_any_type_of_tensor_comes_back(dtype: str) -> None:
    some = torch.arange(DTYPES[dtype].itemsize, dtype=torch.uint8) % 2
    tensor = some.view(DTYPES[dtype])
    for t in (tensor, tensor.reshape(()), tensor[:0]):
        assert same(through_files(t), t)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(48.0).reshape(2, 3, 2, 4).to(memory_format=torch.channels_last),
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    ],
)
def test_the_layout_in_memory_comes_back(tensor: Tensor) -> None:
    assert same(through_files(tensor), tensor)


def test_views_that_share_memory_become_their_own() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = [base, base[:, 1], base[1:2].expand(5, 4), nn.Parameter(base).detach()]
    for a, b in zip(through_files(state), state, strict=True):
        assert torch.equal(a, b)


def test_stored_tensors_do_not_change_with_the_network() -> None:
    tensor, array = torch.zeros(3), np.zeros(3)
    tensors, _ = flatten([tensor, array])
    tensor += 1
    array += 1
    assert not any(t.any() for t in tensors.values())


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_a_generator_goes_on_as_it_would(kind: type[np.random.BitGenerator]) -> None:
    rng, other = np.random.Generator(kind(1)), np.random.Generator(kind(2))
    rng.random(7)
    other.bit_generator.state = through_files(rng.bit_generator.state)
    assert rng.random(9).tolist() == other.random(9).tolist()


class Sub(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"state": {0: {"x": object()}}}, "state['state'][0]['x']: builtins.object"),
        ([1, (2, {3})], "state[1][1]: builtins.set"),
        ({"a": Sub()}, "state['a']"),
        (OrderedDict(), "state: collections.OrderedDict"),
        ({"p": nn.Parameter(torch.zeros(1))}, "state['p']: torch.nn.parameter.Parameter"),
        ({(1, 2): 3}, "state[(1, 2)]: the key"),
        ({True: 3}, "state[True]: the key is of type bool"),
        ([np.float64(1)], "state[0]: numpy.float64"),
        ([torch.zeros(2, 2).to_sparse()], "sparse"),
        ([torch.zeros(1, dtype=torch.complex128)], "complex128"),
        ([np.array(["text"])], "state[0]: an array of"),
        ([np.zeros(2, ">f4")], "state[0]: an array of"),
        ([np.array([object()])], "state[0]: an array of object"),
        (b"bytes", "state: builtins.bytes"),
    ],
)
def test_what_cannot_be_stored_is_named(state: Any, path: str) -> None:
    with pytest.raises(UsageError) as caught:
        flatten(state)
    assert path in str(caught.value)


def test_a_state_within_itself_is_told() -> None:
    state: list[Any] = []
    state.append(state)
    with pytest.raises(UsageError, match="within itself"):
        flatten(state)


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize(
    "plain",
    [
        {"tensor": ["1", []]},
        {"tensor": ["0", [0, 0]]},
        {"tensor": ["0", [1]]},
        {"tensor": "0"},
        {"tensor": None},
        {"array": "7"},
        {"array": []},
        {"dict": [[1]]},
        {"dict": [[[1], 2]]},
        {"dict": 3},
        {"tuple": 3},
        {"int": "z"},
        {"int": 3},
        {"float": "00"},
        {"float": "zz"},
        {"dtype": "Tensor"},
        {"os.system": "ls"},
        {"int": "0x1", "float": "00"},
        {},
        nested(100),
    ],
)
def test_documents_that_were_not_written_here_are_refused(plain: Any) -> None:
    with pytest.raises(UsageError, match="stored state"):
        unflatten({"0": torch.zeros(2)}, plain)


# Optimisers ---------------------------------------------------------------------------------------


def begun(name: str, seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.GroupNorm(2, 6), nn.Flatten(), nn.Linear(24, 3))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = [{"params": list(net.parameters()), "rate_factor": 0.5}]
    return net, optimiser(name, groups, rate=1e-2, weight_decay=0.1)  # type: ignore[arg-type]


def descend(net: nn.Module, made: torch.optim.Optimizer, first: int) -> None:
    for step in range(first, first + 3):
        x = torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        made.zero_grad()
        (net(x) - 1).square().mean().backward()
        made.step()


NAMES = ["adamw", "sgd", "adam", "adagrad", "rmsprop", "nadam"]
NAMES += ["lion", "lamb", "nadamw", "adafactorbv", "adopt", "muon", "madgrad", "adan"]


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimiser_goes_on_bit_for_bit(name: str) -> None:
    net, made = begun(name, 0)
    descend(net, made, 0)
    weights, moments = through_files(dict(net.state_dict())), through_files(made.state_dict())
    other, resumed = begun(name, 9)
    other.load_state_dict(weights)
    resumed.load_state_dict(moments)
    for which, how in ((net, made), (other, resumed)):
        descend(which, how, 3)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert raw(a.detach()) == raw(b.detach())
    assert same(made.state_dict(), resumed.state_dict())
