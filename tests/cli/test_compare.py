"""regraft compare: one document, a page and a record; every mistake at once."""

import json
from pathlib import Path
from typing import Any

import pytest

KEYS = {"title", "n", "classes", "split", "strategies", "warnings", "recipe", "reproduce"}


@pytest.fixture(scope="module")
def compared(shell: Any, photos: Path, fingerprint: Any, tmp_path_factory: Any) -> Any:
    """The answer, the folder it was written to, and whether the photos are as they were."""
    before, out = fingerprint(photos), tmp_path_factory.mktemp("compared") / "new" / "place"
    words = ("--strategies", "probe,tune-norm", "--labels", 2, "--seeds", 1, "--steps", 1)
    done = shell.invoke("compare", photos, *words, *shell.quick, "--out", out, "--json")
    return done, out, fingerprint(photos) == before


def test_stdout_is_one_document(compared: Any, shell: Any, photos: Path) -> None:
    done, _, untouched = compared
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert KEYS | {"out", "page", "record"} <= set(found)
    assert [one["name"] for one in found["strategies"]] == ["probe", "tune-norm"]
    assert found["seeds"] == [1]
    for one in found["strategies"]:
        assert [point["labels"] for point in one["by_labels"]] == [2, "all"]
    assert found["recipe"]["source"] == str(photos)
    assert found["recipe"]["budget"] == 600
    assert untouched


def test_page_and_record_are_where_the_document_says(compared: Any, shell: Any) -> None:
    done, out, _ = compared
    found = shell.document(done)
    assert {path.name for path in out.iterdir()} == {"compare.html", "compare.json"}
    assert (found["out"], found["page"]) == (str(out), str(out / "compare.html"))
    record = json.loads((out / "compare.json").read_text())
    assert record == {k: v for k, v in found.items() if k not in ("out", "page", "record")}
    page = (out / "compare.html").read_text()
    assert page.startswith("<!")
    assert "tune-norm" in page


def test_each_run_and_what_is_left_out_is_told_on_stderr(compared: Any, shell: Any) -> None:
    done, *_ = compared
    assert done.stderr.count("tune-norm, 2 labels, seed 1: ") == 1
    assert done.stderr.count("tune-norm, all labels, seed 1: ") == 1
    assert any("blau/kaputt ✗.png" in warning for warning in shell.document(done)["warnings"])


def test_a_person_reads_a_table(shell: Any, photos: Path, tmp_path: Path) -> None:
    done = shell.invoke("compare", photos, "--strategies", "probe", *shell.quick, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    for words in ("strategy", "accuracy", "95 % interval", "against probe", "probe"):
        assert words in done.stdout
    assert "! not readable and left out: blau/kaputt ✗.png" in done.stdout
    assert f"written: {tmp_path / 'compare.html'}" in done.stdout


def test_mistakes_are_told_together_and_nothing_is_left(
    shell: Any, photos: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--strategies", "lp-tf,probe", "--labels", "few,3", "--seeds", "-1", "--steps", 0)
    done = shell.invoke("compare", photos, *words, "--budget", "soon", "--size", 0, "--json")
    assert done.exit_code == 2
    error = shell.error(done)
    assert error["kind"] == "usage"
    assert sorted(message.split(":")[0] for message in error["messages"]) == [
        *("budget", "labels", "seeds", "size", "steps", "strategy")
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        ([], "SOURCE", 2),
        (["/nowhere/at all"], "/nowhere/at all", 2),
        (["PHOTOS", "--strategies", "probe", "--rate", "0.1"], "rate: has no use", 2),
        (["PHOTOS", "--strategies", "lora", "--backbone", "efficientnet-lite0"], "lora", 2),
        (["PHOTOS", "--optimiser", "adamm", "--augment", "flp"], "did you mean", 2),
        (["PHOTOS", "--steps", "many"], "--steps", 2),
        (["PHOTOS", "--variants", "fokal,mixup"], "did you mean focal", 2),
        (["PHOTOS", "--strategies", "lp-ft+focal", "--loss", "focal"], "loss: is set for all", 2),
        (["PHOTOS", "--eps", "2/255"], "eps: is for robust", 2),
        (["EMPTY"], "no example found", 1),
    ],
)
def test_wrong_usage_and_wrong_data(
    words: list[str], told: str, code: int, photos: Path, shell: Any, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"PHOTOS": str(photos), "EMPTY": str(tmp_path / "empty")}
    words = [places.get(word, word) for word in words]
    done = shell.invoke("compare", *words, "--out", tmp_path / "out", "--json")
    assert done.exit_code == code
    assert told in "\n".join(shell.error(done)["messages"])
    assert not (tmp_path / "out").exists()


def test_results_do_not_land_inside_the_data(
    photos: Path, shell: Any, fingerprint: Any, monkeypatch: Any
) -> None:
    before = fingerprint(photos)
    monkeypatch.chdir(photos / "blau")
    done = shell.invoke("compare", "..", "--json")
    assert done.exit_code == 2
    assert "--out" in shell.error(done)["messages"][0]
    assert fingerprint(photos) == before
