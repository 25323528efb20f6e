"""A rate that is found: the sweep is repeatable, and leaves the run as it was."""

from typing import Any

import torch

from regraft.training.averaging import copied
from regraft.training.finding import found_rate

Tiny = Any  # of conftest.py


def test_a_sweep_is_repeatable_and_moves_nothing(tiny: Tiny) -> None:
    ready = tiny("resnet").ready("copy", augment="none")
    before = copied(ready.model.state_dict())
    first, again = found_rate(ready), found_rate(ready)
    assert first == again
    assert len(first.rates) == len(first.losses)
    assert list(first.rates) == sorted(first.rates)
    after = ready.model.state_dict()
    assert not [n for n in before if not torch.equal(before[n], after[n])]
    assert not any(part.__dict__.get("forward") for part in ready.model.modules())
