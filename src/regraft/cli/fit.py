"""regraft fit: examples → a model, its report, and how to repeat it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli import outputs
from regraft.cli.edge import Reply, Voice
from regraft.cli.options import (
    At,
    Backbones,
    Engine,
    Group,
    Kind,
    Label,
    Labels,
    Licences,
    PathColumn,
    Patients,
    Positive,
    Repair,
    Root,
    Seed,
    Separator,
    Size,
    SplitColumn,
    Task,
    Text,
    Window,
    columns,
    given,
    lists,
    of_labels,
)
from regraft.errors import UsageError

if TYPE_CHECKING:
    from regraft.recipe import Recipe

OptionalSource = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="A folder with one sub-folder per class, or a CSV, TSV, Parquet or JSON-lines "
        "manifest; boxes: COCO, Pascal VOC, YOLO, CSV; may be left out where --recipe names it.",
    ),
]
Out = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where to write; by default ./NAME.out")
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Repeat a run; options given here come first."),
]
Budget = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Wall-clock time to use, such as 90s or 10min."),
]
Views = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Views of a picture whose features are averaged: centre, whole-mirrored; several "
        "times or with commas.",
    ),
]
Strategies = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="How to train beyond the probe, one after the other; probe: not at all. By default "
        "chosen: regraft compare shows all.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the training that was interrupted in --out."),
]
Logs = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="NAME",
        help="Where the curve of training goes beside JSON lines: tensorboard, mlflow.",
    ),
]
RUN = "run"  # folder in --out for checkpoints and logs of training

Parts = Annotated[
    str | None,
    typer.Option(
        metavar="TRAIN,VALIDATION,TEST",
        help="Shares of a split that is made here, such as 0.7,0.15,0.15",
    ),
]


def fit(
    voice: Voice,
    source: OptionalSource = None,
    out: Out = None,
    recipe: RecipeFile = None,
    budget: Budget = None,
    backbone: Backbones = None,
    size: Size = None,
    views: Views = None,
    engine: Engine = None,
    licence: Licences = None,
    seed: Seed = None,
    parts: Parts = None,
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
    window: Window = None,
    patients: Patients = None,
    at: At = None,
    positive: Positive = None,
    strategy: Strategies = None,
    log: Logs = None,
    repair: Repair = False,
    resume: Resume = False,
    **training: Any,
) -> Reply:
    """Fit a model to your own examples and measure it."""
    from regraft.recipe import Recipe

    asked = (Recipe() if recipe is None else _read(recipe)).changed(
        **given(
            source=source,
            budget=budget,
            size=size,
            engine=engine,
            seed=seed,
            parts=_shares(parts),
            **columns(label, group, path_column, text, split_column, root),
            **of_labels(task, labels, separator),
            **given(modality=modality, window=window, patients=patients),
            at=at,
            positive=positive,
            **lists(backbone=backbone, views=views, licence=licence, strategy=strategy, log=log),
            repair=repair or None,
            **training,
        )
    )
    if not asked.source:
        raise UsageError("SOURCE: name a folder or a manifest, or give a --recipe with a source")
    return _fitted(voice, asked, out or outputs.default_folder(asked.source), resume)


def _fitted(voice: Voice, asked: "Recipe", folder: Path, resume: bool) -> Reply:
    from regraft.training.devices import is_first
    from regraft.verbs.fit import fit_and_report

    with outputs.made(folder):
        run = folder / RUN
        fitted = fit_and_report(
            asked.source, asked, progress=voice.progress, run=run, resume=resume
        )
        if not is_first():  # of several processes under torchrun
            return Reply({})
        paths = outputs.save(fitted, folder)
    outputs.show(voice, fitted, paths)
    return Reply(outputs.document(fitted, folder, paths))


def _read(file: Path) -> "Recipe":
    """A recipe file; mistakes in it are told with its name."""
    from regraft.recipe import Recipe

    try:
        return Recipe.from_toml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--recipe {file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--recipe {file}: is not text in UTF-8") from None
    except UsageError as error:
        raise UsageError(*(f"--recipe {file}: {one}" for one in error.mistakes)) from None


def _shares(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError:
        raise UsageError(f"--parts: expected shares such as 0.7,0.15,0.15, got {text!r}") from None
