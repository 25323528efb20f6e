"""regraft prune: what is wrong is told before any work. A whole run: tests/verbs/test_prune.py."""

from pathlib import Path
from typing import Any

import pytest


def test_what_is_wrong_is_told_before_any_work(shell: Any, bundle: Path, tmp_path: Path) -> None:
    small = ("--out", tmp_path / "small.regraft")
    for words, told in {
        ("--out", tmp_path / "small.txt"): ".regraft",
        (*small, "--target", "speed=0.5"): "macs, params, bytes, latency",
        (*small, "--importance", "luck"): "taylor, l1, bn-scale",
        (*small, "--budget", "soon"): "soon",
        (*small, "--sparsity", "1.5"): "share between 0 and 1",
        (*small, "--sparsity", "0.5", "--target", "macs=0.5"): "give one of the two",
    }.items():
        done = shell.invoke("prune", bundle, *words, "--json")
        assert done.exit_code == 2
        assert told in shell.error(done)["messages"][0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_zeros_are_told_to_help_nobody(shell: Any, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "sparse.regraft"
    done = shell.invoke("prune", bundle, "--out", out, "--sparsity", "0.2", "--max-drop", "any")
    assert done.exit_code == 0, done.stderr
    assert "20.0% of the weights are zero" in done.stdout
    assert "nothing is faster or smaller" in " ".join(done.stdout.split())
    assert out.is_file()
