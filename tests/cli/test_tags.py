"""Tags and numbers by the command line, on texts under a network that is made here."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EACH = 26
TOPICS = ("cooking", "trains", "weather")


@pytest.fixture(scope="module")
def table(write_sentence: Callable[[str, int], str], tmp_path_factory: Any) -> Path:
    """Texts of one topic, of two, and of none; how long they are as a number."""
    rows = []
    for n in range(EACH):
        for i, topic in enumerate(TOPICS):
            other = TOPICS[(i + 1) % 3]
            both = n % 3 == 0
            text = write_sentence(topic, n) + (" " + write_sentence(other, n + 99) if both else "")
            rows.append((text, f"{topic}|{other}" if both else topic, len(text.split())))
    rows += [(f"today is very about how {n}", "|", 6) for n in range(8)]
    path = tmp_path_factory.mktemp("texts") / "questions.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("question", "topics", "words"), *rows])
    return path


@pytest.fixture(scope="module")
def quick(save_encoder: Callable[..., Path], tmp_path_factory: Any) -> Any:
    folder = save_encoder(tmp_path_factory.mktemp("network") / "encoder")
    return ("--backbone", f"folder:{folder}", "--engine", "torch")


@pytest.fixture(scope="module")
def fitted(shell: Any, table: Path, quick: Any, tmp_path_factory: Any) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("fitted") / "out"
    done = shell.invoke("fit", table, "--label", "topics", *quick, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = shell.document(done)
    return found


def test_a_fit_of_tags_says_what_it_guessed(fitted: dict[str, Any]) -> None:
    assert fitted["metrics"]["map_macro"]["value"] > 0.8
    assert "'|'" in fitted["chosen"]["task"]
    assert {row["tag"] for row in fitted["per_tag"]} == set(TOPICS)
    assert {"label frequencies", "word counts"} <= {row["name"] for row in fitted["tried"]}
    assert "Tag by tag" in Path(fitted["report"]).read_text(encoding="utf-8")


def test_predict_and_evaluate_tags(fitted: dict[str, Any], shell: Any, table: Path) -> None:
    bundle = fitted["bundle"]
    done = shell.invoke("predict", bundle, "How long is the cake in the oven?", "--format", "csv")
    assert done.stdout.splitlines()[0] == "file,tags,probabilities,unlike,error"
    done = shell.invoke("predict", bundle, table, "--top", 2, "--json")
    answers = shell.document(done)["predictions"]
    assert len(answers) == 3 * EACH + 8
    assert all(len(one["top"]) == 2 for one in answers)
    assert "tags" in shell.invoke("predict", bundle, table).stdout
    done = shell.invoke("evaluate", bundle, table, "--label", "topics", "--split", "test")
    assert done.exit_code == 1
    assert "there is nothing to measure on" in done.stderr  # the table has no parts
    refused = shell.invoke("predict", bundle, table, "--format", "coco", "--json", "--output", "x")
    assert "no form coco" in refused.stderr


def test_doctor_tells_of_tags(shell: Any, table: Path) -> None:
    done = shell.invoke("doctor", table, "--label", "topics", "--no-label-errors", "--json")
    found = shell.document(done)
    assert found["task"] == "tags"
    assert found["tags_each"]["0"] == 8


def test_numbers_have_intervals(shell: Any, table: Path, quick: Any, tmp_path: Path) -> None:
    asked = ("--task", "regression", "--label", "words", *quick, "--out", tmp_path / "out")
    done = shell.invoke("fit", table, *asked, "--json")
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert found["metrics"]["r2"]["value"] > 0.5
    (row,) = found["per_number"]
    assert row["name"] == "words"
    assert 0.6 <= row["coverage"] <= 1
    assert "always the mean" in {row["name"] for row in found["tried"]}
    done = shell.invoke("predict", found["bundle"], table, "--format", "jsonl")
    first = json.loads(done.stdout.splitlines()[0])["values"][0]
    assert first["low"] < first["value"] < first["high"]
    assert first["high"] - first["value"] == pytest.approx(row["half_width"])
    table_of = shell.invoke("predict", found["bundle"], table).stdout
    assert "words" in table_of
    done = shell.invoke("evaluate", found["bundle"], table, "--at", "f1", "--json")
    assert "at: has no use for regression" in done.stderr
    assert "Number by number" in Path(found["report"]).read_text(encoding="utf-8")
