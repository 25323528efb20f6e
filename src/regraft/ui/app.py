"""The addresses of the page, beside those of `regraft.serve`; each but the files of the page needs
the token, so that no other page and no other user of this machine can ask for anything.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from regraft.errors import RegraftError, UsageError
from regraft.serve.answering import Open, open_all
from regraft.serve.app import PAGE, Service, page
from regraft.serve.guards import OPEN, failure
from regraft.serve.reading import Refused, body_of
from regraft.ui.desk import Busy, Desk
from regraft.ui.folders import folder_of, listing

BODY = 65_536  # bytes of a request
REPORT = "/report/"

OWN = {
    "/": ("ui.html", "text/html"),
    "/ui.css": ("ui.css", "text/css"),
    "/ui.js": ("ui.js", "text/javascript"),
}

# A report is shown as a stranger's page: no scripts, nothing loaded, no origin of its own.
REPORT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "media-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "sandbox",
    )
)

Endpoint = Callable[[Request], Awaitable[Response]]
Routes = dict[str, tuple[Endpoint, list[str]]]


def routes(desk: Desk, open_model: Open) -> Routes:
    """Address → what answers it, and to which methods."""
    asked = _Addresses(desk, open_model)
    try_page = page("regraft.serve", *PAGE["/"])
    pages: Routes = {path: (page("regraft.ui", *row), ["GET"]) for path, row in OWN.items()}
    return {
        **pages,
        "/try": (try_page, ["GET"]),
        "/ui/state": (asked.state, ["GET"]),
        "/ui/folders": (asked.folders, ["GET"]),
        "/ui/choose": (asked.choose, ["POST"]),
        "/ui/doctor": (asked.doctor, ["POST"]),
        "/ui/fit": (asked.fit, ["POST"]),
        "/ui/resume": (asked.resume, ["POST"]),
        "/ui/clear": (asked.clear, ["POST"]),
        "/ui/stop": (asked.stop, ["POST"]),
        "/ui/try": (asked.open, ["POST"]),
        REPORT + "{ticket}": (asked.report, ["GET"]),
    }


def needs_no_token(path: str) -> bool:
    """The files of the page, and a report, whose address is a secret of its own."""
    return path in OPEN or path in OWN or path == "/try" or path.startswith(REPORT)


class _Addresses:
    def __init__(self, desk: Desk, open_model: Open) -> None:
        self.desk, self._open = desk, open_model
        self._one = asyncio.Lock()  # at work on the desk

    async def state(self, request: Request) -> Response:
        async with self._one:
            return await self._told()

    async def folders(self, request: Request) -> Response:
        given = request.query_params.get("at", "")
        return await _tried(lambda: JSONResponse(listing(folder_of(given))))

    async def choose(self, request: Request) -> Response:
        asked = await _document(request)
        return await self._done(lambda: self.desk.choose(asked.get("folder")))

    async def doctor(self, request: Request) -> Response:
        asked = await _document(request)
        return await self._done(lambda: self.desk.examine(asked.get("thorough") is True))

    async def fit(self, request: Request) -> Response:
        asked = await _document(request)
        return await self._done(lambda: self.desk.begin(asked))

    async def resume(self, request: Request) -> Response:
        return await self._done(self.desk.resume)

    async def clear(self, request: Request) -> Response:
        return await self._done(self.desk.clear)

    async def stop(self, request: Request) -> Response:
        return await self._done(self.desk.stop)

    async def open(self, request: Request) -> Response:
        """Open the model for `/try`; the one before is let go."""
        service: Service = request.app.state.service

        def opened() -> None:
            found = open_all([str(self.desk.bundle)], self._open)
            service.models.replace(found)

        return await self._done(opened)

    async def report(self, request: Request) -> Response:
        found = self.desk.report(request.path_params["ticket"])
        if found is None:
            return failure(404, "report", "there is no such report; open it from the page anew")
        own = {"content-security-policy": REPORT_POLICY}
        return Response(found, media_type="text/html", headers=own)

    async def _done(self, work: Callable[[], None]) -> Response:
        """Do something in a thread, one after the other; answers with the state that it led to."""
        async with self._one:
            if (refused := await _tried(work)) is not None:
                return refused
            return await self._told()

    async def _told(self) -> Response:
        return JSONResponse(await asyncio.to_thread(self.desk.to_dict))


async def _tried(work: Callable[[], Any]) -> Any:
    """What `work` gives, in a thread; what cannot be done is told in plain words."""
    try:
        return await asyncio.to_thread(work)
    except Busy as error:
        return failure(409, "busy", *error.mistakes)
    except UsageError as error:
        return failure(422, "usage", *error.mistakes)
    except (RegraftError, OSError) as error:
        return failure(422, "failed", str(error))


async def _document(request: Request) -> Mapping[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "content-type", "expected Content-Type: application/json")
    service: Service = request.app.state.service
    with service.holding() as hold:
        body = await body_of(request, BODY, hold)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "json", "the body is no JSON document") from None
    if not isinstance(found, dict):
        raise Refused(400, "json", "expected a JSON object")
    return found
