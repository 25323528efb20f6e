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
from regraft.cli.tables import table
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
        **given(**of_labels(None, labels, separator)),
        split=split,
        heat_maps=heat_maps,
        **given(at=at, positive=positive, repair=repair or None, tiles=tiles),
        robust=robust,
        corruptions=corruptions,
        **asked,
        progress=voice.progress,
    )
    voice.print(found.table(voice.width))
    _show_parts(voice, found.record)
    if report is not None:
        found.save(report)
        voice.print(f"\nwritten: {report}")
    return Reply(without_thumbnails(found.record))


def _refuse_useless(asked: dict[str, Any], robust: bool) -> None:
    if asked and not robust:
        raise UsageError(
            "--eps, --norm, --attack, --examples: are for --robust; add it or leave them out"
        )


def _show_parts(voice: Voice, record: dict[str, Any]) -> None:
    _show_robust(voice, record.get("robust"))
    _show_corruptions(voice, record.get("corruptions"))


def _show_robust(voice: Voice, found: dict[str, Any] | None) -> None:
    """Clean and robust accuracy, and whether it can be believed."""
    from regraft.evaluation.report import share, span

    if found is None:
        return
    voice.print(f"\nunder attack: {found['n']} {found['noun']}, {found['norm']}, {found['attack']}")
    shares = [("none", found["clean"])]
    shares += [(f"ε = {point['told']}", point["accuracy"]) for point in found["points"]]
    heads = ("change", "right", "95 % interval")
    rows = [[change, share(one["value"]), span(one)] for change, one in shares]
    noise = [point.get("snr") for point in found["points"]]
    voice.print(table(heads, rows, heads[1:]))
    if told := [f"{decibels:.0f}" for decibels in noise if decibels is not None]:
        voice.print(f"the changes are {', '.join(told)} dB below the recordings")
    if not found["whole"]:
        voice.print("a quick attack: these are upper bounds, a stronger one may find more")
    if found["reliable"]:
        voice.print(f"{len(found['checks'])} checks of the attack passed; empirical, Lp only")
    for reason in found["why"]:
        voice.print(f"! UNRELIABLE: {reason}")


def _show_corruptions(voice: Voice, found: dict[str, Any] | None) -> None:
    """The mean and the worst."""
    from regraft.evaluation.report import share, span

    if found is None:
        return
    mean, worst, lowest = found["mean"], found["worst"], found["lowest"]
    clean = share(found["clean"]["value"])
    voice.print(
        f"\non worse examples ({found['n']}, {len(found['rows'])} kinds, 5 severities): "
        f"{share(mean['value'])} right ({span(mean)}), as they are {clean}",
        f"worst: {worst['name']} {share(worst['value'])}; lowest: {lowest['name']} at severity "
        f"{lowest['severity']} {share(lowest['value'])}",
    )
