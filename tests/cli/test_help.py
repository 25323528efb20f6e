"""Help, version and completion: there without a heavy library, and complete."""

import os
from typing import Any

import pytest
from typer.main import get_command

from regraft import __version__
from regraft.cli import app

VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def test_the_verbs_are_all_there() -> None:
    first = ["fit", "doctor", "rank", "compare", "preview"]
    more = ["evaluate", "harden", "prune", "quantize", "ensemble", "distil", "predict", "serve"]
    more += ["ui", "export", "push", "backbones", "demo"]
    assert list(VERBS) == [*first, *more]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, shell: Any) -> None:
    done = shell.invoke(verb, "--help", env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert VERBS[verb].help in done.stdout
    assert [p.name for p in VERBS[verb].params if not p.help] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_shared_options(verb: str) -> None:
    options = {option for p in VERBS[verb].params for option in p.opts}
    assert options >= {"--json", "--quiet", "--verbose", "--log-file", "--progress"}


def test_help_needs_no_verb(shell: Any) -> None:
    bare, asked = shell.invoke(), shell.invoke("--help")
    assert (bare.exit_code, asked.exit_code) == (0, 0)
    assert bare.stdout.strip() == asked.stdout.strip()
    assert all(verb in asked.stdout for verb in VERBS)
    told = asked.stdout.split("Commands:")[1]
    assert "..." not in told, "a sentence is too long for 80 columns"


def test_version(shell: Any) -> None:
    done = shell.invoke("--version")
    assert (done.exit_code, done.stdout) == (0, f"regraft {__version__}\n")


def test_an_unknown_verb_is_told_with_a_close_one(shell: Any) -> None:
    done = shell.invoke("fitt", "--json")
    assert done.exit_code == 2
    assert "fit" in shell.error(done)["messages"][0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("regraft ev", "evaluate"),
        ("regraft fit --backbone efficientnet-lit", "efficientnet-lite0"),
        ("regraft predict --pretrained resnet1", "resnet18"),
        ("regraft evaluate --split va", "validation"),
    ],
)
def test_tab_completes(line: str, expected: str, shell: Any, monkeypatch: Any) -> None:
    words = line.split()
    monkeypatch.setitem(os.environ, "_REGRAFT_COMPLETE", "complete_bash")
    monkeypatch.setitem(os.environ, "COMP_WORDS", line)
    monkeypatch.setitem(os.environ, "COMP_CWORD", str(len(words) - 1))
    assert expected in shell.run().stdout.split()
