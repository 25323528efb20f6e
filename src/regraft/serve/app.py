"""The addresses of a server, and what stands behind each."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from regraft.errors import Unreadable
from regraft.serve import figures, openapi
from regraft.serve.answering import Answer, Answering, Models, Served
from regraft.serve.explaining import losses
from regraft.serve.figures import Figures
from regraft.serve.guards import OPEN, Guards, failure
from regraft.serve.reading import MOST_TOP, OF_ONE, Asked, Refused, asked_of, body_of, types_of
from regraft.serve.waiting import Overloaded, Queue

HELD = 8  # bodies of the largest size that may be in memory at once
LARGE = 65_536  # bytes of a body that is not read in the thread that answers requests

PAGE = {
    "/": ("index.html", "text/html"),
    "/ask.js": ("ask.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(frozen=True)
class Limits:
    """What one client, and all of them together, may ask for.

    body      bytes of a request
    waiting   examples that may wait
    seconds   for a body to come, and then for its answer
    at_once   examples of one request
    """

    body: int = 32 * 2**20
    waiting: int = 256
    seconds: float = 30.0
    at_once: int = 64


@dataclass(eq=False)
class Service:
    """What the addresses share.

    stopping        no new work should be sent here
    more            addresses beside ROUTES, or instead of some
    needs_no_token  whether an address answers everybody
    """

    models: Models
    limits: Limits
    workers: int
    token: str | None = None
    hosts: Collection[str] | None = None
    more: Mapping[str, tuple[Any, list[str]]] = field(default_factory=dict)
    needs_no_token: Callable[[str], bool] = OPEN.__contains__
    stopping: bool = False
    queue: Queue = field(init=False)
    figures: Figures = field(init=False)
    routes: Mapping[str, tuple[Any, list[str]]] = field(init=False)
    held: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.routes = {**ROUTES, **self.more}
        self.figures = Figures(tuple(self.routes), lambda: len(self.queue))
        self.queue = Queue(self.workers, self.limits.waiting, self.figures.told)

    def reload(self, names: Sequence[str]) -> None:
        """Read the files of some models anew."""
        for name in names:
            if (served := self.models.get(name)) is not None:
                outcome = "done" if served.reload() else "refused"
                self.figures.reloads.labels(name, outcome).inc()

    @contextmanager
    def holding(self) -> Iterator[Any]:
        """Gives what is told of bytes that are kept; they are free again at the end."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            if self.held + size > HELD * self.limits.body:
                raise Overloaded("the requests before this one fill the memory", 1)
            mine, self.held = mine + size, self.held + size

        try:
            yield hold
        finally:
            self.held -= mine


def application(service: Service) -> Starlette:
    """The ASGI application."""
    app = Starlette(
        routes=[
            Route(path, endpoint, methods=methods)
            for path, (endpoint, methods) in service.routes.items()
        ],
        middleware=[
            Middleware(
                Guards,
                token=service.token,
                hosts=service.hosts,
                seen=service.figures.seen,
                needs_no_token=service.needs_no_token,
            )
        ],
        exception_handlers={
            Refused: _refused,
            Overloaded: _overloaded,
            HTTPException: _http,
            Exception: _internal,
        },
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


# --- predictions ---------------------------------------------------------------------------------


async def _predict(request: Request) -> Response:
    service: Service = request.app.state.service
    start = time.perf_counter()
    service.queue.room()
    with service.holding() as hold:
        body = await _in_time(request, service.limits, hold)
        read = (request, body, service.models, service.limits.at_once)
        asked = await asyncio.to_thread(asked_of, *read) if len(body) > LARGE else asked_of(*read)
        work = service.queue.ask(asked.served, asked.examples, asked.top, service.limits.seconds)
        found = await _unless_left(request, work)
    answers = [_shown(asked, *one) for one in found]
    spent = {"server-timing": f"answer;dur={1000 * (time.perf_counter() - start):.1f}"}
    if asked.several:
        return JSONResponse({"predictions": answers}, headers=spent)
    return JSONResponse(answers[0], 422 if "error" in answers[0] else 200, spent)


async def _explain(request: Request) -> Response:
    """What the answer for one example loses where a part of it is hidden."""
    service: Service = request.app.state.service
    service.queue.room()
    with service.holding() as hold:
        body = await _in_time(request, service.limits, hold)
        read = (request, body, service.models, 1, ("model",), OF_ONE)
        asked = await asyncio.to_thread(asked_of, *read)
        try:
            parts = await asyncio.to_thread(asked.served.now.parts, asked.examples[0])
        except Unreadable as error:
            raise Refused(422, "unreadable", error.reason) from None
        if not parts:
            reason = f"{asked.served.name}: its answers are not explained by parts of the example"
            raise Refused(422, "parts", reason)
        hold(sum(len(part.data) for part in parts))
        examples = [part.data for part in parts]
        work = service.queue.ask(asked.served, examples, MOST_TOP, service.limits.seconds)
        found = await _unless_left(request, work)
    answers = [answer for answer, _ in found]
    if reason := answers[0].get("error"):
        raise Refused(422, "unreadable", reason)
    told = losses([part.place for part in parts], answers)
    return JSONResponse({**told, "model": asked.served.name, "version": found[0][1].version})


async def _in_time(request: Request, limits: Limits, hold: Any) -> bytes:
    try:
        async with asyncio.timeout(limits.seconds):
            return await body_of(request, limits.body, hold)
    except TimeoutError:
        reason = f"the body did not come within {limits.seconds:g} s"
        raise Refused(408, "too-slow", reason, connection="close") from None


async def _unless_left(request: Request, work: Any) -> Any:
    """What `work` gives; given up as soon as the client is gone."""
    working, left = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(400, "disconnected", "the client left before its answer was there")
        return working.result()
    finally:
        left.cancel()
        working.cancel()


def _shown(asked: Asked, answer: Answer, now: Answering) -> dict[str, Any]:
    if answer.get("error"):
        return {"error": {"kind": "unreadable", "messages": [answer["error"]]}}
    top = {"top": answer["top"][: asked.top]} if asked.served.now.ranked else {}
    return {**answer, **top, "model": asked.served.name, "version": now.version}


# --- what is told of the models ------------------------------------------------------------------


def _about(served: Served) -> dict[str, Any]:
    now = served.now
    told = {"name": served.name, "version": now.version, "modality": now.modality}
    more = {
        "sayable": now.sayable,
        "ranked": now.ranked,
        "reloads": served.reloads,
        "trouble": served.trouble,
    }
    return {**told, **now.about(), "accepts": list(types_of(now)), **more}


def _served(request: Request) -> Served:
    models: Models = request.app.state.service.models
    name = request.path_params["name"]
    if name not in models:
        raise Refused(404, "model", f"{name[:80]!r} is not served here; see /v1/models")
    return models[name]


async def _models(request: Request) -> Response:
    models = request.app.state.service.models
    return JSONResponse({"models": [_about(one) for one in models.values()]})


async def _model(request: Request) -> Response:
    return JSONResponse(_about(_served(request)))


async def _card(request: Request) -> Response:
    card = _served(request).now.card().encode("utf-8", "backslashreplace")
    return Response(card, media_type="text/markdown")


# --- what is told of the server ------------------------------------------------------------------


async def _healthy(request: Request) -> Response:
    return JSONResponse({"alive": True})


async def _ready(request: Request) -> Response:
    if request.app.state.service.stopping:
        return failure(
            503, "stopping", "this server is about to stop", headers={"retry-after": "1"}
        )
    return JSONResponse({"ready": True, "models": list(request.app.state.service.models)})


async def _metrics(request: Request) -> Response:
    service: Service = request.app.state.service
    text = service.figures.text(service.models)
    return Response(text, headers={"content-type": figures.CONTENT_TYPE})


async def _openapi(request: Request) -> Response:
    service: Service = request.app.state.service
    return JSONResponse(openapi.document(service.models, service.token is not None))


def page(package: str, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    """What answers with a file of a package's folder ``page``."""

    async def answered(request: Request) -> Response:
        content = resources.files(package).joinpath("page", name).read_bytes()
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return answered


ROUTES: dict[str, tuple[Any, list[str]]] = {
    "/v1/predict": (_predict, ["POST"]),
    "/v1/explain": (_explain, ["POST"]),
    "/v1/models": (_models, ["GET"]),
    "/v1/models/{name}": (_model, ["GET"]),
    "/v1/models/{name}/card": (_card, ["GET"]),
    "/healthz": (_healthy, ["GET"]),
    "/readyz": (_ready, ["GET"]),
    "/metrics": (_metrics, ["GET"]),
    "/openapi.json": (_openapi, ["GET"]),
    **{path: (page("regraft.serve", *row), ["GET"]) for path, row in PAGE.items()},
}


# --- what goes wrong -----------------------------------------------------------------------------


async def _refused(request: Request, error: Any) -> Response:
    return failure(error.status, error.kind, *error.messages, headers=error.headers)


async def _overloaded(request: Request, error: Any) -> Response:
    headers = {"retry-after": str(error.retry_after)}
    return failure(503, "overloaded", f"{error}; try again later", headers=headers)


async def _http(request: Request, error: Any) -> Response:
    told = {404: f"there is nothing at {request.url.path[:80]!r}; see /openapi.json"}
    message = told.get(error.status_code, str(error.detail))
    return failure(error.status_code, "http", message, headers=dict(error.headers or {}))


async def _internal(request: Request, error: Exception) -> Response:
    """A mistake in Regraft or a broken model; its traceback is in the log, not in the answer."""
    return failure(500, "internal", "this is a mistake in Regraft, not in your request")
