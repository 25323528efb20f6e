"""Halves: with its shallow part kept aside a network gives the same numbers, and comes back."""

from typing import Any

import numpy as np
import pytest
import timm
import torch

from regraft.backbones.catalog import family_of
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.errors import UsageError
from regraft.modalities.spec import InputSpec
from regraft.progress import Quiet
from regraft.training import views
from regraft.training.examples import Turn
from regraft.training.grafted import grafted
from regraft.training.halves import Halves
from regraft.training.start import parts_that_learn

Setting = Any  # of conftest.py


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_the_halves_give_what_the_whole_gives(setting: Setting, share: float) -> None:
    model = grafted(setting.row, setting.spec, setting.head, setting.temperature)
    pixels, names = setting.held.pixels, set(dict(model.named_parameters()))
    with torch.no_grad():
        whole = model(pixels)
        halves = model.halve(share)
        torch.testing.assert_close(model(halves.prefix(pixels)), whole, atol=1e-4, rtol=1e-4)
    assert set(dict(model.named_parameters())) < names
    model.join()
    assert set(dict(model.named_parameters())) == names
    with torch.no_grad():
        torch.testing.assert_close(model(pixels), whole)


def test_a_run_on_kept_views_moves_only_the_deep_half(setting: Setting) -> None:
    ready = setting.ready("partial", steps=3, rate=0.01, views=2)
    run = ready.training(held=ready.held(setting.lesson))
    before = load_network(setting.row, setting.spec).module.state_dict()
    run.run()
    run.model.join()
    after = run.model.body()
    moved = {name for name, t in after.items() if not torch.equal(t, before[name])}
    assert moved
    assert not any(name.startswith(("conv_stem", "bn1", "blocks.0", "blocks.1")) for name in moved)
    assert any(name.startswith("blocks.6") for name in moved)


def test_what_stands_before_the_deep_half_is_not_among_what_learns(setting: Setting) -> None:
    begun = setting.ready("partial", steps=1)
    names = {id(p): name for name, p in begun.model.named_parameters()}
    parts = parts_that_learn(begun.model, begun.wanted, begun.row, begun.plan)
    learning = {names[id(p)] for part in parts for p in part.parameters}
    assert "network.module.conv_stem.weight" in names.values()
    assert not any(name.startswith("network.module.conv_stem") for name in learning)
    assert any(name.startswith("network.module.conv_head") for name in learning)


def test_views_that_would_fill_the_memory_are_refused(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_memory", lambda: 10_000)
    with pytest.raises(UsageError, match="GiB of memory"):
        setting.ready("partial")


def test_kept_views_score_as_the_whole_network_does(setting: Setting) -> None:
    ready = setting.ready("partial", views=1)
    held = ready.held(setting.lesson)
    device = torch.device("cpu")
    split = held.score(ready.model, device)
    whole = setting.ready("lp-ft")
    plain = whole.held(setting.lesson).score(whole.model, device)
    assert split.accuracy == plain.accuracy
    assert split.loss == pytest.approx(plain.loss, abs=1e-3)


def test_views_take_turns(setting: Setting) -> None:
    examples = setting.ready("partial", views=3).material.examples
    examples.fill(Quiet())
    first = [examples[Turn(epoch, 0)][0] for epoch in range(6)]
    for epoch in range(3):
        np.testing.assert_array_equal(first[epoch], first[epoch + 3])
    assert not np.array_equal(first[0], first[1])


def test_mixing_pictures_is_refused(setting: Setting) -> None:
    with pytest.raises(UsageError, match="mixup and cutmix mix pictures"):
        setting.ready("partial", augment="mixup")


def test_a_network_of_tokens_is_split_as_well() -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=4, num_classes=0)
    spec = InputSpec(size=32)
    network = FrozenNetwork(module, family_of("timm", "vit_tiny_patch16_224"), spec)
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        whole = network(pixels)
        halves = Halves(network, "blocks.1")
        both = torch.cat(halves.features(halves.prefix(pixels)), 1)
    torch.testing.assert_close(both, whole, atol=1e-4, rtol=1e-4)
