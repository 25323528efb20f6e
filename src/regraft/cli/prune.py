"""regraft prune: a model → the same with fewer channels, taught by what it was."""

from typing import Annotated, Any

import typer

from regraft.cli.before_after import BUNDLE, MaxDrop, SmallModel, SmallOut, allowed, written
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    Label,
    PathColumn,
    Root,
    Seed,
    check_output,
    columns,
    given,
    several,
)
from regraft.cli.tables import table

Targets = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHAT=SHARE",
        help="macs, params, bytes or latency, as a share of what it takes now; by default "
        "macs=0.5; several times or with commas: the smallest is taken that holds.",
    ),
]


def prune(
    voice: Voice,
    model: SmallModel,
    out: SmallOut,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="Examples to learn again; by default those of the fit."
        ),
    ] = None,
    target: Targets = None,
    importance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="By what channels leave: taylor (the default), l1 or bn-scale."
        ),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Of the channels of each group that stay; by default 0.25."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Of training, such as 90s or 10min (the default)."),
    ] = None,
    max_drop: MaxDrop = None,
    seed: Seed = None,
    label: Label = None,
    path_column: PathColumn = None,
    root: Root = None,
) -> Reply:
    """Make a model faster: fewer channels in its network."""
    import regraft
    from regraft.recipe import seconds

    check_output("--out", out, BUNDLE)
    small = regraft.prune(
        model,
        data,
        progress=voice.progress,
        **given(
            target=several(target),
            importance=importance,
            floor=floor,
            budget=None if budget is None else seconds(budget),
            seed=seed,
        ),
        **allowed(max_drop),
        **columns(label, None, path_column, None, None, root),
    )
    told = small.record["pruned"]
    _show_curve(voice, told)
    reply = written(voice, small, out)
    return Reply({**reply.document, "pruned": told})


def _show_curve(voice: Voice, told: dict[str, Any]) -> None:
    """The points to choose from."""
    heads = ("", "network", "right", "multiply-adds", "weights", "network alone")
    rows = [
        [
            "✓" if point["name"] == told["target"] else "",
            point["name"],
            f"{point['accuracy']:.1%}",
            f"{point['macs']:,}",
            f"{point['parameters']:,}",
            f"{1000 * point['seconds']:.2f} ms",
        ]
        for point in told["curve"]
    ]
    voice.print(f"on {told['held_back']} examples held back from learning again")
    voice.print(table(heads, rows, heads[2:]))
