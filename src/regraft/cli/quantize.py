"""regraft quantize: a model → the same in whole numbers of 8 bits, smaller and faster."""

from typing import Annotated

import typer

from regraft.cli.before_after import BUNDLE, MaxDrop, SmallModel, SmallOut, allowed, written
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import Label, PathColumn, Root, Seed, Text, check_output, columns, given


def quantize(
    voice: Voice,
    model: SmallModel,
    out: SmallOut,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Examples; by default those of the fit: what the model learned from calibrates, "
            "the others are measured on.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="static, dynamic or weights; by default static for pictures, else dynamic.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="refit: the head is solved anew on the new features; keep: it stays; by default "
            "refit where that can be done.",
        ),
    ] = None,
    max_drop: MaxDrop = None,
    calibration: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Examples that the ranges come from; by default 300."),
    ] = None,
    seed: Seed = None,
    label: Label = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
) -> Reply:
    """Make a model faster: whole numbers of 8 bits."""
    import regraft

    check_output("--out", out, BUNDLE)
    small = regraft.quantize(
        model,
        data,
        progress=voice.progress,
        **given(method=method, head=head, calibration=calibration, seed=seed),
        **allowed(max_drop),
        **columns(label, None, path_column, text, None, root),
    )
    return written(voice, small, out)
