"""Fronts as differentiable functions: the numbers of those that answer for users."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from regraft.backbones import fronts
from regraft.modalities.audio import AS, Sound
from regraft.modalities.samples import RATE
from regraft.modalities.spec import Hearing, InputSpec
from regraft.robustness.heard import heard

FRONTS = {
    "samples": Hearing("samples"),
    "normalised": Hearing("samples", normalise=True),
    "whisper": Hearing("log-mel", 80, normalise=True),
    "plain log-mel": Hearing("log-mel", 80),
    "ast": Hearing("filterbank", 128, 90, -4.2, 9.1),
}


def wave(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 500 * time * (1 + time))
    return (tone + np.random.default_rng(0).normal(0, 0.02, len(time))).astype(np.float32)


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("seconds", [0.7, 1.13])
def test_sounds_are_heard_alike(name: str, seconds: float) -> None:
    spec = InputSpec(size=5, reads="sound", hears=FRONTS[name])
    samples = wave(seconds)
    leaf = torch.tensor(samples, requires_grad=True)
    found = heard(leaf, spec)
    expected = fronts.heard(samples, FRONTS[name])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=2e-3)
    (slope,) = torch.autograd.grad(found.square().sum(), leaf)
    assert torch.isfinite(slope).all()
    assert (slope != 0).float().mean() > 0.7  # no more frames than it reads


def test_the_picture_is_that_of_users_but_for_its_rounding() -> None:
    spec, samples = InputSpec(size=64), wave(0.9)
    found = heard(torch.tensor(samples, requires_grad=True), spec)
    expected = AS["picture"].make(Sound(samples), 64)
    assert found.shape == expected.shape
    difference = np.abs(found.detach().numpy() - expected)
    assert np.quantile(difference, 0.99) <= 0.6
    assert difference.max() < 4
    silent = heard(torch.zeros(4000), replace(spec, size=32))
    assert torch.isfinite(silent).all()
