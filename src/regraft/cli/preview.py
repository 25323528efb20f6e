"""regraft preview: what augmentation makes of the pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    Label,
    PathColumn,
    Root,
    Seed,
    Size,
    Text,
    check_output,
    given,
    network_names,
)
from regraft.cli.tables import table
from regraft.errors import UsageError


def preview(
    voice: Voice,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A folder with one sub-folder per class, or a CSV, TSV, Parquet or JSON-lines "
            "manifest.",
            show_default=False,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="ROWS",
            help="Such as flip,crop=0.4; see: regraft preview --list. For boxes such as "
            "flip,scale=0.3,mosaic.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Where to write the picture.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Pretrained network whose input is shown; see: regraft backbones.",
            autocompletion=network_names,
        ),
    ] = None,
    size: Size = None,
    examples: Annotated[int | None, typer.Option(metavar="NUMBER", help="Rows.")] = None,
    views: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Augmented views in a row.")
    ] = None,
    seed: Seed = None,
    label: Label = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
    list_: Annotated[bool, typer.Option("--list", help="List the augmentations instead.")] = False,
) -> Reply:
    """Show what augmentation makes of your examples."""
    drawn = given(out=out, backbone=backbone, size=size, examples=examples, views=views, seed=seed)
    columns = given(label=label, path_column=path_column, text=text, root=root)
    settings = {**given(augment=augment), **drawn, **columns}
    if list_:
        return _listed(voice, given(source=source, **settings))
    if mistakes := list(_missing(source, out)):
        raise UsageError(*mistakes)
    check_output("--out", out, (".png",))

    from regraft.verbs.preview import preview as draw

    shown = draw(source, progress=voice.progress, **settings)
    rows = "none" if not shown.augmentations else str(shown.augmentations)
    voice.print(f"{len(shown.examples)} examples at {shown.size} px, augmented by: {rows}")
    voice.print(f"written: {shown.path}")
    return Reply(shown.to_dict())


def _missing(source: str | None, out: Path | None) -> Iterator[str]:
    if source is None:
        yield "SOURCE: name a folder or a manifest, or list the augmentations with --list"
    if out is None:
        yield "--out: name the picture to write, such as --out preview.png"


def _listed(voice: Voice, settings: dict[str, object]) -> Reply:
    if settings:
        names = ", ".join("--" + name.replace("_", "-") for name in settings)
        names = names.replace("--source", "SOURCE")
        raise UsageError(f"--list: goes with no other setting; leave out {names}")
    from regraft.modalities.augment import AUGMENTATIONS, KINDS

    kinds = {
        row.name: [name for name, kind in KINDS.items() if isinstance(row, kind.rows)]
        for row in AUGMENTATIONS.values()
    }
    rows = [row.to_dict() | {"kinds": kinds[name]} for name, row in AUGMENTATIONS.items()]
    cells = (
        [
            *(r.name, ", ".join(kinds[r.name]), f"{r.default:g}"),
            *(f"{r.lowest:g} to {r.highest:g}", r.unit, r.told),
        ]
        for r in AUGMENTATIONS.values()
    )
    heads = ("name", "for", "default", "range", "strength", "what it does")
    voice.print(table(heads, cells, ("default",)))
    sets = {name: dict(kind.sets) for name, kind in KINDS.items()}
    named = ([name, kind, text] for kind, own in sets.items() for name, text in own.items())
    voice.print(table(("set", "for", "stands for"), named))
    return Reply({"augmentations": rows, "sets": sets})
