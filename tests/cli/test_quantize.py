"""regraft quantize: a smaller bundle that the other verbs take, or nothing at all."""

from pathlib import Path
from typing import Any

import pytest

from regraft.verbs import latency


def test_a_smaller_bundle_is_written_and_told(
    shell: Any, bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "FEWEST", 2)
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    out = tmp_path / "small.regraft"
    words = ("--out", out, "--data", photos, "--calibration", 10, "--max-drop", "any")
    done = shell.invoke("quantize", bundle, *words, "--method", "weights", "--json")
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert found["out"] == str(out)
    assert found["before_after"]["after"]["bytes"] < found["before_after"]["before"]["bytes"]
    assert found["before_after"]["max_drop"] is None
    told = shell.invoke("predict", out, photos, "--format", "jsonl")
    assert len(told.stdout.splitlines()) == 43


def test_what_is_wrong_is_told_before_any_work(shell: Any, bundle: Path, tmp_path: Path) -> None:
    for words, told in {
        ("--out", tmp_path / "small.txt"): ".regraft",
        ("--out", tmp_path / "a" / "small.regraft"): "does not exist",
        ("--out", tmp_path / "a.regraft", "--max-drop", "much"): "points such as 0.5",
        ("--out", tmp_path / "a.regraft", "--method", "hui"): "static, dynamic, weights",
    }.items():
        done = shell.invoke("quantize", bundle, *words, "--json")
        assert done.exit_code == 2
        assert told in shell.error(done)["messages"][0]
    assert list(tmp_path.iterdir()) == []
