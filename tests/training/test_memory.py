"""What a step frees stays with the process while it trains, and no longer."""

import json
import platform
import subprocess
import sys

import pytest

from regraft.training import memory
from regraft.training.memory import kept_memory

# In a process of its own, since what was freed before decides what the system is asked for. Pages
# that it handed out while a large block was taken and freed: before, within twice, and afterwards.
COUNTED = """
import json, resource
import torch
from regraft.training.memory import kept_memory

def pages(steps=8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(16 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [pages()]
with kept_memory():
    pages()  # the first ones are new in any case
    found.append(pages())
    with kept_memory():
        pass
    found.append(pages())
print(json.dumps([*found, pages()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library")
def test_freed_memory_is_used_again_until_the_outermost_leaves() -> None:
    command = [sys.executable, "-c", COUNTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, within, still, after = json.loads(done.stdout)
    assert within < before / 4
    assert still < before / 4
    assert after > before / 8


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_library", lambda: None)
    with kept_memory():
        assert memory._entered == 1
    assert memory._entered == 0
