"""regraft demo: from nothing to a model and its report, on pictures that are made here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli import outputs
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import Seed, given

if TYPE_CHECKING:
    from regraft.verbs.fitted import Fitted


def demo(
    voice: Voice,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write.")] = Path("demo"),
    seed: Seed = None,
) -> Reply:
    """Learn handwritten digits, to show what transfer is worth."""
    import regraft

    with outputs.made(out):
        fitted: Fitted = regraft.demo(out, progress=voice.progress, **given(seed=seed))
        paths = outputs.save(fitted, out)
    outputs.show(voice, fitted, paths)
    summary = _summary(fitted.report.record["tried"], paths)
    voice.print(f"\n{summary}")
    return Reply(outputs.document(fitted, out, paths) | {"summary": summary})


def _summary(tried: list[dict[str, Any]], paths: dict[str, Path]) -> str:
    """One sentence from the figures."""
    from regraft.evaluation.report import per_hundred
    from regraft.verbs.demo import LABELS

    ours = next(row["score"]["value"] for row in tried if row["kept"])
    baselines = [row for row in tried if row["kind"] == "baseline"]
    best = max(baselines, key=lambda row: row["score"]["value"])
    theirs = best["score"]["value"]
    verdict = "beat" if ours > theirs else "did not beat"
    return (
        f"Transfer {verdict} {best['name']}: it names {per_hundred(ours)} of 100 unseen digits "
        f"against {per_hundred(theirs)}, after {LABELS} examples of each; the model is in "
        f"{paths['bundle']}, its report in {paths['report']}."
    )
