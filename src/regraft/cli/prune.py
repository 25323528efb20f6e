"""regraft prune: a model → the same with fewer channels, taught by what it was."""

from typing import Annotated, Any

import typer

from regraft.cli.before_after import MaxDrop, SmallData, SmallModel, SmallOut, smaller, written
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import Label, PathColumn, Root, Seed, Text, columns, several
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
    data: SmallData = None,
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
    sparsity: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Instead, for study: so many single weights become zero, the smallest; nothing "
            "gets faster or smaller by it.",
        ),
    ] = None,
    max_drop: MaxDrop = None,
    seed: Seed = None,
    label: Label = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
) -> Reply:
    """Make a model faster: fewer channels in its network."""
    from regraft.recipe import seconds

    how = {"target": several(target), "importance": importance, "floor": floor}
    how |= {"budget": None if budget is None else seconds(budget), "sparsity": sparsity}
    told = columns(label, None, path_column, text, None, root)
    small = smaller(voice, "prune", model, data, out, max_drop, seed=seed, **how, **told)
    found = small.record["pruned"]
    show = _show_curve if "curve" in found else _show_zeros
    show(voice, found)
    reply = written(voice, small, out)
    return Reply({**reply.document, "pruned": found})


def _show_zeros(voice: Voice, told: dict[str, Any]) -> None:
    """What became zero, and that it helps nobody but who studies it."""
    zeros = ", ".join(f"{share:.1%}" for share in told["zeros"])
    voice.print(
        f"{zeros} of the weights are zero: no engine here skips single zeros, so that nothing is "
        "faster or smaller; for that give a --target, or use regraft quantize"
    )


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
