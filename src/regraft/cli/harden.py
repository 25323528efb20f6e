"""regraft harden: examples or a model → a model whose answers hold under small changes."""

from typing import Annotated, Any

import typer

from regraft.cli import outputs
from regraft.cli.edge import Reply, Voice
from regraft.cli.fit import RUN, Budget, Out, Resume
from regraft.cli.options import (
    Backbones,
    Engine,
    Group,
    Label,
    PathColumn,
    Root,
    Seed,
    Size,
    SplitColumn,
    columns,
    given,
    several,
)
from regraft.cli.tables import table

What = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE|MODEL",
        help="A folder with one sub-folder per class, a manifest, or a bundle (.regraft) whose "
        "recipe is repeated.",
    ),
]


def harden(
    voice: Voice,
    what: What,
    eps: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Largest change to stand, of black to white; by default 2/255 (l2: 0.5). Of texts "
            "a share of a word piece's vector; by default 0.1.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="n-fgsm (one step, the default), pgd (several), trades (clean and changed), free "
            "(a batch several times), or n-fgsm-l2 and so on where a change is measured as a "
            "whole; for texts freelb.",
        ),
    ] = None,
    out: Out = None,
    budget: Budget = None,
    backbone: Backbones = None,
    size: Size = None,
    engine: Engine = None,
    seed: Seed = None,
    label: Label = None,
    group: Group = None,
    path_column: PathColumn = None,
    root: Root = None,
    split_column: SplitColumn = None,
    resume: Resume = False,
    **training: Any,
) -> Reply:
    """Train a model that small changes mislead less."""
    from regraft.verbs.harden import harden as hardened

    told = columns(label, group, path_column, None, split_column, root)
    network = {"backbone": several(backbone), "size": size, "engine": engine}
    asked = given(**told, **network, budget=budget, seed=seed, **training)
    folder = out or outputs.default_folder(what)
    with outputs.made(folder):
        fitted = hardened(
            what,
            eps=eps,
            method=method,
            progress=voice.progress,
            run=folder / RUN,
            resume=resume,
            **asked,
        )
        paths = outputs.save(fitted, folder)
    outputs.show(voice, fitted, paths)
    _show_trade_offs(voice, fitted.report.record)
    voice.print(f"\nmeasure it: regraft evaluate {paths['bundle']} {what} --robust")
    return Reply(outputs.document(fitted, folder, paths))


def _show_trade_offs(voice: Voice, record: dict[str, Any]) -> None:
    for run in record.get("training", ()):
        if (told := run.get("trade_off")) is None:
            continue
        rows = [
            ["✓" if p["kept"] else "", p["how"], f"{p['clean']:.1%}", f"{p['robust']:.1%}"]
            for p in told["points"]
        ]
        voice.print(f"\non {told['n']} examples held back; robust: {told['attack']}, empirical")
        heads = ("", "weights", "right", "right under attack")
        voice.print(table(heads, rows, heads[2:]))
