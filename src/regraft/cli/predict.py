"""regraft predict: a model and files → answers."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from regraft.cli.answers import ENDINGS, FORMS, KINDS, ONE_CLASS, Form, Kind, unfit
from regraft.cli.edge import Reply, Voice, complain
from regraft.cli.options import Tiles, check_output, given, network_names
from regraft.cli.outputs import made
from regraft.errors import DataError, UsageError
from regraft.storage import write_atomically

Least = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="SCORE",
        help="Of a detector and of tags: the score from which boxes, or tags, count.",
    ),
]
Draw = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Of a detector: write pictures with boxes there."),
]

Every = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        metavar="SECONDS",
        help="Of videos: the time between the moments that are looked at; 1 by default.",
    ),
]

STDIN = "-"
AT_ONCE = 256  # answers that are printed together
SHOWN = 20  # files that an error names; the rest as a count
TOP = 5


class _Source(NamedTuple):
    """Who answers: as plain data, the modality, and from files to answers."""

    told: dict[str, Any]
    modality: str
    answer: Callable[[list[str]], Iterable[Any]]
    task: str = "classification"
    classes: tuple[str, ...] = ()


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
        Literal["table", "jsonl", "csv", "coco", "parquet"] | None,
        typer.Option("--format", help="By default a table, or what the name of --output ends in."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the answers there, not on stdout.")
    ] = None,
    least: Least = None,
    tiles: Tiles = None,
    draw: Draw = None,
    every: Every = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on stdin end with NUL, not with a newline.")
    ] = False,
) -> Reply:
    """Tell what a model, or a pretrained network, sees in examples."""
    names = list(inputs or ())
    model = None if pretrained or not names else names.pop(0)
    written = form or _form_of(output)
    if mistakes := list(_mistakes(voice, names, top, form, written, output, null)):
        raise UsageError(*mistakes)
    check_output("--output", output)
    who = partial(_as_it_is, pretrained) if pretrained else partial(_fitted, str(model))
    source = who(top, given(least=least, tiles=tiles), voice)
    kind = KINDS[source.task]
    if mistakes := list(unfit(kind, top, written, draw)):
        raise UsageError(*mistakes)
    tally, asked = _Tally(keep=voice.json), [*_named(names, null)]
    clips = [] if every else _left_out(source, asked)
    answers = tally.watch(_in_order(source, asked, every))
    _write(voice, _drawn(answers, draw, source.classes), written, output, top, kind)
    reply = {"predictions": tally.kept, "model": source.told}
    reply |= {"left_out": clips} if clips else {}
    if tally.answered:
        return Reply(reply)
    complain(tally.messages())
    return Reply({"error": {"kind": "data", "messages": tally.messages()}} | reply, 1)


def _form_of(output: Path | None) -> str:
    ending = "" if output is None else output.suffix.lower().removeprefix(".")
    return ENDINGS.get(ending, "table")


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
    if output is None and form in FORMS and FORMS[form].binary:
        yield f"--format: {form} is not for the terminal; name a file with --output"
    if top is not None and form in ONE_CLASS:
        yield f"--top: {form} has room for one class a file; use --format jsonl"


# Who answers -------------------------------------------------------------------------------------


def _fitted(path: str, top: int | None, asked: dict[str, Any], voice: Voice) -> _Source:
    from regraft.model.opening import opened
    from regraft.model.predict import predict_in_turn

    model = opened(path)
    told = {
        "bundle": path,
        "name": model.record.get("name"),
        "classes": list(model.classes),
        "backbones": [one["name"] for one in model.networks],
    }
    settings = {"top": top or TOP, "progress": voice.progress, **asked}
    return _Source(
        told,
        model.modality,
        lambda files: predict_in_turn(model, files, **settings),
        model.task,
        model.classes,
    )


def _as_it_is(name: str, top: int | None, asked: dict[str, Any], voice: Voice) -> _Source:
    from regraft.model.predict import predict_pretrained

    if asked:
        raise UsageError(*(f"--{option}: is for a detector" for option in asked))
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


def _left_out(source: _Source, names: Sequence[str]) -> list[str]:
    """Videos in the folders, which are told in one line: they are looked at only where asked."""
    from regraft.model.named import left_out, unwatched_in

    clips = [clip for name in names for clip in unwatched_in(name, source.modality)]
    if clips:
        complain([f"left out: {left_out(clips)}"], "note")
    return clips


def _in_order(source: _Source, names: Sequence[str], every: float | None) -> Iterator[Any]:
    """An answer for every file, those that do not exist included, in the order of the names."""
    from regraft.model.named import files, refuse_unwatched, refuse_wrong_every

    if every is not None:
        refuse_wrong_every(every)
    lost, missing = KINDS[source.task].lost, dict[int, Any]()
    there: list[str] = []
    for name in names:
        try:
            there += files(name, source.modality, every)
        except DataError as error:
            reason = str(error).removeprefix(f"{name}: ")
            missing[len(there) + len(missing)] = lost(name, reason)
    if every is not None:
        refuse_unwatched(names, [*there, *(one.file for one in missing.values())])
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

    def watch(self, answers: Iterable[Any]) -> Iterator[Any]:
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
    voice: Voice,
    answers: Iterator[Any],
    form: str,
    output: Path | None,
    top: int | None,
    kind: Kind,
) -> None:
    if output is not None:
        texts = _texts(answers, FORMS[form], kind)
        write_atomically(output, map(_encoded, texts))
        voice.print(f"written: {output}")
    elif voice.json:
        deque(answers, maxlen=0)
    elif form in FORMS:
        for text in _texts(answers, FORMS[form], kind):
            voice.write(text)
    else:
        for some in _handfuls(answers):
            voice.print(kind.table(some, top))


def _encoded(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")


def _drawn(answers: Iterator[Any], folder: Path | None, classes: tuple[str, ...]) -> Iterator[Any]:
    """The answers; on the way each is drawn into the folder, if there is one."""
    if folder is None:
        yield from answers
        return
    from regraft.modalities.video import plain_name
    from regraft.model.found import draw

    taken: set[str] = set()
    with made(folder):
        for one in answers:
            if one.error is None:
                stem = plain_name(one.file)
                name = stem if stem not in taken else f"{stem}-{len(taken)}"
                taken.add(name)
                draw(one, folder / f"{name}.jpg", classes)
            yield one


def _handfuls(answers: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(islice(answers, AT_ONCE)):
        yield some


def _texts(answers: Iterator[Any], form: Form, kind: Kind) -> Iterator[Any]:
    if form.whole:
        yield form.text(kind.gather(answers))
        return
    begun = False
    for some in _handfuls(answers):
        text = form.text(kind.gather(some))
        yield "".join(text.splitlines(True)[form.heading :]) if begun else text
        begun = True
