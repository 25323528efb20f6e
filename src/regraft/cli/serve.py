"""regraft serve: models over HTTP, and a page to try them."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from regraft.cli.edge import Reply, Voice
from regraft.errors import MissingExtra, UsageError

SHORTEST = 16  # characters of a token
TOKEN = "REGRAFT_TOKEN"
NEEDED = ("starlette", "uvicorn", "prometheus_client")


Served = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Bundles that fit wrote; NAME=model.regraft gives one a name of your choice. The "
        "first answers where a request names none.",
    ),
]
Host = Annotated[
    str, typer.Option(metavar="ADDRESS", help="To listen on; by default only this machine.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, metavar="NUMBER", help="0: any that is free.")]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        envvar=TOKEN,
        show_envvar=False,
        help="Answer only requests with: Authorization: Bearer TEXT. Better put it into "
        f"{TOKEN}: other users of this machine can read a command line.",
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Serve other machines without a token.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Another name that this server goes by, several times."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=256, metavar="NUMBER", help="Threads; by default one a core."),
]
Waiting = Annotated[
    int, typer.Option(min=1, metavar="NUMBER", help="Examples that may wait; more get a 503.")
]
Deadline = Annotated[
    float,
    typer.Option(min=0.001, max=3600, metavar="SECONDS", help="For an answer; then a 503."),
]
MaxBody = Annotated[int, typer.Option(min=1, max=512, metavar="MIB", help="Of one request.")]


def serve(
    voice: Voice,
    models: Served,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Token = None,
    insecure: Insecure = False,
    allow_host: AllowHost = None,
    workers: Workers = None,
    queue: Waiting = 256,
    deadline: Deadline = 30.0,
    max_body: MaxBody = 32,
) -> Reply:
    """Answer over HTTP, and on a page for trying."""
    refuse_missing()
    if mistakes := list(_mistakes(host, token, insecure)):
        raise UsageError(*mistakes)
    from regraft.backbones.runtimes import lanes
    from regraft.model.offered import Offered
    from regraft.serve.answering import open_all
    from regraft.serve.app import Limits, Service
    from regraft.serve.server import bound, is_local, run, url_of

    listening = bound(host, port)
    try:
        opened = open_all(models, Offered.open)
        limits = Limits(max_body * 2**20, queue, deadline, min(queue, Limits.at_once))
        local = is_local(host)
        hosts = _names(host, allow_host) if local or allow_host else None
        service = Service(opened, limits, workers or lanes(), token, hosts)
        url = url_of(listening)
        run(service, listening, lambda: _tell(voice, url, service, local), voice.progress.say)
    finally:
        listening.close()
    return Reply({"url": url, "models": list(opened), "stopped": True})


def refuse_missing() -> None:
    """Raise MissingExtra where a library that serves is not installed."""
    from importlib.util import find_spec

    for library in NEEDED:
        if find_spec(library) is None:
            raise MissingExtra(library, "serve")


def _mistakes(host: str, token: str | None, insecure: bool) -> Iterator[str]:
    from regraft.serve.server import is_local

    if not is_local(host) and token is None and not insecure:
        yield (
            f"--host: {host} can be reached from other machines; set a token in {TOKEN} or with "
            "--token, or allow everybody with --insecure"
        )
    if token is not None and (len(token) < SHORTEST or not token.isascii() or " " in token):
        yield (
            f"--token: expected {SHORTEST} or more ASCII characters without blanks; for example: "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )


def _names(host: str, more: list[str] | None) -> set[str]:
    return {"localhost", "127.0.0.1", "::1", host.lower(), *(n.lower() for n in more or ())}


def _tell(voice: Voice, url: str, service: Any, local: bool) -> None:
    """Once all is ready; flushed, for whoever waits for this line."""
    for name, served in service.models.items():
        about = served.now.about()
        what = f"{about['task']} of {about['modality']}"
        classes = f", {len(about['classes'])} classes" if about["classes"] else ""
        voice.print(f"{name}: {what}{classes}, {served.path}")
    voice.print(f"serving on {url}" + (" (the page and the API)" if voice.out.isatty() else ""))
    voice.out.flush()
    if voice.json:
        voice.progress.say(f"serving on {url}")
    if not local:
        voice.progress.say(
            "other machines reach this address, without encryption: put a proxy with TLS before it"
        )
