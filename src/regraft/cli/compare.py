"""regraft compare: strategies side by side on the same examples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli import outputs
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    Engine,
    Group,
    Kind,
    Label,
    PathColumn,
    Patients,
    Root,
    Size,
    Source,
    SplitColumn,
    Text,
    Window,
    columns,
    given,
    network_names,
    several,
)
from regraft.cli.tables import table

if TYPE_CHECKING:
    from regraft.verbs.compared import Comparison

BUDGET = "10min"
BEYOND = {"corrupted": "on worse ones", "robust": "under attack"}  # keys of a row: their columns

Strategies = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Several times or with commas; by default scratch, copy, probe and lp-ft.",
    ),
]
Variants = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Each strategy also with each of these: focal, label-smoothing, smooth-l1, cross-"
        "entropy, class-balanced, balanced, plain, strong, mixup, average, no-average, wise-ft, "
        "no-wise-ft. A single one: --strategies lp-ft,lp-ft+focal.",
    ),
]
ROBUST = "On worse examples and under attack"
Robust = Annotated[
    bool,
    typer.Option(
        "--robust",
        help="Measure each row there too; takes minutes for each, beside the budget.",
        rich_help_panel=ROBUST,
    ),
]
Eps = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Size of the changes, as of evaluate; by default 2/255 of black to white.",
        rich_help_panel=ROBUST,
    ),
]
RobustBy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="pgd (default: quick, an upper bound) or autoattack; --attack: what is learned from.",
        rich_help_panel=ROBUST,
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Held-out ones, at most; by default 100.", rich_help_panel=ROBUST
    ),
]
Amounts = Annotated[
    list[str] | None,
    typer.Option(metavar="N", help="Also with so many examples of each class: learning curves."),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Pretrained network; see: regraft backbones.",
        autocompletion=network_names,
    ),
]


def compare(
    voice: Voice,
    source: Source,
    strategies: Strategies = None,
    labels: Amounts = None,
    seeds: Annotated[
        list[str] | None, typer.Option(metavar="N", help="Several times or with commas.")
    ] = None,
    variants: Variants = None,
    robust: Robust = False,
    eps: Eps = None,
    robust_by: RobustBy = None,
    examples: Examples = None,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="Of all runs together; shortens them if it must.")
    ] = BUDGET,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to write; by default ./NAME.out")
    ] = None,
    backbone: Backbone = None,
    size: Size = None,
    engine: Engine = None,
    label: Label = None,
    group: Group = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
    split_column: SplitColumn = None,
    modality: Kind = None,
    window: Window = None,
    patients: Patients = None,
    **training: Any,
) -> Reply:
    """Compare strategies of training on the same examples."""
    import regraft

    settings = columns(label, group, path_column, text, split_column, root) | training
    settings |= {"modality": modality, "window": window, "patients": patients}
    network = {"backbone": backbone, "size": size, "engine": engine, "budget": budget}
    asked: dict[str, Any] = {
        "strategies": several(strategies),
        "labels": _numbers(labels),
        "seeds": _numbers(seeds),
        "variants": several(variants),
        "robust": robust or None,
    }
    asked |= {"eps": eps, "robust_by": robust_by, "attacked": examples}
    folder = out or outputs.default_folder(source)
    with outputs.made(folder):
        found: Comparison = regraft.compare(
            source, progress=voice.progress, **given(**asked, **network, **settings)
        )
        page = found.save(folder / "compare.html")
        record = found.save(folder / "compare.json")
    _show(voice, found)
    voice.print(f"written: {page}", f"written: {record}")
    return Reply(found.record | {"out": str(folder), "page": str(page), "record": str(record)})


def _numbers(texts: list[str] | None) -> tuple[int | str, ...]:
    """Whole numbers; other text stays, to be told with everything else that is wrong."""
    return tuple(int(text) if text.isdecimal() else text for text in several(texts))


def _show(voice: Voice, found: "Comparison") -> None:
    from regraft.evaluation.compare_page import FIGURES

    record = found.record
    title = FIGURES[record.get("figure", "accuracy")].title
    there = {k: v for k, v in BEYOND.items() if any(k in row for row in record["strategies"])}
    rows = []
    for row in record["strategies"]:
        score, gain = row["score"], row["against_probe"]
        ends = "" if score["low"] is None else f"{score['low']:.1%} – {score['high']:.1%}"
        change = "" if gain is None else f"{100 * gain['difference']:+.1f} points"
        value = "–" if score["value"] is None else f"{score['value']:.1%}"
        more = [_beyond(row.get(name)) for name in there]
        rows.append([row["name"], value, ends, change, *more, f"{row['seconds']:.0f} s"])
    heads = ("strategy", title, "95 % interval", "against probe", *there.values(), "time")
    voice.print(table(heads, rows))
    first = next((row["robust"] for row in record["strategies"] if row.get("robust")), None)
    if first is not None:
        how = first["attack"] if "clean" in first else f"PGD, for {first['attack']}"
        voice.print(f"under attack: on {first['n']} of them, {how}; empirical")
    for warning in record["warnings"]:
        voice.print(f"! {warning}")


def _beyond(found: dict[str, Any] | None) -> str:
    """A share, with the ends of its interval where they are known."""
    if found is None:
        return "–"
    mark = "" if found.get("reliable", True) else " (unreliable)"
    ends = f" ({found['low']:.0%}–{found['high']:.0%})" if found.get("low") is not None else ""
    return f"{found['value']:.1%}{ends}{mark}"
