"""regraft distil: a large model and examples → a small model that says the same."""

from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli.before_after import reported
from regraft.cli.edge import Reply, Voice
from regraft.cli.ensemble import Bundle, Page
from regraft.cli.fit import Budget, Strategies
from regraft.cli.options import (
    Engine,
    Group,
    Label,
    MaxDrop,
    PathColumn,
    Root,
    Seed,
    Size,
    SplitColumn,
    Text,
    check_output,
    columns,
    given,
    network_names,
    several,
)

Teacher = Annotated[
    Path, typer.Argument(metavar="MODEL", help="The teacher: a bundle, of an ensemble too.")
]
Data = Annotated[str, typer.Option(metavar="SOURCE", help="Examples with labels, as for fit.")]
Network = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The student: a pretrained network; see: regraft backbones.",
        autocompletion=network_names,
    ),
]
Unlabelled = Annotated[
    str | None, typer.Option(metavar="SOURCE", help="More examples; labels are not looked at.")
]
Temperature = Annotated[
    float | None,
    typer.Option(metavar="NUMBER", help="Softens the teacher's answers; by default 2."),
]
Hard = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Of the label beside the teacher; by default 0.3."),
]
Run = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Keep checkpoints and the log of training here."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the training that was interrupted in --run.")
]
Consistent = Annotated[
    bool,
    typer.Option(
        "--consistent", help="The teacher looks at each augmented picture too; takes longer."
    ),
]


def distil(
    voice: Voice,
    model: Teacher,
    data: Data,
    network: Network,
    unlabelled: Unlabelled = None,
    out: Bundle = Path("small.regraft"),
    report: Page = None,
    temperature: Temperature = None,
    hard: Hard = None,
    consistent: Consistent = False,
    max_drop: MaxDrop = None,
    budget: Budget = None,
    strategy: Strategies = None,
    size: Size = None,
    engine: Engine = None,
    seed: Seed = None,
    label: Label = None,
    group: Group = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
    split_column: SplitColumn = None,
    run: Run = None,
    resume: Resume = False,
    **training: Any,
) -> Reply:
    """Teach a small network what a large model knows."""
    import regraft

    check_output("--out", out, (".regraft",))
    check_output("--report", report, (".html", ".json"))
    told = columns(label, group, path_column, text, split_column, root)
    how: dict[str, Any] = {
        "temperature": temperature,
        "hard": hard,
        "max_drop": max_drop,
        "seed": seed,
    }
    how |= {"budget": budget, "strategy": several(strategy), "size": size, "engine": engine}
    fitted = regraft.distil(
        model,
        data,
        network=network,
        unlabelled=unlabelled,
        consistent=consistent,
        run=run,
        resume=resume,
        progress=voice.progress,
        **given(**how, **told, **training),
    )
    return reported(voice, fitted, out, report)
