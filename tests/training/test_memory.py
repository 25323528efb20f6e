"""What a step frees stays with the process while it trains, and no longer."""

import platform
import resource

import pytest
import torch

from regraft.training import memory
from regraft.training.memory import kept_memory

gnu = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library")
BLOCK = 64 * 2**20  # bytes: above any threshold for a mapping of its own
PAGES = BLOCK // resource.getpagesize()


def faults(steps: int = 8) -> int:
    """Pages that the system handed out while a large block was taken and freed again and again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(BLOCK // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture(autouse=True)
def _warm() -> None:
    """The first block is new in any case."""
    torch.ones(BLOCK // 4)


@gnu
def test_freed_memory_is_used_again() -> None:
    usual = faults()
    with kept_memory():
        torch.ones(BLOCK // 4)  # the first is new in any case
        assert faults() < max(usual, 8 * PAGES // 512) / 4
    assert faults() >= usual / 2


@gnu
def test_it_is_kept_until_the_outermost_leaves() -> None:
    with kept_memory():
        with kept_memory():
            torch.ones(BLOCK // 4)
        assert faults() < PAGES / 4
    assert memory._entered == 0


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_library", lambda: None)
    with kept_memory():
        assert memory._entered == 1
    assert memory._entered == 0
