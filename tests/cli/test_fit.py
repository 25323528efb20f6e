"""regraft fit: what it writes and tells; that it repeats, stops and leaves the data alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from regraft.cli.outputs import counted, default_folder, without_thumbnails
from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.recipe import Recipe


def test_the_document_tells_all(fitted: Any) -> None:
    found = fitted.document
    told = {"tried", "metrics", "findings", "chosen", "leave_one_out", "split", "timings"}
    assert told < set(found)
    accuracy = found["metrics"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert {row["kind"] for row in found["tried"]} == {"baseline", "probe"}
    assert found["split"]["seed"] == 3
    assert "thumbnail" not in fitted.done.stdout


def test_the_files_are_where_the_document_says(fitted: Any) -> None:
    found, cwd = fitted.document, fitted.folder.parent
    assert found["out"] == "Fotos ☀.out"
    for key in ("bundle", "report", "record", "recipe", "findings_file"):
        assert (cwd / found[key]).parent == fitted.folder
    assert len(list(fitted.folder.iterdir())) == 5
    assert set(Model.load(cwd / found["bundle"]).classes) == {"blau", "grün", "red [1]"}
    assert (cwd / found["report"]).read_text().startswith("<!")
    record = json.loads((cwd / found["record"]).read_text())
    assert record["metrics"]["accuracy"]["value"] == found["metrics"]["accuracy"]["value"]
    kept = json.loads((cwd / found["findings_file"]).read_text())["findings"]
    assert kept == found["findings"]


def test_findings_name_the_file(fitted: Any) -> None:
    [bad] = [f for f in fitted.document["findings"] if f["kind"] == "unreadable"]
    assert bad["files"] == ["blau/kaputt ✗.png"]


def test_the_photos_are_as_they_were(fitted: Any, photos: Path, fingerprint: Any) -> None:
    assert fingerprint(photos) == fitted.before


def test_the_recipe_gives_the_same_figures(fitted: Any, shell: Any, tmp_path: Path) -> None:
    recipe = fitted.folder / "recipe.toml"
    again = shell.run("fit", "--recipe", recipe, "--json", "--out", tmp_path / "new" / "place")
    assert again.returncode == 0, again.stderr
    found = shell.document(again)
    for key in ("metrics", "findings", "leave_one_out", "split"):
        assert found[key] == fitted.document[key], key
    assert (tmp_path / "new" / "place" / "recipe.toml").read_text() == recipe.read_text()


def test_options_come_before_the_recipe_and_the_rest_of_it_stays(
    fitted: Any, photos: Path, shell: Any, tmp_path: Path
) -> None:
    recipe = fitted.folder / "recipe.toml"
    words = ("--recipe", recipe, "--seed", 5, "--budget", "2min")
    done = shell.invoke("fit", photos, *words, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    kept = Recipe.from_toml((tmp_path / "recipe.toml").read_text())
    before = Recipe.from_toml(recipe.read_text())
    assert kept == before.changed(seed=5, budget=120.0)
    # What a person reads: the result, what was found, what was chosen, where it is.
    assert "It names the right class for" in done.stdout
    assert "1 unreadable" in done.stdout
    assert "chosen for you" in done.stdout
    assert f"  {tmp_path}/model.regraft  " in done.stdout
    assert done.stderr == ""
    assert "raw pixels" in done.stdout


def test_mistakes_are_told_together_and_nothing_is_left(
    photos: Path, shell: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    done = shell.invoke("fit", photos, "--budget", "soon", "--seed", -1, "--size", 0, "--json")
    assert done.exit_code == 2
    error = shell.error(done)
    assert error["kind"] == "usage"
    assert [m.split(":")[0] for m in error["messages"]] == ["size", "seed", "budget"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "SOURCE"),
        (["--parts", "much"], "--parts"),
        (["--parts", "0.5,0.6,0.7"], "parts"),
        (["--recipe", "nowhere.toml"], "nowhere.toml"),
        (["/nowhere/at all"], "/nowhere/at all"),
        (["PHOTOS", "--backbone", "efficientnet-lite"], "efficientnet-lite0"),
        (["PHOTOS", "--engine", "steam"], "steam"),
        (["PHOTOS", "--licence", "WTFPL"], "WTFPL"),
    ],
)
def test_wrong_usage(words: list[str], told: str, photos: Path, shell: Any, tmp_path: Path) -> None:
    words = [str(photos) if word == "PHOTOS" else word for word in words]
    done = shell.invoke("fit", *words, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 2
    assert told in "\n".join(shell.error(done)["messages"])
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_recipe_names_the_file(shell: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "my.toml"
    recipe.write_text("bugdet = 3\nsize = 64\nseeed = 1")
    done = shell.invoke("fit", tmp_path, "--recipe", recipe, "--json")
    assert done.exit_code == 2
    messages = shell.error(done)["messages"]
    assert len(messages) == 2
    assert all(m.startswith(f"--recipe {recipe}: ") for m in messages)
    recipe.write_bytes(b"\xff\xfe")
    assert "UTF-8" in shell.error(shell.invoke("fit", "--recipe", recipe, "--json"))["messages"][0]


def test_a_folder_without_labels_is_refused_in_words(
    photos: Path, shell: Any, tmp_path: Path
) -> None:
    done = shell.invoke("fit", photos / "blau", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 2
    assert "label" in shell.error(done)["messages"][0]
    assert not (tmp_path / "out").exists()


def test_results_do_not_land_inside_the_data(
    photos: Path, shell: Any, fingerprint: Any, monkeypatch: Any
) -> None:
    before = fingerprint(photos)
    monkeypatch.chdir(photos / "blau")
    done = shell.invoke("fit", "..", "--json")
    assert done.exit_code == 2
    assert "--out" in shell.error(done)["messages"][0]
    assert fingerprint(photos) == before


def test_the_default_folder_has_the_name_of_the_source(
    photos: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_folder(str(photos)) == Path("Fotos ☀.out")
    assert default_folder(f"{photos}/blau/..") == Path("Fotos ☀.out")
    (tmp_path / "labels.v2.csv").write_text("")
    assert default_folder("labels.v2.csv") == Path("labels.v2.out")
    with pytest.raises(UsageError, match="inside the data folder"):
        default_folder(".")


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_fails_before_the_work(
    name: str, photos: Path, shell: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    done = shell.invoke("fit", photos, "--out", tmp_path / name, "--json")
    assert done.exit_code in (1, 2)
    assert str(tmp_path / "file") in shell.error(done)["messages"][0]
    assert (tmp_path / "file").read_text() == "mine"


def test_ctrl_c_ends_it_quickly_and_in_one_word(photos: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "regraft", "fit", str(photos), "--json", "--verbose"]
    words += ["--out", str(tmp_path / "out"), "--engine", "torch"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stderr
        line = b""
        while b"features of" not in line:  # in the middle of the work
            line = running.stderr.readline()
            assert line, "it ended by itself"
        start = time.perf_counter()
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert time.perf_counter() - start < 5
    assert running.returncode == 130
    assert json.loads(out) == {"error": {"kind": "interrupted", "messages": ["interrupted"]}}
    assert b"Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_findings_are_counted_without_mere_notes() -> None:
    kinds = [("leak", "error"), ("unreadable", "error"), ("columns", "note"), ("leak", "warning")]
    findings = [{"kind": kind, "severity": severity} for kind, severity in kinds]
    assert counted(findings) == "2 leak, 1 unreadable"
    assert counted([]) == ""


def test_thumbnails_are_taken_out_everywhere() -> None:
    record = {"a": [{"thumbnail": "x", "b": 1}], "thumbnails": [1], "c": {"thumbnails": []}}
    assert without_thumbnails(record) == {"a": [{"b": 1}], "c": {}}
