"""regraft distil: a bundle in, a smaller bundle out, with the table of both."""

from pathlib import Path
from typing import Any


def test_a_small_bundle_of_a_large_one(
    shell: Any, bundle: Path, photos: Path, fingerprint: Any, tmp_path: Path
) -> None:
    before, out, page = fingerprint(photos), tmp_path / "small.regraft", tmp_path / "small.html"
    student = ("--network", "efficientnet-lite0", "--size", 32, "--engine", "torch")
    asked = (*student, "--strategy", "probe", "--out", out, "--report", page)
    done = shell.invoke("distil", bundle, "--data", photos, *asked, "--hard", 0.5)
    assert done.exit_code == 0, done.stderr
    assert "labels counting for 50%" in done.stdout
    assert "multiply-adds of an example" in done.stdout
    assert "too few to judge the student by" in done.stderr
    assert out.is_file()
    assert "probe, taught" in page.read_text(encoding="utf-8")
    assert fingerprint(photos) == before


def test_mistakes_are_told_before_the_work(shell: Any, bundle: Path, photos: Path) -> None:
    wrong = ("--network", "efficientnet-lite9", "--out", "small.regraft")
    done = shell.invoke("distil", bundle, "--data", photos, *wrong, "--json")
    assert "efficientnet-lite9" in shell.error(done)["messages"][0]
    hot = shell.invoke("distil", bundle, "--data", photos, *wrong, "--temperature", 99, "--json")
    assert "temperature: expected a number from 1 to 20" in shell.error(hot)["messages"][0]
