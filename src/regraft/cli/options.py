"""Options that several verbs share, and how text from the command line becomes a setting."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.errors import UsageError


def network_names(incomplete: str) -> list[str]:
    """For tab completion: names of the catalog."""
    from regraft.backbones.catalog import catalog

    return [name for name in catalog() if name.startswith(incomplete)]


Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder with one sub-folder per class, or a CSV, TSV, Parquet or JSON-lines "
        "manifest.",
    ),
]
Label = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of a manifest that holds the labels.")
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="TASK",
        help="Of a manifest: tags (any number of labels each), regression (numbers), transcribe: "
        "recordings (path) with what is said (text). By default what SOURCE itself tells.",
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        metavar="COLUMNS",
        help="Several columns of labels: tags as 0 or 1, or numbers; several times or with commas.",
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Between the tags in a cell, such as ';'."),
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of what must not be torn apart by a split, such as the patient.",
    ),
]
PathColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column of a manifest that holds the files.")
]
Text = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of a manifest that holds the examples: texts."),
]
Root = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Folder that a manifest's files are in; by default its own."
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--modality",
        metavar="KIND",
        help="Kind of data: image, text, audio, volume; by default what most files are by their "
        "endings. volume: a folder of DICOM slices is one example, a TIFF file its pages.",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        metavar="WINDOW",
        help="Of medical and 16-bit pictures, which values become black and white: file (the "
        "default), percentile, full, or centre,width such as 40,400.",
    ),
]
Patients = Annotated[
    str | None,
    typer.Option(
        metavar="shared",
        help="shared: a given split may have a patient's medical files in several parts; refused "
        "by default.",
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="POINT",
        help="Operating point, such as 'sensitivity>=0.95', 'ppv>=0.8', youden or "
        "'probability>=0.3': chosen on answers that were not learned from; by default the most "
        "probable class is the answer.",
    ),
]
Positive = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS",
        help="Class that --at and the decision curve are about; of two classes the second.",
    ),
]
Repair = Annotated[
    bool,
    typer.Option("--repair", help="Mend boxes with a fault where that can be done; else left out."),
]
Tiles = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Of a detector: look at N by N parts of a picture too, for small objects."
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column that names train, validation or test."),
]
Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="Pretrained network, several times or with commas; see: regraft backbones.",
        autocompletion=network_names,
    ),
]
Size = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="Height and width that the network reads.")
]
Licences = Annotated[
    list[str] | None,
    typer.Option(
        "--licence",
        metavar="NAME",
        help="Allow only weights under this licence; several times or with commas.",
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What runs the network: openvino, onnxruntime or torch."),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        metavar="POINTS",
        help="Points of accuracy that may be lost, such as 0.5; beyond it nothing is written.",
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="NUMBER", help="Of everything random.")]


def given(**settings: Any) -> dict[str, Any]:
    """The settings that were set on the command line."""
    return {name: value for name, value in settings.items() if value not in (None, (), [])}


def columns(
    label: str | None,
    group: str | None,
    path_column: str | None,
    text: str | None,
    split: str | None,
    root: Path | None,
) -> dict[str, Any]:
    """What is said of a manifest, by the names that a recipe has for it."""
    told = {"label": label, "group": group, "path_column": path_column, "text": text}
    return told | {"split": split, "root": None if root is None else str(root)}


def of_labels(
    task: str | None, labels: Iterable[str] | None, separator: str | None
) -> dict[str, Any]:
    """What is said of the labels of a manifest beside their column."""
    return {"task": task, "labels": several(labels), "separator": separator}


def several(values: Iterable[str] | None) -> tuple[str, ...]:
    """``["a,b", "c"]`` → ``("a", "b", "c")``."""
    return tuple(name.strip() for value in values or () for name in value.split(","))


def lists(**values: Iterable[str] | None) -> dict[str, tuple[str, ...]]:
    """Options that may be given several times, each as `several` gives it."""
    return {name: several(value) for name, value in values.items()}


def check_output(option: str, path: Path | None, endings: Sequence[str] = ()) -> None:
    """Raise UsageError, before the work, for a file that could not be written after it."""
    if path is None:
        return
    if endings and path.suffix.lower() not in endings:
        raise UsageError(
            f"{option}: expected a name that ends in {' or '.join(endings)}, got {path}"
        )
    if path.is_dir():
        raise UsageError(f"{option}: {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"{option}: the folder {path.parent} does not exist; create it first")
