"""Texts go the same way as pictures: doctor, fit, evaluate, predict, rank; in tables and files."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EACH = 30
TOPICS = ("cooking", "trains", "weather")
Write = Callable[[str, int], str]


@pytest.fixture(scope="module")
def table(write_sentence: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a table, some of them odd; the heading is row 1."""
    rows = [(write_sentence(topic, n), topic) for n in range(EACH) for topic in TOPICS]
    rows += [("", "trains"), (rows[0][0].upper(), "cooking"), rows[1]]
    path = tmp_path_factory.mktemp("texts") / "questions.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("question", "topic"), *rows])
    return path


@pytest.fixture(scope="module")
def quick(save_encoder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_encoder(tmp_path_factory.mktemp("network") / "encoder")
    return ("--backbone", f"folder:{folder}", "--engine", "torch")


@pytest.fixture(scope="module")
def fitted(
    shell: Any, table: Path, quick: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("fitted") / "out"
    done = shell.invoke("fit", table, "--label", "topic", *quick, "--out", out, "--json")
    assert done.exit_code == 0, done.stderr
    return shell.document(done), out


def test_a_fit_tells_topics_apart(fitted: Any) -> None:
    found, _ = fitted
    probe = next(row for row in found["tried"] if row["kind"] == "probe")
    assert probe["score"]["value"] >= 0.8
    assert "64 tokens" in probe["detail"]
    assert any(row["name"] == "word counts" for row in found["tried"])


def test_names_of_classes_are_tried_as_examples(fitted: Any) -> None:
    rows = [row for row in fitted[0]["tried"] if row["kind"] == "probe"]
    named = [row for row in rows if row["detail"].endswith(", names of the classes as examples")]
    assert len(named) == 1
    assert 0 < named[0]["loo_error"] < 1
    kept = next(row for row in fitted[0]["tried"] if row["kept"])
    assert kept["score"]["value"] == fitted[0]["metrics"]["accuracy"]["value"]


def test_findings_name_rows(fitted: Any) -> None:
    kinds = {finding["kind"]: finding for finding in fitted[0]["findings"]}
    last = 3 * EACH + 1
    assert kinds["unreadable"]["files"] == [f"questions.csv:{last + 1}"]
    assert "there is no text" in kinds["unreadable"]["reason"]
    assert kinds["near-duplicate"]["files"] == ["questions.csv:2", f"questions.csv:{last + 2}"]
    assert "case, blanks or punctuation differ" in kinds["near-duplicate"]["reason"]
    assert kinds["exact-duplicate"]["files"] == ["questions.csv:3", f"questions.csv:{last + 3}"]


def test_the_report_shows_texts(fitted: Any) -> None:
    page = Path(fitted[0]["report"]).read_text(encoding="utf-8")
    assert "data:image/svg+xml;base64," in page
    assert "1 text" in page or "texts" in page


def test_the_bundle_answers_without_the_network_s_folder(
    fitted: Any, quick: Any, shell: Any, write_sentence: Write, tmp_path: Path
) -> None:
    folder = Path(quick[1].removeprefix("folder:"))
    new = [write_sentence(topic, 500) for topic in TOPICS]
    before = shell.invoke("predict", fitted[0]["bundle"], *new, "--json")
    shutil.move(folder, tmp_path / "away")
    try:
        done = shell.invoke("predict", fitted[0]["bundle"], *new, "--json")
    finally:
        shutil.move(tmp_path / "away", folder)
    assert done.exit_code == 0, done.stderr
    answers = shell.document(done)["predictions"]
    assert answers == shell.document(before)["predictions"]
    assert [answer["file"] for answer in answers] == new
    right = [answer["label"] == topic for answer, topic in zip(answers, TOPICS, strict=True)]
    assert sum(right) >= 2


def test_texts_come_from_files_tables_and_stdin_too(
    fitted: Any, shell: Any, write_sentence: Write, tmp_path: Path
) -> None:
    text = write_sentence("trains", 501)
    (tmp_path / "one.txt").write_text(text, encoding="utf-8")
    with (tmp_path / "some.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text",), (text,)])
    ways = (tmp_path / "one.txt", tmp_path / "some.csv", text)
    done = shell.invoke("predict", fitted[0]["bundle"], *ways, "--json")
    answers = shell.document(done)["predictions"]
    assert {answer["label"] for answer in answers} == {"trains"}
    assert len({answer["probability"] for answer in answers}) == 1
    piped = shell.invoke("predict", fitted[0]["bundle"], "-", "--json", input=f"{text}\n".encode())
    assert shell.document(piped)["predictions"] == [answers[2]]


def test_what_is_named_as_a_file_must_be_one(fitted: Any, shell: Any) -> None:
    done = shell.invoke("predict", fitted[0]["bundle"], "no/such.txt", "--json")
    assert done.exit_code == 1
    assert "no such file" in shell.document(done)["predictions"][0]["error"]


def test_evaluate_gives_the_figures_of_the_fit(fitted: Any, shell: Any, table: Path) -> None:
    done = shell.invoke("evaluate", fitted[0]["bundle"], table, "--label", "topic", "--json")
    assert done.exit_code == 0, done.stderr
    accuracy = shell.document(done)["metrics"]["accuracy"]["value"]
    assert accuracy == fitted[0]["metrics"]["accuracy"]["value"]


def test_folders_of_texts_and_a_folder_of_tables(
    shell: Any, quick: Any, write_sentence: Write, tmp_path: Path
) -> None:
    for topic in TOPICS:
        (tmp_path / "files" / topic).mkdir(parents=True)
        for n in range(8):
            text = write_sentence(topic, n)
            (tmp_path / "files" / topic / f"{n}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "tables").mkdir()
    for part, numbers in {"train": range(8), "test": range(100, 104)}.items():
        rows = [{"text": write_sentence(t, n), "label": t} for n in numbers for t in TOPICS]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "tables" / f"{part}.jsonl").write_text(lines, encoding="utf-8")
    for source, held in {"files": None, "tables": 12}.items():
        done = shell.invoke("fit", tmp_path / source, *quick, "--out", tmp_path / "out", "--json")
        assert done.exit_code == 0, done.stderr
        found = shell.document(done)
        assert found["metrics"]["accuracy"]["value"] > 0.4
        assert held is None or found["split"]["n"] == held


def test_the_doctor_writes_a_table_of_texts_back(
    shell: Any, table: Path, quick: Any, tmp_path: Path
) -> None:
    clean = tmp_path / "clean.csv"
    words = ("doctor", table, "--label", "topic", *quick, "--manifest", clean, "--json")
    done = shell.invoke(*words)
    assert done.exit_code == 0, done.stderr
    with clean.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {"text", "label"} <= set(rows[0])
    assert "path" not in rows[0]
    assert len(rows) == 3 * EACH + 1  # one that was typed anew stays, told as a near duplicate
    again = shell.invoke("doctor", clean, *quick, "--json")
    kinds = {finding["kind"] for finding in shell.document(again)["findings"]}
    assert not kinds & {"unreadable", "exact-duplicate"}


def test_rank_compares_networks_of_texts_only(shell: Any, table: Path, quick: Any) -> None:
    words = ("--backbone", "efficientnet-lite0")
    done = shell.invoke("rank", table, "--label", "topic", *quick, *words, "--json")
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert [row["name"] for row in found["rows"]] == [quick[1]]
    (skipped,) = found["skipped"]
    assert skipped["reason"] == ("efficientnet-lite0 reads a picture; these examples become a text")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--backbone", "efficientnet-lite0"), "reads a picture; these examples become a text"),
        (("--strategy", "partial"), "strategy: partial"),
        (("--views", "whole-mirrored"), "'whole-mirrored' is not one of centre"),
        (("--text", "question", "--path-column", "question"), "name one of them"),
        (("--text", "nothing"), "no column 'nothing'"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(
    shell: Any, table: Path, quick: Any, words: Any, message: str
) -> None:
    network = () if "--backbone" in words else quick
    done = shell.invoke("fit", table, "--label", "topic", *network, *words, "--json")
    assert done.exit_code == 2
    assert any(message in one for one in shell.error(done)["messages"])


def test_preview_draws_pictures_only(shell: Any, table: Path, tmp_path: Path) -> None:
    done = shell.invoke("preview", table, "--label", "topic", "--out", tmp_path / "a.png", "--json")
    assert done.exit_code == 2
    assert "preview draws pictures" in shell.error(done)["messages"][0]


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["lora", "contrastive"])
def test_a_trained_encoder_is_measured_saved_and_asked(
    shell: Any, table: Path, quick: Any, strategy: str, tmp_path: Path
) -> None:
    asked = ("--strategy", strategy, "--steps", 8, "--rate", 2e-3, "--label", "topic")
    done = shell.invoke("fit", table, *quick, *asked, "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    row = next(row for row in found["tried"] if row["kind"] == strategy)
    assert row["detail"].startswith("64 tokens, ")
    assert row["why"]
    (run,) = found["training"]
    assert run["steps"] == 8
    assert run["input"] == "64 tokens"
    answer = shell.invoke("predict", found["bundle"], "boil the onion in the oven", "--json")
    assert answer.exit_code == 0, answer.stderr


def test_what_texts_are_not_trained_by_is_refused_before_any_work(
    shell: Any, table: Path, quick: Any, tmp_path: Path
) -> None:
    asked = ("--strategy", "partial", "--label", "topic", "--out", tmp_path)
    done = shell.invoke("fit", table, *quick, *asked)
    assert done.exit_code == 2
    assert "networks of the family transformers-bert do not offer 'partial'" in done.stderr


def test_texts_are_measured_when_they_are_worse(
    fitted: Any, shell: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.robustness import corruptions

    few = {name: corruptions.CORRUPTIONS[name] for name in ("typos", "missing end")}
    monkeypatch.setattr(corruptions, "CORRUPTIONS", few)
    monkeypatch.setattr("regraft.verbs.corrupted.EXAMPLES", 6)
    page, model = tmp_path / "page.html", fitted[0]["bundle"]
    words = ("--label", "topic", "--corruptions", "--report", page, "--json")
    done = shell.invoke("evaluate", model, table, *words)
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)["corruptions"]
    assert [row["name"] for row in found["rows"]] == [*few]
    assert found["n"] == 6
    accuracies = [row["accuracies"] for row in found["rows"]]
    assert found["mean"]["value"] == pytest.approx(np.mean(accuracies))
    assert accuracies[0][4] < found["clean"]["value"]
    html = page.read_text(encoding="utf-8")
    assert "6 texts, each mistyped" in html


def test_texts_are_hardened(
    shell: Any, table: Path, quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regraft.verbs.hardening.JUDGED_ON", 6)
    asked = (table, "--label", "topic", *quick, "--steps", 2, "--batch", 6)
    done = shell.invoke("harden", *asked, "--wish", 1, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    (run,) = shell.document(done)["training"]
    assert run["plan"]["attack"] == "freelb:eps=0.1"
    assert run["trade_off"]["attack"] == "PGD-10 at ε = 0.1"
    assert all(0 <= p["robust"] <= p["clean"] <= 1 for p in run["trade_off"]["points"])
    words = ("--strategies", "probe,lp-ft", "--attack", "freelb:eps=0.2", "--out", tmp_path / "c")
    done = shell.invoke("compare", *asked, *words, "--json")
    assert done.exit_code == 0, done.stderr
    for row in shell.document(done)["strategies"]:
        assert (row["robust"]["n"], row["robust"]["attack"]) == (6, "freelb:eps=0.2")


def test_an_attack_on_pixels_is_refused_for_texts(
    shell: Any, table: Path, quick: Any, photos: Path, tmp_path: Path
) -> None:
    words = ("--out", tmp_path / "out", "--json")
    texts = (table, "--label", "topic", *quick)
    for asked, told in (
        (
            ("fit", *texts, "--attack", "pgd:eps=2"),
            "pgd changes pixels, and this network reads a text",
        ),
        (("harden", *texts, "--eps", "0.1"), "for that there is freelb"),
        (("fit", photos, "--attack", "freelb"), "the vectors of word pieces"),
        (("harden", photos, "--method", "freelb"), "this network reads a picture"),
    ):
        done = shell.invoke(*asked, *words)
        assert done.exit_code == 2
        assert told in " ".join(shell.error(done)["messages"])


def test_texts_are_attacked(
    fitted: Any, shell: Any, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, few in (("measuring.CHECKED", 3), ("sanity.PLANTED", 1), ("sanity.QUERIES", 5)):
        monkeypatch.setattr(f"regraft.robustness.{place}", few)
    monkeypatch.setattr("regraft.robustness.sanity.FEW_STEPS", 3)
    monkeypatch.setattr("regraft.robustness.sanity.MORE_STEPS", 6)
    monkeypatch.setattr("regraft.robustness.measuring.PGD_STEPS", 4)
    page, model = tmp_path / "page.html", fitted[0]["bundle"]
    words = (
        "--label",
        "topic",
        "--robust",
        "--eps",
        "0.01,1",
        "--examples",
        6,
        "--report",
        page,
        "--json",
    )
    done = shell.invoke("evaluate", model, table, *words)
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)["robust"]
    assert (found["noun"], found["n"], found["norm"]) == ("texts", 6, "l2")
    small, large = (point["accuracy"]["value"] for point in found["points"])
    assert found["clean"]["value"] >= small >= large
    assert large < found["clean"]["value"]
    same = found["checks"][0]
    assert same["name"] == "what is attacked is what answers"
    assert same["passed"]
    html = page.read_text(encoding="utf-8")
    assert found["as_files"] is None
    assert "no text belongs to what was found" in html
