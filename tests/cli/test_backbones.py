"""regraft backbones: the catalog, filtered."""

import subprocess
import sys
from typing import Any

import pytest

from regraft.backbones.catalog import available, catalog


def test_all_networks_as_a_document(shell: Any) -> None:
    done = shell.invoke("backbones", "--json")
    assert done.exit_code == 0
    rows = shell.document(done)["backbones"]
    assert [row["name"] for row in rows] == list(catalog())
    for row in rows:
        place = available(catalog()[row["name"]])
        assert (row["here"], row["missing"]) == (place.here, place.reason or None)


def test_all_networks_as_a_table(shell: Any) -> None:
    done = shell.invoke("backbones")
    assert done.exit_code == 0
    assert all(name in done.stdout for name in catalog())
    assert f"{len(catalog())} of {len(catalog())} networks" in done.stdout


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--here"], lambda row: row.weights.kind == "package"),
        (["--family", "resnet"], lambda row: row.family == "resnet"),
        (["--licence", "mit"], lambda row: row.licence_weights == "MIT"),
        (
            ["--licence", "mit,bsd-3-clause"],
            lambda row: row.licence_weights in ("MIT", "BSD-3-Clause"),
        ),
        (["--search", "LITE0"], lambda row: "lite0" in row.name),
        (["--search", "no such"], lambda row: False),
        (
            ["--family", "resnet", "--search", "18"],
            lambda row: row.family == "resnet" and "18" in row.name,
        ),
    ],
)
def test_filters(words: list[str], kept: Any, shell: Any) -> None:
    rows = shell.document(shell.invoke("backbones", "--json", *words))["backbones"]
    assert [row["name"] for row in rows] == [r.name for r in catalog().values() if kept(r)]


def test_unknown_names_are_all_told(shell: Any) -> None:
    done = shell.invoke("backbones", "--json", "--family", "nix", "--licence", "wtf")
    assert done.exit_code == 2
    messages = shell.error(done)["messages"]
    assert [m.split(":")[0] for m in messages] == ["--licence", "--family"]
    assert "Apache-2.0" in messages[0]
    assert "resnet" in messages[1]


def test_pytorch_is_not_needed() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from regraft.cli import app;"
        "assert CliRunner().invoke(app, ['backbones']).exit_code == 0; print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "timm", "transformers", "sklearn"} & set(run.stdout.split())
