"""regraft evaluate: figures, a report, and what is wrong in words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--robust", "--eps", "2"], "2/255"),
        (["--robust", "--attack", "autoatack"], "autoattack, pgd"),
        (["--robust", "--examples", "0"], "examples"),
        (["--robust", "--norm", "l1"], "linf, l2"),
        (["--eps", "2/255"], "--robust"),
        (["--risk", "2"], "risk"),
        (["--unlike", "no such folder"], "no such folder"),
    ],
)
def test_wrong_attacks_are_told(
    words: list[str], told: str, bundle: Path, photos: Path, shell: Any
) -> None:
    done = shell.invoke("evaluate", bundle, photos, "--json", *words)
    assert done.exit_code == 2
    assert told in shell.error(done)["messages"][0]


def test_an_attack_by_the_command_line(
    bundle: Path, photos: Path, shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyautoattack")
    monkeypatch.setattr("regraft.robustness.measuring.CHECKED", 2)
    monkeypatch.setattr("regraft.robustness.sanity.PLANTED", 1)
    for name, few in {"QUERIES": 5, "FEW_STEPS": 2, "MORE_STEPS": 4, "LARGE": (128.0,)}.items():
        monkeypatch.setattr(f"regraft.robustness.sanity.{name}", few)
    monkeypatch.setattr("regraft.robustness.measuring.PGD_STEPS", 2)
    words = ("--robust", "--attack", "pgd", "--eps", "4/255", "--examples", 2)
    page = tmp_path / "robust.html"
    done = shell.invoke("evaluate", bundle, photos, *words, "--report", page, "--json")
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)["robust"]
    assert (found["n"], len(found["points"])) == (2, 1)
    assert all("changed" not in row for row in found["examples"])
    assert "Under attack" in page.read_text(encoding="utf-8")
    others = shell.document(done)["out_of_distribution"]
    assert (others["measured"], "--unlike" in others["why"]) == (False, True)
    assert shell.document(done)["abstention"]["risk"] == 0.05


def test_other_data_and_answers_left_out_in_words(
    bundle: Path, photos: Path, shell: Any, tmp_path: Path
) -> None:
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    done = shell.invoke("evaluate", bundle, photos, "--risk", "0.9", "--unlike", tmp_path)
    assert done.exit_code == 0, done.stderr
    for words in ("other data: 3 of", "AUROC", "novelty", "AURC", "at most 90 % are wrong"):
        assert words in done.stdout.replace("\u202f", " "), words
    done = shell.invoke("evaluate", bundle, photos, "--risk", "0.0001", "--json")
    found = shell.document(done)["abstention"]
    assert found["selection"] is None
    assert "out_of_distribution" not in shell.document(done)


def test_what_is_told_of_attacks_and_of_worse_pictures() -> None:
    """Clean and robust accuracy with n and intervals; a result that failed a check says so."""
    from regraft.cli import robust as verb

    said: list[str] = []

    class Voice:
        def print(self, *what: Any) -> None:
            from rich.console import Console

            console = Console(width=120)
            with console.capture() as capture:
                for one in what:
                    console.print(one, markup=False, highlight=False)
            said.append(capture.get().replace("\u202f", " "))

    share = {"value": 0.5, "low": 0.25, "high": 0.75}
    found = {"n": 8, "noun": "pictures", "norm": "linf", "clean": share}
    found["attack"] = "AutoAttack standard"
    found |= {"points": [{"told": "2/255", "accuracy": share}], "whole": True, "checks": [1, 2]}
    voice: Any = Voice()
    verb._show_robust(voice, {**found, "reliable": True, "why": []})
    text = "".join(said)
    for part in ("8 pictures", "ε = 2/255", "50.0 %", "25.0–75.0 %", "empirical, Lp only"):
        assert part in text
    said.clear()
    verb._show_robust(voice, {**found, "whole": False, "reliable": False, "why": ["a: b"]})
    text = "".join(said)
    assert "upper bounds" in text
    assert "! UNRELIABLE: a: b" in text
    assert "Lp only" not in text
    said.clear()
    worst = {"name": "fog", "value": 0.2}
    rows = [{"name": "fog"}]
    worse = {"n": 8, "clean": share, "mean": share, "worst": worst, "rows": rows}
    verb._show_corruptions(voice, {**worse, "lowest": {**worst, "severity": 5}})
    assert "fog at severity 5 20.0 %" in "".join(said).replace("\n", " ")
    verb._show_robust(voice, None)
    verb._show_corruptions(voice, None)
