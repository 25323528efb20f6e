"""regraft ui: from a folder to a model, on a page."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from regraft.cli.edge import Reply, Voice
from regraft.cli.serve import Port, refuse_missing
from regraft.errors import UsageError

HOST = "127.0.0.1"
OPENS = """<!doctype html><meta charset="utf-8"><title>Regraft</title>
<meta http-equiv="refresh" content="0; url={url}"><a href="{url}">Regraft</a>"""

Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="FOLDER", help="With the examples; by default it is chosen on the page."
    ),
]
Results = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Where models are written; by default ~/regraft"),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")]


def ui(
    voice: Voice,
    folder: Folder = None,
    out: Results = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
) -> Reply:
    """Open a page that leads from a folder to a model."""
    refuse_missing()
    import secrets

    from regraft.model.offered import Offered
    from regraft.serve.answering import Models
    from regraft.serve.app import Limits, Service
    from regraft.serve.server import bound, run, url_of
    from regraft.ui.app import needs_no_token, routes
    from regraft.ui.desk import Desk
    from regraft.ui.folders import folder_of

    if folder is not None and not folder.expanduser().is_dir():
        raise UsageError(f"FOLDER: {folder} is no folder")
    chosen = None if folder is None else folder_of(str(folder.expanduser().resolve()))
    desk = Desk((out or Path("~/regraft")).expanduser().resolve(), Path.cwd(), chosen)
    token = secrets.token_urlsafe(24)
    listening = bound(HOST, port)
    service = Service(
        models=Models(()),
        limits=Limits(),
        workers=1,
        token=token,
        hosts={HOST, "localhost"},
        more=routes(desk, Offered.open),
        needs_no_token=needs_no_token,
    )
    address = url_of(listening)
    url = f"{address}/#token={token}"
    try:
        with _opener(url, not no_browser) as show:
            run(service, listening, lambda: _ready(voice, url, show), voice.progress.say)
    finally:
        listening.close()
        desk.close()
    return Reply({"url": address, "stopped": True})


def _ready(voice: Voice, url: str, show: Callable[[], None]) -> None:
    voice.print(f"serving on {url}")
    voice.out.flush()
    if voice.json:
        voice.progress.say(f"serving on {url}")
    show()


@contextmanager
def _opener(url: str, wanted: bool) -> Iterator[Callable[[], None]]:
    """What opens a browser once it is asked to.

    The address goes through a file that only this user can read: a command line, which has the
    token in it, could be read by others.
    """
    import webbrowser

    with tempfile.TemporaryDirectory(prefix="regraft-ui-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(OPENS.format(url=escape(url)), encoding="utf-8")

        def show() -> None:
            if wanted:
                webbrowser.open(page.as_uri())

        yield show
