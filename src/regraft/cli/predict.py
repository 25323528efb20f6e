"""regraft predict: a model and files → answers."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from regraft.cli.edge import Reply, Voice, complain
from regraft.cli.options import check_output, network_names
from regraft.cli.tables import table
from regraft.errors import DataError, UsageError
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.model.predict import Prediction, Predictions

STDIN = "-"
AT_ONCE = 256  # answers that are printed together
SHOWN = 20  # files that an error names; the rest as a count
TOP = 5


class _Form(NamedTuple):
    """How answers are written for a program: their text, of which `heading` lines come once."""

    text: Callable[["Predictions"], str]
    heading: int


FORMS = {
    "jsonl": _Form(lambda answers: answers.to_json_lines(), 0),
    "csv": _Form(lambda answers: answers.to_csv(), 1),
}


class _Source(NamedTuple):
    """Who answers: as plain data, the modality, and from files to answers."""

    told: dict[str, Any]
    modality: str
    answer: Callable[[list[str]], Iterable["Prediction"]]


def predict(
    voice: Voice,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL INPUT",
            help="A bundle that fit wrote, then files, folders, quoted globs, or - for paths on "
            "stdin, one a line. With --pretrained all are inputs.",
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use a pretrained network with its own classes, in place of MODEL.",
            autocompletion=network_names,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help=f"Classes to list for a file; {TOP} by default."),
    ] = None,
    form: Annotated[
        Literal["table", "jsonl", "csv"] | None,
        typer.Option("--format", help="By default a table, or what the name of --output ends in."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the answers there, not on stdout.")
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on stdin end with NUL, not with a newline.")
    ] = False,
) -> Reply:
    """Name the class of pictures, with a probability."""
    names = list(inputs or ())
    model = None if pretrained or not names else names.pop(0)
    written = form or _form_of(output)
    if mistakes := list(_mistakes(voice, names, top, form, written, output, null)):
        raise UsageError(*mistakes)
    check_output("--output", output)
    source = _as_it_is(pretrained, top, voice) if pretrained else _fitted(str(model), top, voice)
    tally = _Tally(keep=voice.json)
    answers = tally.watch(_in_order(source, _named(names, null)))
    _write(voice, answers, written, output, top)
    reply = {"predictions": tally.kept, "model": source.told}
    if tally.answered:
        return Reply(reply)
    complain(tally.messages())
    return Reply({"error": {"kind": "data", "messages": tally.messages()}} | reply, 1)


def _form_of(output: Path | None) -> str:
    ending = "" if output is None else output.suffix.lower().removeprefix(".")
    return ending if ending in FORMS else "table"


def _mistakes(
    voice: Voice,
    names: Sequence[str],
    top: int | None,
    asked: str | None,
    form: str,
    output: Path | None,
    null: bool,
) -> Iterator[str]:
    if not names:
        yield "INPUT: name a MODEL and then files, or --pretrained NAME and files"
    if names.count(STDIN) > 1:
        yield f"{STDIN}: stdin can be read only once"
    if null and STDIN not in names:
        yield f"--null: only with {STDIN}, for paths on stdin"
    if output is not None and form not in FORMS:
        yield f"--output: a {form} is for the terminal; add --format {' or '.join(FORMS)}"
    if voice.json and asked and output is None:
        yield "--format: with --json stdout gets one JSON document; leave it out, or add --output"
    if top is not None and form == "csv":
        yield "--top: CSV has room for one class a file; use --format jsonl"


# Who answers -------------------------------------------------------------------------------------


def _fitted(path: str, top: int | None, voice: Voice) -> _Source:
    from regraft.model.model import Model
    from regraft.model.predict import predict_in_turn

    model = Model.load(path)
    told = {
        "bundle": path,
        "name": model.record.get("name"),
        "classes": list(model.classes),
        "backbones": [one["name"] for one in model.networks],
    }
    return _Source(
        told,
        model.modality,
        lambda files: predict_in_turn(model, files, top=top or TOP, progress=voice.progress),
    )


def _as_it_is(name: str, top: int | None, voice: Voice) -> _Source:
    from regraft.model.predict import predict_pretrained

    return _Source(
        {"pretrained": name},
        "image",
        lambda files: predict_pretrained(name, files, top=top or TOP, progress=voice.progress),
    )


# Files -------------------------------------------------------------------------------------------


def _named(names: Iterable[str], null: bool) -> Iterator[str]:
    for name in names:
        yield from _on_stdin(null) if name == STDIN else [name]


def _on_stdin(null: bool) -> list[str]:
    found = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
    paths = [os.fsdecode(line if null else line.removesuffix(b"\r")) for line in found]
    if not any(paths):
        raise DataError("stdin: no file is named; expected one path a line")
    return [path for path in paths if path]


def _in_order(source: _Source, names: Iterable[str]) -> Iterator["Prediction"]:
    """An answer for every file, those that do not exist included, in the order of the names."""
    from regraft.model.predict import Prediction, files

    missing: dict[int, Prediction] = {}
    there: list[str] = []
    for name in names:
        try:
            there += files(name, source.modality)
        except DataError as error:
            reason = str(error).removeprefix(f"{name}: ")
            missing[len(there) + len(missing)] = Prediction(name, error=reason)
    found = iter(source.answer(there) if there else ())
    for place in range(len(there) + len(missing)):
        yield missing[place] if place in missing else next(found)


@dataclass
class _Tally:
    """What went by: how many answers, why there was none, and all of them where that is asked."""

    keep: bool
    answered: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def watch(self, answers: Iterable["Prediction"]) -> Iterator["Prediction"]:
        for one in answers:
            self.answered += one.error is None
            self.failed += one.error is not None
            if one.error is not None and len(self.reasons) < SHOWN:
                self.reasons.append(f"{one.file}: {one.error}")
            if self.keep:
                self.kept.append(one.to_dict())
            yield one

    def messages(self) -> list[str]:
        rest = self.failed - len(self.reasons)
        more = [f"and {rest} more files"] if rest else []
        return ["no file could be read", *self.reasons, *more]


# Writing -----------------------------------------------------------------------------------------


def _write(
    voice: Voice, answers: Iterator["Prediction"], form: str, output: Path | None, top: int | None
) -> None:
    if output is not None:
        texts = _texts(answers, FORMS[form])
        write_atomically(output, (text.encode("utf-8", "backslashreplace") for text in texts))
        voice.print(f"written: {output}")
    elif voice.json:
        deque(answers, maxlen=0)
    elif form in FORMS:
        for text in _texts(answers, FORMS[form]):
            voice.write(text)
    else:
        for some in _handfuls(answers):
            voice.print(_table(some, top))


def _handfuls(answers: Iterator["Prediction"]) -> Iterator[list["Prediction"]]:
    while some := list(islice(answers, AT_ONCE)):
        yield some


def _texts(answers: Iterator["Prediction"], form: _Form) -> Iterator[str]:
    from regraft.model.predict import Predictions

    begun = False
    for some in _handfuls(answers):
        text = form.text(Predictions(some))
        yield "".join(text.splitlines(True)[form.heading :]) if begun else text
        begun = True


def _table(answers: Sequence["Prediction"], top: int | None) -> Any:
    more = () if top is None else (f"top {top}",)
    columns = ("file", "label", "probability", "set", "note", *more)
    return table(columns, (_cells(one, bool(more)) for one in answers), ("probability",))


def _cells(one: "Prediction", with_top: bool) -> list[str]:
    from regraft.evaluation.report import share

    note = one.error or ("unlike the training data" if one.unlike else "")
    cells = [one.file, one.label or "", "" if one.error else share(one.probability)]
    top = ", ".join(f"{name} {share(p)}" for name, p in one.top)
    return [*cells, ", ".join(one.set), note, *([top] if with_top else [])]
