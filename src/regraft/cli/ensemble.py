"""regraft ensemble: models of the same classes → one model of them."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli.before_after import reported
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    Group,
    Label,
    MaxDrop,
    PathColumn,
    Root,
    Seed,
    SplitColumn,
    Text,
    check_output,
    columns,
    given,
)

Bundle = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="The bundle to write; ends in .regraft.")
]
Page = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a report: FILE.html or FILE.json")
]


def ensemble(
    voice: Voice,
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Two or more bundles: model.regraft")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Examples to choose by and to measure on, as for fit; a member's own examples "
            "are left out.",
        ),
    ],
    out: Bundle = Path("whole.regraft"),
    report: Page = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="best, average, greedy (side by side); uniform-soup, greedy-soup, wise (one "
            "network of averaged weights); by default chosen on examples that taught no member.",
        ),
    ] = None,
    max_drop: MaxDrop = None,
    seed: Seed = None,
    label: Label = None,
    group: Group = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
    split_column: SplitColumn = None,
) -> Reply:
    """Make one model of several: an ensemble or an average."""
    import regraft

    check_output("--out", out, (".regraft",))
    check_output("--report", report, (".html", ".json"))
    told = columns(label, group, path_column, text, split_column, root)
    fitted = regraft.ensemble(
        models,
        data,
        **given(method=method, max_drop=max_drop, seed=seed, **told),
        progress=voice.progress,
    )
    return reported(voice, fitted, out, report)
