"""regraft quantize: a model → the same in whole numbers of 8 bits, smaller and faster."""

from typing import Annotated

import typer

from regraft.cli.before_after import MaxDrop, SmallData, SmallModel, SmallOut, smaller, written
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import Label, PathColumn, Root, Seed, Text, columns


def quantize(
    voice: Voice,
    model: SmallModel,
    out: SmallOut,
    data: SmallData = None,
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
    qat: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Learn again as if in whole numbers: auto (default: where more than 0.5 points "
            "are lost), always or never.",
        ),
    ] = None,
    seed: Seed = None,
    label: Label = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
) -> Reply:
    """Make a model faster: whole numbers of 8 bits."""
    told = columns(label, None, path_column, text, None, root)
    asked = {"method": method, "head": head, "calibration": calibration, "qat": qat, "seed": seed}
    small = smaller(voice, "quantize", model, data, out, max_drop, **asked, **told)
    return written(voice, small, out)
