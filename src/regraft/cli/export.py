"""regraft export: a model → a folder that runs elsewhere, proven to answer the same."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.options import Label, PathColumn, Root, Text
from regraft.cli.tables import pairs


def export(
    voice: Voice,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A bundle that fit wrote: model.regraft")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder, or an older export.")],
    to: Annotated[
        str,
        typer.Option(metavar="FORMAT", help="onnx, openvino, torch, litert, savedmodel or keras."),
    ] = "onnx",
    examples: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="What is re-scored as a proof; by default the examples of the fit, held-out ones "
            "first.",
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Examples that are re-scored, at most.")
    ] = 256,
    batch: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1024,
            metavar="NUMBER",
            help="Examples at once; 0: any number; by default that, or 1 where a format needs one.",
        ),
    ] = None,
    label: Label = None,
    path_column: PathColumn = None,
    text: Text = None,
    root: Root = None,
) -> Reply:
    """Write a model for another runtime, with proof of parity."""
    from regraft.verbs.deployed import LIMIT
    from regraft.verbs.export import export as write

    proof = write(
        model,
        out,
        to=to,
        examples=examples,
        count=count,
        batch=batch,
        progress=voice.progress,
        label=label,
        path_column=path_column,
        text=text,
        root=root,
    )
    voice.print(
        f"{proof['examples']} examples re-scored from raw bytes in a fresh process: the same "
        f"answers, what the graph gives differs by at most {proof['largest_difference']:.1e} "
        f"(allowed: {LIMIT:g})",
        "\nwritten",
        pairs((str(path), _what(path.name)) for path in sorted(out.iterdir())),
    )
    return Reply({"out": str(out), "proof": proof})


def _what(name: str) -> str:
    told = {
        "README.md": "the model card",
        "example.py": "how to run it in a program of your own",
        "export.json": "classes, input specs, calibration",
        "proof.json": "the proof of parity",
        "record.json": "how the model came to be",
    }
    return told.get(name, "the vocabulary" if name.startswith("tokenizer") else "the graph")
