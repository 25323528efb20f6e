"""The edge between a verb and the shell: shared options, progress, one JSON document, exit codes.

A verb is a function ``(voice, its own options) → Reply``. It prints with `Voice.print`, which is
stdout for a person and nothing with ``--json``; then the document of its reply is all that stdout
gets. Progress, remarks and errors go to stderr. What goes wrong is told by the rows of FAILURES.
"""

import inspect
import json as plain_json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO

import typer
from typer.core import TyperGroup

from regraft import errors
from regraft.cli import training
from regraft.progress import Progress

PIPED = 120  # columns where stdout is not a terminal

# What typer raises for an unknown option or a missing argument; it has no public name.
WrongUsage: type[Exception] = typer.BadParameter.__mro__[1]


class Failure(NamedTuple):
    """How one kind of error ends: the word for scripts and the exit code."""

    error: type[BaseException]
    kind: str
    code: int


# The first row that fits is taken.
FAILURES = (
    Failure(WrongUsage, "usage", 2),
    Failure(errors.UsageError, "usage", 2),
    Failure(errors.DataError, "data", 1),
    Failure(errors.BackboneError, "backbone", 1),
    Failure(errors.BundleError, "bundle", 1),
    Failure(errors.MissingExtra, "missing-extra", 1),
    Failure(errors.StorageError, "storage", 1),
    Failure(errors.RegraftError, "failed", 1),
    Failure(KeyboardInterrupt, "interrupted", 130),
    Failure(BaseException, "internal", 1),
)


class Reply(NamedTuple):
    """What a verb gives back: its document for ``--json``, and the exit code."""

    document: dict[str, Any]
    code: int = 0


@dataclass(frozen=True)
class Voice:
    """How a verb talks.

    out       stdout
    json      whether stdout gets one JSON document and nothing else
    progress  of long work, on stderr
    """

    out: TextIO
    json: bool
    progress: Progress

    @property
    def width(self) -> int:
        """Columns for tables."""
        return self._console().width

    def print(self, *what: Any) -> None:
        """Text, as it is, or what rich can draw; nothing with ``--json``."""
        if not self.json:
            console = self._console()
            for one in what:
                is_text = isinstance(one, str)
                console.print(one, soft_wrap=is_text, markup=False, highlight=False)

    def write(self, text: str) -> None:
        """Text for a program: as it is, in UTF-8."""
        write(self.out, text)

    def _console(self) -> Any:
        from rich.console import Console

        width = None if self.out.isatty() else PIPED
        return Console(file=self.out, width=width, soft_wrap=False)


def write(out: TextIO, text: str) -> None:
    """UTF-8 whatever the locale; a file name that is no text is spelt ``\\udcff``, as JSON does."""
    out.flush()
    out.buffer.write(text.encode("utf-8", "backslashreplace"))
    out.buffer.flush()


def document(content: dict[str, Any]) -> str:
    """One JSON document (RFC 8259)."""
    return plain_json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def verb(command: Callable[..., Reply]) -> Callable[..., None]:
    """The function that typer runs: a verb's own options, then those that all verbs share."""

    def run(
        *,
        json: Annotated[
            bool, typer.Option("--json", help="Print one JSON document on stdout.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
        progress: Annotated[
            str | None,
            typer.Option(
                metavar="FORM",
                help="How progress is written to stderr: auto, or jsonl, a JSON document a line.",
            ),
        ] = None,
        verbose: Annotated[
            bool, typer.Option("--verbose", "-v", help="Tell every step and traceback on stderr.")
        ] = False,
        log_file: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Append every step and traceback to a file."),
        ] = None,
        **settings: Any,
    ) -> None:
        from regraft.cli.log import logged

        out = sys.stdout
        try:
            asked = (settings, quiet, verbose, log_file, progress)
            with logged(command.__name__, *asked) as told_to:
                with redirect_stdout(sys.stderr):  # a library that prints must not disturb scripts
                    reply = command(Voice(out, json, told_to), **settings)
                if json:
                    write(out, document(reply.document))
        except (Exception, KeyboardInterrupt) as error:
            traced = f"in {log_file}" if log_file else "above" if verbose else None
            raise typer.Exit(told(error, out, json, traced)) from None
        raise typer.Exit(reply.code)

    return _with_options_of(run, command)


def _with_options_of(
    run: Callable[..., None], command: Callable[..., Reply]
) -> Callable[..., None]:
    """`run` as typer sees it: the options of `command`, but for its voice, before the shared."""
    own = list(inspect.signature(command).parameters.values())[1:]
    if own and own[-1].kind is inspect.Parameter.VAR_KEYWORD:  # **training
        own[-1:] = training.parameters()
    shared = [p for p in inspect.signature(run).parameters.values() if p.name != "settings"]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in (*own, *shared)}
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return run


def told(error: BaseException, out: TextIO, as_json: bool, traced: str | None = None) -> int:
    """Tell an error on stderr, with ``--json`` on stdout too; returns the exit code.

    traced  where its traceback stands already
    """
    if isinstance(error, BrokenPipeError):  # the reader had enough: `regraft predict ... | head`
        return _closed(out)
    failure = next(row for row in FAILURES if isinstance(error, row.error))
    messages = _messages(error, failure, traced)
    if as_json:
        write(out, document({"error": {"kind": failure.kind, "messages": messages}}))
    complain(messages)
    return failure.code


def complain(messages: Iterable[str], what: str = "error") -> None:
    """Errors, or what else a person should know, on stderr, one a line."""
    from regraft.evaluation.report import visible

    with suppress(OSError):
        for message in messages:
            print(f"{what}: {visible(message)}", file=sys.stderr)


def _messages(error: BaseException, failure: Failure, traced: str | None) -> list[str]:
    match error:
        case errors.UsageError():
            return list(error.mistakes)
        case KeyboardInterrupt():
            return ["interrupted"]
        case errors.RegraftError():
            return str(error).splitlines()
    if failure.error is WrongUsage:
        return [_usage(error)]
    return [_unexpected(error, traced or _kept(error))]


def _usage(error: Any) -> str:
    where = error.ctx.command_path if error.ctx else "regraft"
    return f"{error.format_message().rstrip('.')}; see: {where} --help"


def _unexpected(error: BaseException, traced: str) -> str:
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a mistake in Regraft, not in your data: {what}; the traceback is {traced}"


def _kept(error: BaseException) -> str:
    """Write the traceback to a file; returns where it is."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", prefix="regraft-", suffix=".log", delete=False
        ) as file:
            file.write(text)
    except OSError:
        return "lost, because no file can be written; run again with --verbose"
    return f"in {file.name}"


def _closed(out: TextIO) -> int:
    """Nobody reads any more: nothing is written at the end either."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    return 1


class Verbs(TyperGroup):
    """All verbs; wrong usage is told as every other failure."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(args, *rest, **{**settings, "standalone_mode": False})
        except WrongUsage as error:
            options = given[: given.index("--")] if "--" in given else given
            code = told(error, sys.stdout, "--json" in options)
        sys.exit(code)
