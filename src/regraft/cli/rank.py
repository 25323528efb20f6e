"""regraft rank: which pretrained network suits the examples best."""

from shlex import quote
from typing import Annotated

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    Backbones,
    Engine,
    Group,
    Kind,
    Label,
    Licences,
    PathColumn,
    Root,
    Seed,
    Size,
    Source,
    SplitColumn,
    Text,
    columns,
    given,
    several,
)
from regraft.errors import UsageError


def rank(
    voice: Voice,
    source: Source,
    backbone: Backbones = None,
    licence: Licences = None,
    size: Size = None,
    time_limit: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Wall-clock time to use, such as 90s or 10min."),
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Only networks with at most so many.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Rows of the table; --json has all.")
    ] = None,
    include_missing: Annotated[
        bool,
        typer.Option(
            "--include-missing", help="Also networks whose weights have to be downloaded."
        ),
    ] = False,
    engine: Engine = None,
    seed: Seed = None,
    label: Label = None,
    group: Group = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
    split_column: SplitColumn = None,
    modality: Kind = None,
) -> Reply:
    """Rank pretrained networks by how well they suit your data."""
    wanted = given(
        backbones=several(backbone),
        licence=several(licence),
        size=size,
        time_limit=_time(time_limit),
        max_parameters=max_parameters,
        limit=limit,
        engine=engine,
        seed=seed,
    )
    import regraft
    from regraft.data.sources import load

    told = columns(label, group, path_column, text, split_column, root)
    data = load(source, modality=modality, **told)
    found = regraft.rank(data, include_missing=include_missing, progress=voice.progress, **wanted)
    best = found.best
    voice.print(found.table())
    for skipped in (*found.skipped, *found.left_out):
        voice.print(f"left out: {skipped.name}: {skipped.reason}")
    voice.print(f"\nto use the best: regraft fit {quote(source)} --backbone {best.name}")
    return Reply(found.to_dict())


def _time(text: str | None) -> float | None:
    from regraft.recipe import seconds

    try:
        return None if text is None else seconds(text)
    except UsageError as error:
        raise UsageError(
            *(m.replace("budget", "--time-limit", 1) for m in error.mistakes)
        ) from None
