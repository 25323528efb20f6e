"""regraft doctor: findings in words, as a document and in files; the data stays as it is."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

from regraft.cli.doctor import EACH, _rows
from regraft.data.findings import Finding


@pytest.fixture(scope="module")
def ill(photos: Path, tmp_path_factory: Any) -> Path:
    """The photos, with a copy under another label."""
    folder = Path(shutil.copytree(photos, tmp_path_factory.mktemp("ill") / "Fotos"))
    shutil.copy(folder / "blau" / "Bild 0 ä.png", folder / "grün" / "Kopie.png")
    return folder


def test_findings_as_a_document_and_in_files(
    ill: Path, shell: Any, tmp_path: Path, fingerprint: Any
) -> None:
    before = fingerprint(ill)
    files = {name: tmp_path / f"{name}.csv" for name in ("csv", "manifest")}
    files["report"] = tmp_path / "page.html"
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    done = shell.invoke("doctor", ill, "--json", "--no-label-errors", *words)
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert {"findings", "n", "classes", "root", "clean", "written"} == set(found)
    assert (found["n"], found["clean"]) == (44, False)
    kinds = {finding["kind"]: finding["files"] for finding in found["findings"]}
    assert kinds["unreadable"] == ["blau/kaputt ✗.png"]
    assert set(kinds["conflicting-labels"]) == {"blau/Bild 0 ä.png", "grün/Kopie.png"}
    assert found["written"] == {name: str(path) for name, path in files.items()}
    assert files["report"].read_text().startswith("<!")
    assert "unreadable" in files["csv"].read_text()
    rows = list(csv.DictReader(files["manifest"].open()))
    assert len(rows) == 41
    assert fingerprint(ill) == before


def test_labels_are_looked_at_by_a_network(photos: Path, shell: Any) -> None:
    words = ("--size", "64", "--engine", "torch", "--backbone", "efficientnet-lite0")
    done = shell.invoke("doctor", photos, "--json", *words)
    assert done.exit_code == 0, done.stderr
    assert {"unreadable"} <= {f["kind"] for f in shell.document(done)["findings"]}


def test_words_for_a_person(ill: Path, shell: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    done = shell.invoke("doctor", ill, "--no-label-errors")
    assert done.exit_code == 0
    assert "kaputt ✗.png" in done.stdout
    assert "44 examples, 3 classes: look at the errors and warnings" in done.stdout
    assert list(tmp_path.iterdir()) == []  # nothing is written that was not asked for


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--report", "page.pdf"], "page.pdf"),
        (["--csv", "x.txt"], "x.txt"),
        (["--manifest", "/nowhere/m.csv"], "/nowhere"),
        (["--no-label-errors", "--size", "64"], "size"),
        (["--backbone", "efficientnet-lite"], "efficientnet-lite0"),
        (["--label", "species"], "label"),
    ],
)
def test_wrong_usage(words: list[str], told: str, ill: Path, shell: Any) -> None:
    done = shell.invoke("doctor", ill, "--json", *words)
    assert done.exit_code == 2
    assert told in "\n".join(shell.error(done)["messages"])


def test_a_source_that_is_not_there(shell: Any) -> None:
    done = shell.invoke("doctor", "/no/such folder", "--json")
    assert done.exit_code == 2
    assert "/no/such folder" in shell.error(done)["messages"][0]


def test_the_grave_findings_come_first_and_many_are_cut() -> None:
    many = [Finding("odd-size", (f"{i}.png",), "odd", "note") for i in range(EACH + 3)]
    rows = list(_rows([*many, Finding("leak", tuple("abcdefg"), "leaks", "error")]))
    assert rows[0] == ["error", "leak", "a, b, c, d, e, and 2 more", "leaks"]
    assert len(rows) == 1 + EACH + 1
    assert rows[-1][3].startswith("and 3 more")
