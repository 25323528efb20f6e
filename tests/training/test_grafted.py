"""Grafted: begins as the probe, and what comes out of training is again a network and a head."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from regraft.backbones.extractor import Extractor
from regraft.backbones.network import load_network
from regraft.errors import UsageError
from regraft.training.grafted import Grafted, body_depths, grafted
from regraft.training.judging import logits_of
from regraft.training.tuned import tuned_row

Setting = Any  # of conftest.py


def test_it_begins_with_the_scores_of_the_probe(setting: Setting) -> None:
    model = grafted(setting.row, setting.spec, setting.head, setting.temperature)
    features = load_network(setting.row, setting.spec)(setting.held.pixels).detach().numpy()
    probe = setting.head.scores(features) / setting.temperature
    logits = logits_of(model, setting.held.pixels, torch.device("cpu"))
    np.testing.assert_allclose(logits, probe, atol=2e-4)


def test_its_head_gives_its_logits(setting: Setting) -> None:
    model = grafted(setting.row, setting.spec, setting.head, setting.temperature)
    with torch.no_grad():
        features = model.network(setting.held.pixels).numpy()
        logits = model(setting.held.pixels).numpy()
    np.testing.assert_allclose(model.head().scores(features), logits, atol=2e-4)


def test_a_head_for_other_blocks_is_refused(setting: Setting) -> None:
    network = load_network(setting.row, setting.spec)
    fewer = replace(setting.head.scaling, widths=(1, 2))
    with pytest.raises(UsageError, match="reads blocks of"):
        Grafted(network, fewer, 3)


def test_depths_hold_every_parameter_of_the_body_once(setting: Setting) -> None:
    model = grafted(setting.row, setting.spec, setting.head, setting.temperature)
    found = [name for group in body_depths(model, setting.row) for name in group]
    body = [n for n, _ in model.named_parameters() if n.startswith("network.")]
    assert sorted(found) == sorted(n for n in body if "classifier" not in n)
    assert len(body_depths(model, setting.row)) == 18  # the stem, 16 blocks, the last convolution


def test_a_tuned_network_is_a_row_that_gives_the_same_features(setting: Setting) -> None:
    run = setting.ready(steps=3, rate=0.01).training()
    run.run()
    row = tuned_row(run.model, setting.row, setting.spec, "lp-ft")
    assert row.name == "efficientnet-lite0 (lp-ft)"
    again = load_network(row, setting.spec)
    with torch.no_grad():
        before = load_network(setting.row, setting.spec)(setting.held.pixels)
        tuned, kept = run.model.network(setting.held.pixels), again(setting.held.pixels)
    torch.testing.assert_close(kept, tuned, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(kept, before, atol=1e-2)
    own = Extractor(setting.row, setting.spec, "torch").fingerprint
    assert Extractor(row, setting.spec, "torch").fingerprint != own
