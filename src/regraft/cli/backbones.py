"""regraft backbones: the catalog of pretrained networks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import Licences, several
from regraft.cli.tables import table
from regraft.errors import UsageError

if TYPE_CHECKING:
    from regraft.backbones.catalog import CatalogRow

COLUMNS = ("name", "million", "upstream", "size", "code", "weights", "source", "here")


def backbones(
    voice: Voice,
    here: Annotated[
        bool, typer.Option("--here", help="Only networks whose weights are on this machine.")
    ] = False,
    licence: Licences = None,
    family: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only networks of this family.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only networks with this in their name.")
    ] = None,
) -> Reply:
    """List the pretrained networks that can be used by name."""
    from regraft.backbones.catalog import available, catalog

    rows = list(catalog().values())
    licences = several(licence)
    if mistakes := list(_mistakes(rows, licences, family)):
        raise UsageError(*mistakes)
    allowed = {name.casefold() for name in licences}
    found = [
        _record(row, place.here, place.reason)
        for row in rows
        if (not allowed or row.licence_weights.casefold() in allowed)
        and (family is None or row.family == family)
        and (search is None or _mentions(row, search))
        and ((place := available(row)) or not here)
    ]
    voice.print(table(COLUMNS, map(_cells, found), ("million", "upstream", "size")))
    voice.print(f"{len(found)} of {len(rows)} networks; upstream: ImageNet-1k top-1, as published")
    return Reply({"backbones": found})


def _mistakes(
    rows: "list[CatalogRow]", licences: tuple[str, ...], family: str | None
) -> Iterator[str]:
    known = sorted({row.licence_weights for row in rows})
    for name in licences:
        if name.casefold() not in {k.casefold() for k in known}:
            yield f"--licence: no weights are under {name!r}; known: {', '.join(known)}"
    families = sorted({row.family for row in rows})
    if family is not None and family not in families:
        yield f"--family: {family!r} is not known; choose one of {', '.join(families)}"


def _mentions(row: "CatalogRow", text: str) -> bool:
    return text.casefold() in f"{row.name} {row.source} {row.architecture}".casefold()


def _record(row: "CatalogRow", here: bool, reason: str) -> dict[str, Any]:
    from regraft.modalities.spec import UNITS

    return {
        "name": row.name,
        "parameters": row.parameters,
        "gflops": row.gflops,
        "upstream_score": row.upstream_score,
        "score_from": row.score_from,
        "size": row.spec.size,
        "unit": UNITS[row.spec.reads].sign,
        "licence_code": row.licence_code,
        "licence_weights": row.licence_weights,
        "source": row.source,
        "architecture": row.architecture,
        "family": row.family,
        "here": here,
        "missing": None if here else reason,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    score = row["upstream_score"]
    return [
        row["name"],
        f"{row['parameters'] / 1e6:.1f}",
        "–" if score is None else f"{score:.1f} %",
        f"{row['size']} {row['unit']}",
        row["licence_code"],
        row["licence_weights"],
        row["source"],
        "✓" if row["here"] else "",
    ]
