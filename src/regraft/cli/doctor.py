"""regraft doctor: what is wrong with the examples, by name."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    Engine,
    Group,
    Kind,
    Label,
    Labels,
    PathColumn,
    Repair,
    Root,
    Seed,
    Separator,
    Size,
    Source,
    SplitColumn,
    Task,
    Text,
    check_output,
    columns,
    given,
    network_names,
    of_labels,
)
from regraft.cli.tables import table
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.data.findings import Finding
    from regraft.verbs.doctor import Diagnosis

SHOWN = 5  # files of one finding on the terminal
EACH = 10  # findings of one kind on the terminal


Checker = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Pretrained network that checks the labels; see: regraft backbones.",
        autocompletion=network_names,
    ),
]


def doctor(
    voice: Voice,
    source: Source,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with small pictures.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write a row per finding and file.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a manifest (.csv, .parquet; of boxes .csv, .json) without the bad files.",
        ),
    ] = None,
    no_label_errors: Annotated[
        bool,
        typer.Option("--no-label-errors", help="Do not look for wrong labels: needs no network."),
    ] = False,
    backbone: Checker = None,
    size: Size = None,
    engine: Engine = None,
    seed: Seed = None,
    label: Label = None,
    labels: Labels = None,
    separator: Separator = None,
    task: Task = None,
    group: Group = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
    split_column: SplitColumn = None,
    modality: Kind = None,
    repair: Repair = False,
) -> Reply:
    """Find unreadable files, copies, leaks and doubtful labels."""
    import regraft

    check_output("--report", report, (".html",))
    check_output("--csv", csv, (".csv",))
    check_output("--manifest", manifest, (".csv", ".parquet", ".json"))
    told = columns(label, group, path_column, text, split_column, root)
    told |= of_labels(task, labels, separator)
    network = {"backbone": backbone, "size": size, "engine": engine, "seed": seed}
    found = regraft.doctor(
        source,
        look_for_label_errors=not no_label_errors,
        progress=voice.progress,
        **given(**told, **network, modality=modality, repair=repair or None),
    )
    _show(voice, found)
    written = _written(found, report, csv, manifest)
    for path in written.values():
        voice.print(f"written: {path}")
    return Reply(found.to_dict() | {"clean": found.clean, "written": written})


def _written(
    found: "Diagnosis", report: Path | None, csv: Path | None, manifest: Path | None
) -> dict[str, str]:
    """Write what was asked for; option → path."""
    if report is not None:
        write_atomically(report, found.page().encode("utf-8", "backslashreplace"))
    if csv is not None:
        write_atomically(csv, found.to_csv().encode("utf-8", "backslashreplace"))
    if manifest is not None:
        found.write_manifest(manifest, inside_data=True)  # the user named the place
    return {k: str(v) for k, v in given(report=report, csv=csv, manifest=manifest).items()}


def _show(voice: Voice, found: "Diagnosis") -> None:
    rows = list(_rows(found.findings))
    if rows:
        voice.print(table(("", "kind", "files", "what"), rows))
    verdict = "nothing needs a look" if found.clean else "look at the errors and warnings"
    voice.print(f"{found.n} examples, {len(found.classes)} classes: {verdict}")


def _rows(findings: Iterable["Finding"]) -> Iterator[list[str]]:
    """The grave ones first; of each kind the first ones, then how many more."""
    from regraft.data.findings import SEVERITIES

    kinds: dict[tuple[int, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((SEVERITIES.index(finding.severity), finding.kind), []).append(finding)
    for (place, kind), some in sorted(kinds.items(), key=lambda item: item[0]):
        yield from (_cells(finding) for finding in some[:EACH])
        if len(some) > EACH:
            more = f"and {len(some) - EACH} more; --csv or --report lists all"
            yield [SEVERITIES[place], kind, "", more]


def _cells(finding: "Finding") -> list[str]:
    files, rest = finding.files[:SHOWN], len(finding.files) - SHOWN
    names = [*files, *([f"and {rest} more"] if rest > 0 else [])]
    return [finding.severity, finding.kind, ", ".join(names), finding.reason]
