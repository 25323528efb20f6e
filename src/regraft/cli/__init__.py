"""The command line: one short file per verb, each parse, call, print.

Heavy libraries are imported inside the verbs, so that ``regraft --help`` is there at once.
"""

from typing import Annotated

import typer

from regraft import __version__
from regraft.cli import (
    backbones,
    compare,
    demo,
    distil,
    doctor,
    ensemble,
    evaluate,
    export,
    fit,
    harden,
    predict,
    preview,
    prune,
    push,
    quantize,
    rank,
    serve,
    ui,
)
from regraft.cli.edge import Verbs, verb

app = typer.Typer(
    name="regraft",
    cls=Verbs,
    help="Graft a pretrained network onto your own data.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # rich would take as long to import as all the rest
    pretty_exceptions_enable=False,
)

for command in (
    fit.fit,
    doctor.doctor,
    rank.rank,
    compare.compare,
    preview.preview,
    evaluate.evaluate,
    harden.harden,
    prune.prune,
    quantize.quantize,
    ensemble.ensemble,
    distil.distil,
    predict.predict,
    serve.serve,
    ui.ui,
    export.export,
    push.push,
    backbones.backbones,
    demo.demo,
):
    app.command()(verb(command))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"regraft {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Graft a pretrained network onto your own data."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """The program ``regraft``."""
    app(prog_name="regraft")
