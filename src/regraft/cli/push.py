"""regraft push: a model into a repository of the Hugging Face Hub."""

from typing import Annotated

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.tables import pairs


def push(
    voice: Voice,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A bundle that fit wrote, or a folder of export."),
    ],
    repository: Annotated[
        str,
        typer.Argument(metavar="OWNER/NAME", help="Made where there is none; HF_TOKEN opens it."),
    ],
    private: Annotated[
        bool,
        typer.Option(
            "--private/--public", help="Who may see it; into a public one nothing goes unasked."
        ),
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be sent, and send nothing.")
    ] = False,
) -> Reply:
    """Put a model and its card on the Hugging Face Hub."""
    from regraft.verbs.push import Files
    from regraft.verbs.push import push as send

    def listed(files: Files) -> None:
        seen = "private" if private else "public"
        voice.print(
            f"to {repository}, {seen} where it is new",
            pairs((one["name"], f"{one['bytes']:,} bytes") for one in files),
        )

    done = send(model, repository, private=private, dry_run=dry_run, listed=listed)
    end = "nothing was sent" if dry_run else f"sent as {done['commit']}"
    voice.print(f"\n{end}: {done['address']}")
    return Reply(done)
