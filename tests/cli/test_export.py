"""regraft export: a folder with its proof, which the other verbs take; refusals in plain words."""

import json
from pathlib import Path
from typing import Any


def test_an_export_is_written_proven_and_predicts(
    shell: Any, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "exported"
    words = ("--to", "onnx", "--out", out, "--examples", photos, "--count", 12)
    done = shell.run("export", bundle, *words, "--json")
    assert done.returncode == 0, done.stderr
    found = shell.document(done)
    assert found["out"] == str(out)
    assert found["proof"] == json.loads((out / "proof.json").read_text())
    assert found["proof"]["largest_difference"] <= found["proof"]["limit"] == 1e-4
    ours = shell.invoke("predict", bundle, photos, "--format", "jsonl").stdout.splitlines()
    theirs = shell.invoke("predict", out, photos, "--format", "jsonl").stdout.splitlines()
    assert len(ours) == len(theirs) > 40
    for one, other in zip(map(json.loads, ours), map(json.loads, theirs), strict=True):
        assert {**other, "probability": 0, "top": 0} == {**one, "probability": 0, "top": 0}
    measured = shell.document(shell.invoke("evaluate", out, photos, "--split", "test", "--json"))
    assert "error" in measured or "metrics" in measured


def test_what_cannot_be_exported_is_told(shell: Any, bundle: Path, tmp_path: Path) -> None:
    done = shell.invoke("export", bundle, "--to", "keras9", "--out", tmp_path / "a" / "b", "--json")
    assert done.exit_code == 2
    messages = shell.error(done)["messages"]
    assert any("keras9" in message for message in messages)
    assert any("does not exist" in message for message in messages)
    assert list(tmp_path.iterdir()) == []
