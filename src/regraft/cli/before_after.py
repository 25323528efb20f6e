"""What the verbs Model → Model share: their options, the table of both models, the new bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import check_output, given
from regraft.cli.tables import table
from regraft.errors import UsageError

if TYPE_CHECKING:
    from regraft.verbs.fitted import Fitted

ANY, BUNDLE = "any", (".regraft",)

SmallModel = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A bundle that fit wrote: model.regraft")
]


SmallData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="Examples; by default those of the fit: what the model learned from teaches or "
        "calibrates, the others are measured on.",
    ),
]
SmallOut = Annotated[
    Path,
    typer.Option("--out", metavar="FILE", help="The bundle to write; ends in .regraft."),
]
MaxDrop = Annotated[
    str | None,
    typer.Option(
        metavar="POINTS",
        help="Of accuracy that may be lost, or nothing is written; any: whatever it loses. By "
        "default 1.",
    ),
]


def allowed(max_drop: str | None) -> dict[str, Any]:
    """`--max-drop` as a setting; none where it was not given. Raises UsageError."""
    if max_drop is None:
        return {}
    try:
        return {"max_drop": None if max_drop == ANY else float(max_drop)}
    except ValueError:
        raise UsageError(
            f"--max-drop: expected points such as 0.5, or {ANY}, got {max_drop!r}"
        ) from None


def smaller(
    voice: Voice,
    verb: str,
    model: Path,
    data: str | None,
    out: Path,
    max_drop: str | None,
    **asked: Any,
) -> Any:
    """The model that a public function, prune or quantize, makes; nothing is written yet.

    asked  its settings; those that were not set are left out
    """
    import regraft

    check_output("--out", out, BUNDLE)
    make = getattr(regraft, verb)
    return make(model, data, progress=voice.progress, **given(**asked), **allowed(max_drop))


def show_before_after(voice: Voice, record: Mapping[str, Any]) -> None:
    """The table of both models on the same examples."""
    from regraft.evaluation.before_after import COLUMNS, table_rows

    voice.print(f"{record['verb']}: {record['told']}")
    voice.print(f"measured on {record['n']} examples {record['examples']}\n")
    voice.print(table(COLUMNS, table_rows(record), COLUMNS[1:]))


def written(voice: Voice, model: Any, out: Path) -> Reply:
    """Save the new model, and tell what has changed."""
    record = model.record["before_after"]
    model.save(out)
    show_before_after(voice, record)
    voice.print(f"written: {out}")
    return Reply({"out": str(out), "before_after": record})


def reported(voice: Voice, fitted: "Fitted", out: Path, report: Path | None) -> Reply:
    """Save a fitted model and its report, and tell both it and what has changed."""
    from regraft.cli import outputs

    paths = outputs.save_as(fitted, out, report)
    outputs.show(voice, fitted, paths)
    voice.print("")
    show_before_after(voice, fitted.report.record["before_after"])
    return Reply(outputs.made_document(fitted, paths))
