"""regraft evaluate: a model and labelled examples → metrics with intervals, and a report."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    At,
    Group,
    Label,
    PathColumn,
    Positive,
    Root,
    Source,
    Text,
    check_output,
)
from regraft.cli.outputs import without_thumbnails


def evaluate(
    voice: Voice,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A bundle that fit wrote: model.regraft")
    ],
    source: Source,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(help="Part to measure on; by default the held-out one, or all without parts."),
    ] = None,
    label: Label = None,
    group: Group = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
    at: At = None,
    positive: Positive = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a report: FILE.html or FILE.json"),
    ] = None,
    heat_maps: Annotated[
        bool,
        typer.Option("--heat-maps", help="Show in the report where the network looked."),
    ] = False,
) -> Reply:
    """Measure a model on labelled pictures."""
    import regraft

    check_output("--report", report, (".html", ".json"))
    found = regraft.evaluate(
        model,
        source,
        split=split,
        label=label,
        group=group,
        path_column=path_column,
        text=text,
        root=root,
        heat_maps=heat_maps,
        at=at,
        positive=positive,
        progress=voice.progress,
    )
    voice.print(found.table(voice.width))
    if report is not None:
        found.save(report)
        voice.print(f"\nwritten: {report}")
    return Reply(without_thumbnails(found.record))
