"""Two processes that train together learn what one would have learned alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Tiny = Any  # of conftest.py

SCRIPT = Path(__file__).with_name("process.py")
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def ended(tiny: Tiny, lesson_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all runs ended with, in ``alone`` and in ``together``."""
    out = tmp_path_factory.mktemp("processes")
    arguments = [str(lesson_folder), f"folder:{tiny.written('resnet')}"]
    for name, start in {"alone": [sys.executable], "together": TOGETHER}.items():
        (out / name).mkdir()
        command = [*start, str(SCRIPT), *arguments, str(out / name)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, timeout=240, env=environment)
    return out


def both(ended: Path, case: str) -> list[dict[str, Tensor]]:
    return [load_file(ended / "together" / f"{case}-{rank}.safetensors") for rank in (0, 1)]


def check_close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("case", ["plain", "odd_batch", "in_parts", "thawing", "plateau"])
def test_they_end_with_the_weights_of_one(ended: Path, case: str) -> None:
    alone = load_file(ended / "alone" / f"{case}-0.safetensors")
    first, second = both(ended, case)
    check_close(alone, first)
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())


def test_one_whose_time_is_over_ends_both(ended: Path) -> None:
    assert [int(one["steps"]) for one in both(ended, "late")] == [0, 0]


def test_one_that_is_asked_to_stop_ends_both_and_they_go_on_together(ended: Path) -> None:
    whole, _ = both(ended, "plain")
    for one in both(ended, "resumed"):
        assert all(torch.equal(one[name], tensor) for name, tensor in whole.items())


def test_one_whose_loss_is_no_number_stops_both(ended: Path) -> None:
    for rank in (0, 1):
        told = (ended / "together" / f"poisoned-{rank}.txt").read_text()
        assert told.startswith("TrainingStopped: lp-ft: the loss is no number any more at step 2")


def test_fewer_examples_than_processes_are_refused(ended: Path) -> None:
    told = (ended / "together" / "too_few-1.txt").read_text()
    assert told == "UsageError: batch: 1 is less than one example for each of 2 processes"
