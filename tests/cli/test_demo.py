"""regraft demo: from nothing to a model, and what it was worth in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from regraft.cli.demo import _summary

PATHS = {"bundle": Path("demo/model.regraft"), "report": Path("demo/report.html")}


def row(kind: str, name: str, value: float, kept: bool = False) -> dict[str, Any]:
    return {"kind": kind, "name": name, "score": {"value": value}, "kept": kept}


def test_the_sentence_comes_from_the_figures() -> None:
    baselines = [row("baseline", "majority class", 0.1), row("baseline", "raw pixels", 0.81)]
    tried = [*baselines, row("probe", "probe", 0.5), row("ensemble", "ensemble", 0.934, kept=True)]
    assert _summary(tried, PATHS) == (
        "Transfer beat raw pixels: it names 93 of 100 unseen digits against 81, after 10 examples "
        "of each; the model is in demo/model.regraft, its report in demo/report.html."
    )
    worse = [*baselines, row("probe", "probe", 0.8, kept=True)]
    assert _summary(worse, PATHS).startswith("Transfer did not beat raw pixels: it names 80 of")


def test_a_place_that_is_taken(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "mine.txt").write_text("mine")
    done = shell.invoke("demo", "--out", tmp_path, "--json")
    assert done.exit_code == 2
    assert "digits" in shell.error(done)["messages"][0]
    assert [path.name for path in tmp_path.rglob("*")] == ["digits", "mine.txt"]


@pytest.mark.slow
def test_transfer_beats_raw_pixels(shell: Any, tmp_path: Path) -> None:
    done = shell.run("demo", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = shell.document(done)
    assert found["out"] == "demo"
    assert "Transfer beat raw pixels" in found["summary"]
    assert (tmp_path / found["bundle"]).is_file()
    assert found["split"]["n"] == 1697
