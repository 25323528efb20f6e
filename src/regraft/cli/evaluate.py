"""regraft evaluate: a model and labelled examples → metrics with intervals, and a report."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    At,
    Group,
    Label,
    Labels,
    PathColumn,
    Positive,
    Repair,
    Root,
    Separator,
    Source,
    Text,
    Tiles,
    check_output,
    given,
    of_labels,
    several,
)
from regraft.cli.outputs import without_thumbnails
from regraft.cli.robust import show_parts
from regraft.errors import UsageError

ROBUST = "Under attack"


Robust = Annotated[
    bool,
    typer.Option(
        "--robust",
        help="Measure what is left of the accuracy under attack; takes minutes to hours.",
        rich_help_panel=ROBUST,
    ),
]
Eps = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SHARE",
        help="Size of the changes as a share of black to white (recordings: of full scale, texts: "
        "of a vector's length); several times or with commas; by default three sizes.",
        rich_help_panel=ROBUST,
    ),
]
Norm = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="linf: every value may change by so much (the default); l2: the whole change; of "
        "texts each vector's (theirs).",
        rich_help_panel=ROBUST,
    ),
]
Attack = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="autoattack (default of pictures), or pgd: quicker, an upper bound only.",
        rich_help_panel=ROBUST,
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(metavar="N", help="To attack, at most; by default 300.", rich_help_panel=ROBUST),
]
Corruptions = Annotated[
    bool,
    typer.Option(
        "--corruptions",
        help="Measure on noisy, blurred, misspelt examples too: 12 to 15 kinds, 5 severities.",
    ),
]
Risk = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Which answers may be taken so that at most this share of them is wrong; with "
        "--robust 0.05 by default.",
    ),
]
Unlike = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Other data of the same kind, nothing of the model's classes: how well is it told "
        "from what the model knows?",
    ),
]


Part = Annotated[
    Literal["train", "validation", "test"] | None,
    typer.Option(help="Part to measure on; by default the held-out one, or all without parts."),
]


def evaluate(
    voice: Voice,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A bundle that fit wrote: model.regraft")
    ],
    source: Source,
    split: Part = None,
    label: Label = None,
    labels: Labels = None,
    separator: Separator = None,
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
    robust: Robust = False,
    eps: Eps = None,
    norm: Norm = None,
    attack: Attack = None,
    examples: Examples = None,
    corruptions: Corruptions = False,
    risk: Risk = None,
    unlike: Unlike = None,
    repair: Repair = False,
    tiles: Tiles = None,
) -> Reply:
    """Measure a model on labelled examples."""
    import regraft

    asked = given(eps=several(eps), norm=norm, attack=attack, attacked=examples)
    _refuse_useless(asked, robust)
    check_output("--report", report, (".html", ".json"))
    found = regraft.evaluate(
        model,
        source,
        **given(label=label, group=group, path_column=path_column, text=text, root=root),
        **given(**of_labels(None, labels, separator), risk=risk, unlike=unlike),
        split=split,
        heat_maps=heat_maps,
        **given(at=at, positive=positive, repair=repair or None, tiles=tiles),
        robust=robust,
        corruptions=corruptions,
        **asked,
        progress=voice.progress,
    )
    voice.print(found.table(voice.width))
    show_parts(voice, found.record)
    if report is not None:
        found.save(report)
        voice.print(f"\nwritten: {report}")
    return Reply(without_thumbnails(found.record))


def _refuse_useless(asked: dict[str, Any], robust: bool) -> None:
    if asked and not robust:
        raise UsageError(
            "--eps, --norm, --attack, --examples: are for --robust; add it or leave them out"
        )
