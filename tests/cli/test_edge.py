"""The contract with scripts: one JSON document, exit codes, nothing of a library on stdout."""

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from regraft import errors
from regraft.cli.edge import Reply, Verbs, Voice, document, verb, write


def invoke(command: Callable[..., Reply], *words: str) -> Any:
    """A program with one verb, `command`, and another one beside it."""

    def other(voice: Voice) -> Reply:
        return Reply({})

    app = typer.Typer(cls=Verbs)
    app.command()(verb(command))
    app.command()(verb(other))
    return CliRunner().invoke(app, [command.__name__, *words])


def failing(error: BaseException) -> Callable[..., Reply]:
    def fail(voice: Voice) -> Reply:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.UsageError("size: too small", "seed: too low"), "usage", 2),
        (errors.DataError("a.csv, row 3: no file"), "data", 1),
        (errors.Unreadable("a.png", "empty", "the file is empty"), "data", 1),
        (errors.BackboneError("resnet18: not here"), "backbone", 1),
        (errors.BundleError("m.regraft: damaged"), "bundle", 1),
        (errors.MissingExtra("onnx", "onnx"), "missing-extra", 1),
        (errors.StorageError("x: the disk is full"), "storage", 1),
        (errors.RegraftError("a plugin is broken"), "failed", 1),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_errors_have_a_kind_and_an_exit_code(error: BaseException, kind: str, code: int) -> None:
    plain, scripted = invoke(failing(error)), invoke(failing(error), "--json")
    assert (plain.exit_code, scripted.exit_code) == (code, code)
    assert plain.stdout == ""
    found = json.loads(scripted.stdout)
    assert found["error"]["kind"] == kind
    expected = str(error).splitlines() or ["interrupted"]
    assert found["error"]["messages"] == expected
    assert plain.stderr == scripted.stderr == "".join(f"error: {line}\n" for line in expected)


def test_the_unexpected_is_one_sentence_and_a_traceback_in_a_file() -> None:
    done = invoke(failing(ZeroDivisionError("a\nb")), "--json")
    assert done.exit_code == 1
    [message] = json.loads(done.stdout)["error"]["messages"]
    assert "ZeroDivisionError: a b" in message
    kept = Path(message.rpartition(" in ")[2])
    assert "Traceback" in kept.read_text()
    kept.unlink()
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_verbose_and_log_file_have_the_traceback(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    done = invoke(failing(errors.DataError("bad")), "--verbose", "--log-file", str(log))
    assert "Traceback" in done.stderr
    assert "Traceback" in log.read_text()
    assert done.stderr.endswith("error: bad\n")
    done = invoke(failing(ValueError("odd")), "--log-file", str(log))
    assert done.stderr.endswith(f"the traceback is in {log}\n")
    assert "ValueError: odd" in log.read_text()


def test_a_log_file_that_cannot_be_written_stops_the_verb(tmp_path: Path) -> None:
    done = invoke(failing(AssertionError("must not run")), "--json", "--log-file", str(tmp_path))
    assert done.exit_code == 1
    assert str(tmp_path) in json.loads(done.stdout)["error"]["messages"][0]


def talk(voice: Voice) -> Reply:
    """Progress, words, a library that prints and one that warns."""
    with voice.progress.stage("counting", 2) as advance:
        advance(2)
    voice.progress.say("a remark")
    print("a library prints")
    warnings.warn("a library warns", stacklevel=1)
    logging.getLogger("library").warning("a library logs")
    voice.print("words [bold]as they are[/bold]", "ü" * 200)
    return Reply({"ü": 1})


def test_stdout_is_for_the_result_alone() -> None:
    done = invoke(talk)
    assert done.stdout == f"words [bold]as they are[/bold]\n{'ü' * 200}\n"
    assert "a remark" in done.stderr
    assert "a library prints" in done.stderr
    assert "warns" not in done.stderr
    assert "a library logs" not in done.stderr


def test_json_is_the_document_alone() -> None:
    done = invoke(talk, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"ü": 1}
    assert "a remark" in done.stderr


def test_quiet_shows_no_progress() -> None:
    done = invoke(talk, "--quiet")
    assert "a remark" not in done.stderr
    assert "words" in done.stdout


def test_progress_is_a_document_a_line_where_that_is_asked_for() -> None:
    done = invoke(talk, "--progress", "jsonl", "--json")
    assert json.loads(done.stdout)
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events] == ["stage", "step", "end", "say"]
    wrong = invoke(talk, "--progress", "smoke", "--json")
    assert wrong.exit_code == 2
    assert "auto, jsonl" in json.loads(wrong.stdout)["error"]["messages"][0]


def test_the_log_tells_every_step(tmp_path: Path) -> None:
    log, handlers = tmp_path / "run.log", logging.getLogger().handlers[:]
    for _ in range(2):
        invoke(talk, "--log-file", str(log), "-q")
    lines = log.read_text()
    for step in ("talk {}", "counting: 2 to do", "counting: done in", "a remark", "talk: done"):
        assert lines.count(step) == 2, step
    assert "a library warns" in lines
    assert "a library logs" in lines
    assert logging.getLogger().handlers == handlers


def test_the_exit_code_of_a_reply_is_obeyed() -> None:
    def fail(voice: Voice) -> Reply:
        return Reply({"error": {}}, 1)

    assert invoke(fail).exit_code == 1


@pytest.mark.parametrize("words", [["--nothing"], ["a", "b"], []])
def test_wrong_usage_is_a_document_too(words: list[str]) -> None:
    def need(voice: Voice, thing: Annotated[str, typer.Argument(help="x")]) -> Reply:
        return Reply({})

    done = invoke(need, *words, "--json")
    assert done.exit_code == 2
    found = json.loads(done.stdout)["error"]
    assert found["kind"] == "usage"
    assert "--help" in found["messages"][0]
    done = invoke(need, *words)
    assert (done.exit_code, done.stdout) == (2, "")


def test_json_after_two_dashes_is_a_name() -> None:
    def need(voice: Voice) -> Reply:
        return Reply({})

    done = invoke(need, "--", "--json")
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_control_character_cannot_reach_the_terminal() -> None:
    done = invoke(failing(errors.DataError("evil\x1b[2J.png: no")))
    assert done.stderr == "error: evil\\x1b[2J.png: no\n"


def test_documents_are_utf8_json_whatever_the_locale() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write(out, document({"file": "ü\udcff", "n": 1.5}))
    assert json.loads(out.buffer.getvalue()) == {"file": "ü\udcff", "n": 1.5}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="JSON"):
        document({"n": float("nan")})


def test_a_reader_that_stops_early_is_no_error() -> None:
    read, closed = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "regraft", "backbones", "--json"]
    done = subprocess.run(words, stdout=closed, stderr=subprocess.PIPE, check=False)
    os.close(closed)
    assert done.stderr == b""
    assert done.returncode == 1
