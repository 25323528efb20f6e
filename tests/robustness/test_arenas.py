"""Recordings and texts under attack: the box is the model, and changes stay where they may be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regraft.backbones.embedded import embedded, in_place_of
from regraft.errors import UsageError
from regraft.robustness.arenas import ARENAS, arena_of
from regraft.robustness.attacks import SAMPLES, VECTORS, Norm, fgsm, pgd
from regraft.robustness.sanity import RANDOM_SEARCH, Trial, checked
from regraft.verbs.robust import sizes


def ragged(width: int) -> Tensor:
    """Six examples of different lengths, the last column saying what is there."""
    x = torch.randn(6, 20, width + 1, generator=torch.Generator().manual_seed(0)) * 0.3
    x[..., -1] = 1
    for i, one in enumerate(x):
        one[12 + i :] = 0
    return x


class Mean(nn.Module):
    """Scores that are linear in the mean over what is there."""

    def __init__(self, width: int, classes: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(20 * width, classes, generator=generator)

    def features(self, x: Tensor) -> Tensor:
        there = x[..., -1:] > 0.5
        return (x[..., :-1] * there).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x) @ self.weight


@pytest.mark.parametrize(
    ("norm", "width"), [(SAMPLES, 1), (VECTORS, 5)], ids=["samples", "vectors"]
)
@pytest.mark.parametrize("attack", [fgsm, pgd, RANDOM_SEARCH.run])
def test_only_what_is_there_changes_and_by_no_more_than_it_may(
    norm: Norm, width: int, attack: Callable[..., Tensor]
) -> None:
    x, box = ragged(width), Mean(width)
    labels = box(x).argmax(1)
    more: dict[str, Any] = {"queries": 30, "seed": 0} if attack is RANDOM_SEARCH.run else {}
    changed = attack(box, x, labels, norm, 0.2, **more)
    change = changed - x
    assert (change[..., -1] == 0).all()
    assert (change[x[..., -1] == 0] == 0).all()
    assert (norm.size(change) <= 0.2 * (1 + 1e-4)).all()
    assert changed[..., 0].abs().max() <= 1 or norm is VECTORS
    lost = (box(x) - box(changed)).gather(1, labels[:, None])
    assert (lost > 0).all()


def test_vectors_fall_exactly_where_they_must() -> None:
    """Of two classes a linear score falls by ε times the lengths of its slopes."""
    x, box = ragged(4), Mean(4, 2)
    labels = box(x).argmax(1)
    changed = pgd(box, x, labels, VECTORS, 0.3, steps=20)
    slope = (box.weight[:, 1] - box.weight[:, 0]).view(20, 4)
    reach = 0.3 * (slope.norm(dim=1) * (x[..., -1] > 0.5)).sum(1)
    gap = box(x)[:, 1] - box(x)[:, 0]
    fell = (box(changed)[:, 1] - box(changed)[:, 0] - gap).abs()
    np.testing.assert_allclose(fell.numpy(), reach.numpy(), rtol=0.02)


@pytest.mark.parametrize(
    ("norm", "width"), [(SAMPLES, 1), (VECTORS, 5)], ids=["samples", "vectors"]
)
def test_the_checks_hold_for_them_and_flag_a_broken_defence(norm: Norm, width: int) -> None:
    class Stepped(Mean):
        def features(self, x: Tensor) -> Tensor:
            return (super().features(x) * 4).round() / 4

    x = ragged(width)
    for made, sound in ((Mean, True), (Stepped, False)):
        box = made(width)
        trial = Trial(box, x, box(x).argmax(1), norm, 0.1, 0, RANDOM_SEARCH)
        assert all(check.passed for check in checked(trial)) == sound


def test_sizes_are_written_in_the_units_of_each() -> None:
    assert sizes(("0.001",), None, ARENAS["audio"]) == pytest.approx((0.001,))
    assert sizes((), None, ARENAS["text"]) == pytest.approx((0.05, 0.1, 0.2))
    with pytest.raises(UsageError, match="of full scale"):
        sizes(("2",), None, ARENAS["audio"])
    with pytest.raises(UsageError, match="l2, which there are of texts"):
        sizes((), "linf", ARENAS["text"])


def test_what_there_is_no_attack_on_is_told() -> None:
    class Volumes:
        modality = "volume"

    with pytest.raises(UsageError, match="no attack on volume yet"):
        arena_of(Volumes())  # type: ignore[arg-type]


def test_a_network_goes_on_with_the_vectors_that_it_is_given(
    save_encoder: Callable[..., Path], tmp_path: Path
) -> None:
    import transformers

    module = transformers.AutoModel.from_pretrained(save_encoder(tmp_path / "encoder")).eval()
    lines = [np.array([2, 7, 9, 3]), np.array([2, 8, 3])]
    x = embedded(module, lines)
    assert x.shape == (2, 4, 33)
    assert x[1, 3].eq(0).all()
    assert 0.5 < x[0, :, :-1].norm(dim=-1).mean() < 2
    numbers = torch.tensor(lines[0])[None]
    with torch.no_grad():
        expected = module(numbers).last_hidden_state
        with in_place_of(module, x[:1, :, :-1]):
            found = module(numbers).last_hidden_state
        with in_place_of(module, 1.5 * x[:1, :, :-1]):
            other = module(numbers).last_hidden_state
        after = module(numbers).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(other, expected, atol=1e-3)
    assert torch.equal(after, expected)
