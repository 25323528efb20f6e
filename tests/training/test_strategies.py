"""Every strategy of the registry: what it moves, and that it ends in a model that works."""

from typing import Any

import numpy as np
import pytest
import torch

from regraft.backbones.catalog import families
from regraft.errors import UsageError
from regraft.training.averaging import copied
from regraft.training.judging import logits_of
from regraft.training.start import begun
from regraft.training.strategies import LEARNS, STRATEGIES, refusal, strategies, strategy

Setting, Tiny = Any, Any  # of conftest.py

TRAINING = [name for name, row in STRATEGIES.items() if row.trains]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_row_is_complete(name: str) -> None:
    row = strategy(name)
    assert row.told
    assert row.learns in LEARNS
    assert not row.needs or any(row.needs in f.operations for f in families().values())


@pytest.mark.parametrize("network", ["resnet", "vit"])
@pytest.mark.parametrize("name", TRAINING)
def test_it_trains_from_its_start_and_moves_what_it_says(
    name: str, network: str, tiny: Tiny
) -> None:
    """The conformance that a plugin's strategy has to pass as well."""
    setting = tiny(network)
    if refusal(strategy(name), setting.row):
        pytest.skip("networks of this family do not offer it")
    made = setting.ready(name, steps=2, rate=0.01)
    before = copied(dict(made.model.named_parameters()))
    held = made.held(setting.lesson)
    run = made.training(held=held)
    trained = run.run()
    after = dict(run.model.named_parameters())
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved <= run.learning
    assert {"linear.weight", "linear.bias"} <= moved
    assert trained.steps == 2
    assert np.isfinite(logits_of(run.model, held.pixels, run.device)).all()


def test_shallow_layers_learn_slowly(setting: Setting) -> None:
    run = setting.ready("lp-ft", shallow=0.1, frozen=0.0).training()
    factors = [part.rate_factor for part in run.parts]
    assert factors[0] == pytest.approx(0.1)
    assert factors[-2:] == [1.0, 1.0]
    assert factors == sorted(factors)


def test_layers_thaw_the_deepest_first(setting: Setting) -> None:
    run = setting.ready("gradual", steps=20).training()
    waits = [part.from_step for part in run.parts]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] == 0
    assert waits[0] == 10


def test_the_ridge_head_is_where_lp_ft_begins(setting: Setting) -> None:
    fresh, ridge = (
        begun(strategy(name), setting.row, setting.spec, setting.head, setting.temperature, 0)
        for name in ("copy", "lp-ft")
    )
    assert setting.held.score(ridge, torch.device("cpu")).accuracy > 0.6
    np.testing.assert_allclose(
        ridge.linear.weight.detach().numpy().T,
        setting.head.coefficients[:-1] / setting.temperature,
        rtol=1e-5,
    )
    assert int((fresh.factor != 0).sum()) == setting.head.scaling.widths[-1]


def test_a_wrong_name_is_told_with_the_closest() -> None:
    with pytest.raises(UsageError, match="did you mean lp-ft"):
        strategy("lpft")
    assert set(STRATEGIES) <= set(strategies())


def test_lora_is_refused_for_a_network_without_linear_layers(setting: Setting) -> None:
    with pytest.raises(UsageError, match="do not offer 'lora'"):
        setting.ready("lora")
