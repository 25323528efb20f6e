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

Strategies = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Several times or with commas; by default scratch, copy, probe and lp-ft.",
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
    }
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

    title = FIGURES[found.record.get("figure", "accuracy")].title
    rows = []
    for row in found.record["strategies"]:
        score, gain = row["score"], row["against_probe"]
        ends = "" if score["low"] is None else f"{score['low']:.1%} – {score['high']:.1%}"
        change = "" if gain is None else f"{100 * gain['difference']:+.1f} points"
        robust = [f"{row['robust']['value']:.1%}"] if "robust" in row else []
        value = "–" if score["value"] is None else f"{score['value']:.1%}"
        facts = [value, ends, change, *robust, f"{row['seconds']:.0f} s"]
        rows.append([row["name"], *facts])
    attacked = [row["robust"] for row in found.record["strategies"] if "robust" in row]
    more = ["under attack"] if attacked else []
    heads = ("strategy", title, "95 % interval", "against probe", *more, "time")
    voice.print(table(heads, rows))
    if attacked:
        first = attacked[0]
        voice.print(f"under attack: PGD on {first['n']} of them, for {first['attack']}; empirical")
    for warning in found.record["warnings"]:
        voice.print(f"! {warning}")
