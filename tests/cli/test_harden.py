"""regraft harden: what is wrong is told before any work."""

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--method", "nfgsm"], "did you mean n-fgsm"),
        (["--eps", "3"], "2/255"),
        (["--attack", "pgd:eps=2", "--eps", "2/255"], "give it alone"),
        (["--wish", "1.5"], "wish"),
        (["--attack", "pgd:steps=0"], "steps"),
    ],
)
def test_wrong_usage_is_told_before_the_work(
    words: list[str], told: str, photos: Path, shell: Any, tmp_path: Path
) -> None:
    done = shell.invoke("harden", photos, "--out", tmp_path / "out", "--json", *words)
    assert done.exit_code == 2
    assert told in " ".join(shell.error(done)["messages"])
    assert not (tmp_path / "out").exists()


def test_what_is_no_bundle_is_refused(shell: Any, tmp_path: Path) -> None:
    done = shell.invoke("harden", tmp_path / "no.regraft", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 1
    assert shell.error(done)["kind"] == "bundle"
