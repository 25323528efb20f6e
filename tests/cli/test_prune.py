"""regraft prune: what is wrong is told before any work. A whole run: tests/verbs/test_prune.py."""

from pathlib import Path
from typing import Any


def test_what_is_wrong_is_told_before_any_work(shell: Any, bundle: Path, tmp_path: Path) -> None:
    small = ("--out", tmp_path / "small.regraft")
    for words, told in {
        ("--out", tmp_path / "small.txt"): ".regraft",
        (*small, "--target", "speed=0.5"): "macs, params, bytes, latency",
        (*small, "--importance", "luck"): "taylor, l1, bn-scale",
        (*small, "--budget", "soon"): "soon",
    }.items():
        done = shell.invoke("prune", bundle, *words, "--json")
        assert done.exit_code == 2
        assert told in shell.error(done)["messages"][0]
    assert list(tmp_path.iterdir()) == []
