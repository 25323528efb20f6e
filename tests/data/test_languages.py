"""Texts in another language than most are told, and nothing where one is not sure."""

from pathlib import Path

import pytest

import regraft
from regraft.data import languages as module
from regraft.data.findings import Finding
from regraft.data.inline import inlined
from regraft.data.languages import OTHER_LANGUAGE, languages

ENGLISH = "My card has not arrived yet and I would like to know where it is, number {}"
GERMAN = "Meine Karte ist noch nicht angekommen, und ich möchte gerne wissen, wo sie ist, Nummer {}"
FRENCH = "Ma carte n'est pas encore arrivée et je voudrais savoir où elle est, numéro {}"


def texts(english: int, german: int = 0, french: int = 0) -> list[str]:
    numbers = {ENGLISH: english, GERMAN: german, FRENCH: french}
    return [form.format(i) for form, n in numbers.items() for i in range(n)]


def told(some: list[str]) -> list[Finding]:
    return [*languages([f"row {i}" for i in range(len(some))], [*map(inlined, some)])]


def test_other_languages_are_one_finding_each_with_their_texts() -> None:
    german, french = told(texts(200, 5, 4))
    assert german.kind == french.kind == OTHER_LANGUAGE
    assert german.files == tuple(f"row {i}" for i in range(200, 205))
    assert french.files == tuple(f"row {i}" for i in range(205, 209))
    assert "are in another one (de) than most (en)" in german.reason
    assert "several languages" not in german.reason
    assert german.severity == "note"


def test_of_many_a_network_for_several_languages_is_named() -> None:
    (german,) = told(texts(20, 8))
    assert german.reason.endswith("a network for several languages may suit them better")


@pytest.mark.parametrize("some", [[], texts(30), texts(30, 2), [*texts(30), *["karte wo"] * 9]])
def test_nothing_is_said_of_few_or_short_ones(some: list[str]) -> None:
    assert told(some) == []


def test_of_very_many_only_some_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ASKED", 50)
    (german,) = told(texts(500, 500))
    assert "of 50 texts" in german.reason
    assert len(german.files) == 25


def test_the_doctor_says_so_and_leaves_them_out_where_that_is_wanted(tmp_path: Path) -> None:
    for i, text in enumerate(texts(20, 6)):
        place = tmp_path / "data" / ("a" if i % 2 else "b") / f"{i:02}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    found = regraft.doctor(tmp_path / "data", look_for_label_errors=False)
    (finding,) = (f for f in found.findings if f.kind == OTHER_LANGUAGE)
    assert len(finding.files) == 6
    assert len(found.cleaned([OTHER_LANGUAGE])) == 20
    again = regraft.doctor(found.dataset, look_for_label_errors=False)
    assert sum(f.kind == OTHER_LANGUAGE for f in again.findings) == 1


def test_without_the_package_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_identifier", lambda: None)
    (finding,) = told(texts(3))
    assert "pip install 'regraft[text]'" in finding.reason
