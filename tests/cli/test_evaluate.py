"""regraft evaluate: figures, a report, and what is wrong in words."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def measured(bundle: Path, photos: Path, shell: Any, tmp_path_factory: Any) -> tuple[Any, Path]:
    report = tmp_path_factory.mktemp("reports") / "Bericht.html"
    return shell.run("evaluate", bundle, photos, "--json", "--report", report), report


def test_the_document_is_the_record_without_pictures(measured: Any, shell: Any) -> None:
    done, report = measured
    assert done.returncode == 0, done.stderr
    found = shell.document(done)
    assert found["split"]["n"] == 6  # not the unreadable file, nor those learned from
    assert [(f["kind"], len(f["files"])) for f in found["findings"]] == [("learned-from", 36)]
    assert {"value", "low", "high"} <= set(found["metrics"]["accuracy"])
    assert found["classes"] == ["blau", "grün", "red [1]"]
    assert sum(map(sum, found["confusion"])) == 6
    assert {"per_class", "conformal", "reliability", "mistakes"} <= set(found)
    assert "thumbnail" not in done.stdout
    assert report.read_text().startswith("<!")


def test_words_and_a_json_report(bundle: Path, photos: Path, shell: Any, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    done = shell.invoke("evaluate", bundle, photos, "--report", report)
    assert done.exit_code == 0, done.stderr
    assert "It names the right class for" in done.stdout
    assert str(report) in done.stdout
    assert json.loads(report.read_text())["split"]["n"] == 6


def test_a_given_part_is_obeyed(bundle: Path, photos: Path, shell: Any, tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for name in ("blau", "grün"):
        rows += [f"{name}/Bild {i} ä.png,{name},{'test' if i < 3 else 'val'}" for i in range(8)]
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(rows))
    for name in ("blau", "grün"):
        (tmp_path / name).mkdir()
        for i in range(8):
            place = f"{name}/Bild {i} ä.png"
            (tmp_path / place).write_bytes((photos / place).read_bytes())
    counts = {
        words: shell.document(shell.invoke("evaluate", bundle, manifest, "--json", *words))["split"]
        for words in [(), ("--split", "test"), ("--split", "validation")]
    }
    assert [found["n"] for found in counts.values()] == [6, 6, 10]
    done = shell.invoke("evaluate", bundle, manifest, "--label", "nix", "--json")
    assert done.exit_code == 2
    assert str(manifest) in shell.error(done)["messages"][0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--split", "exam"], "exam"),
        (["--report", "report.pdf"], "report.pdf"),
        (["--report", "/nowhere/report.html"], "/nowhere"),
    ],
)
def test_wrong_usage_is_told_before_the_work(
    words: list[str], told: str, photos: Path, shell: Any
) -> None:
    done = shell.invoke("evaluate", "no model yet", photos, "--json", *words)
    assert done.exit_code == 2
    assert told in shell.error(done)["messages"][0]


def test_what_is_no_bundle_is_refused(photos: Path, broken: Path, shell: Any) -> None:
    for path in (broken, photos, "nowhere.regraft"):
        done = shell.invoke("evaluate", path, photos, "--json")
        assert done.exit_code == 1
        error = shell.error(done)
        assert error["kind"] == "bundle"
        assert str(path) in error["messages"][0]
