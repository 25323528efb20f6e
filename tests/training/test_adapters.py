"""Adapters: they begin as nothing, they alone learn, and merged they are the plain network."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regraft.backbones.network import load_network
from regraft.errors import MissingExtra, UsageError
from regraft.training.adapters import RANK, add_adapters, merge_adapters
from regraft.training.averaging import copied
from regraft.training.checkpoints import Checkpoints

Setting, Tiny = Any, Any  # of conftest.py

NETWORKS = ["vit", "transformers-vit"]


@pytest.fixture(params=NETWORKS)
def small(request: pytest.FixtureRequest, tiny: Tiny) -> Setting:
    return tiny(request.param)


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return copied({name: p.data for name, p in model.named_parameters()})


@torch.no_grad()
def logits(model: nn.Module, setting: Setting) -> Tensor:
    given: Tensor = model.eval()(setting.held.pixels)
    return given


def test_they_are_on_every_linear_layer_of_the_body(small: Setting) -> None:
    plain = load_network(small.row, small.spec).module
    expected = {n for n, part in plain.named_modules() if type(part) is nn.Linear}
    expected -= {"head", "classifier"}
    module = small.ready("lora").model.network.module
    found = {n: part for n, part in module.named_modules() if hasattr(part, "lora_A")}
    assert set(found) == expected
    for part in found.values():
        assert part.lora_A.default.weight.shape == (RANK, part.in_features)
        assert part.lora_B.default.weight.shape == (part.out_features, RANK)


def test_they_begin_as_nothing(small: Setting) -> None:
    plain, adapted = (small.ready(name).model for name in ("lp-ft", "lora"))
    assert torch.equal(logits(adapted, small), logits(plain, small))


def test_only_they_and_the_head_move(small: Setting) -> None:
    run = small.ready("lora", steps=3, rate=0.05).training()
    before = parameters(run.model)
    run.run()
    after = parameters(run.model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    adapters = {name for name in before if ".lora_" in name}
    assert moved == adapters | {"linear.weight", "linear.bias"}
    assert run.learning == moved


def test_merged_the_plain_network_gives_the_same(small: Setting) -> None:
    run = small.ready("lora", steps=4, rate=0.05).training()
    begun = logits(run.model, small)
    run.run()
    learned = logits(run.model, small)
    assert (learned - begun).abs().max() > 0.01
    merge_adapters(run.model)
    torch.testing.assert_close(logits(run.model, small), learned, atol=1e-5, rtol=1e-5)
    plain = load_network(small.row, small.spec)
    assert list(run.model.body()) == list(plain.module.state_dict())
    assert not any("lora" in type(part).__module__ for part in run.model.modules())
    plain.module.load_state_dict(run.model.body())
    with torch.no_grad():
        features = plain(small.held.pixels)
        own = run.model.network(small.held.pixels)
    assert torch.equal(features, own)
    merge_adapters(run.model)  # there are none any more
    torch.testing.assert_close(logits(run.model, small), learned, atol=1e-5, rtol=1e-5)


def test_the_seed_decides_how_they_begin(tiny: Tiny) -> None:
    small = tiny("vit")
    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (small.ready("lora", seed=seed).model for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), drawn)
    first, again, third = (parameters(model) for model in (one, same, other))
    assert all(torch.equal(first[name], again[name]) for name in first)
    lora_a = [name for name in first if "lora_A" in name]
    assert lora_a
    assert not any(torch.equal(first[name], third[name]) for name in lora_a)


def test_a_run_with_them_goes_on_exactly(tiny: Tiny, tmp_path: Any) -> None:
    def run(stop: int | None) -> Any:
        made = tiny("vit").ready("lora", steps=4).training(checkpoints=Checkpoints(tmp_path, "k"))
        if stop is not None:
            made._has_ended = lambda: made.step == stop
        return made.run()

    assert run(stop=2).steps == 2
    again = run(stop=None)
    Checkpoints(tmp_path, "k").forget()
    whole = run(stop=None)
    assert again.steps == whole.steps == 4
    assert all(torch.equal(again.last[name], t) for name, t in whole.last.items())


def test_a_network_without_linear_layers_is_refused(tiny: Tiny) -> None:
    small = tiny("resnet")
    with pytest.raises(UsageError, match=r"^lora: .* has no linear layers but its classifier"):
        add_adapters(small.ready("lp-ft").model, small.row, 0)


def test_a_missing_library_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"pip install 'regraft\[lora\]'"):
        tiny("vit").ready("lora")
