"""What every request passes first: host, origin, token. What every answer carries: safe headers.

A page on the web can make a browser send requests to an address of this machine. So the host must
be one that was meant (against DNS rebinding), and a request that a page of another origin sends is
refused. The token is compared in constant time.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Addresses that need no token.
OPEN = ("/", "/page.css", "/ask.js", "/page.js", "/icon.svg", "/healthz", "/readyz")
READING = ("GET", "HEAD", "OPTIONS")

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "media-src": "blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
SAFE = MappingProxyType(
    {
        "content-security-policy": "; ".join(f"{k} {v}" for k, v in POLICY.items()),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cache-control": "no-store",
    }
)


def failure(
    status: int, kind: str, *messages: str, headers: MutableMapping[str, str] | None = None
) -> Response:
    """What is wrong, as every address tells it."""
    told = {"error": {"kind": kind, "messages": list(messages)}}
    return JSONResponse(told, status, headers)


class Guards:
    """ASGI middleware.

    token           that must be shown; None: none
    hosts           names that this server goes by; None: any
    seen            called after each answer with the method, the address, the status
    needs_no_token  whether an address answers everybody
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        hosts: Iterable[str] | None,
        seen: Callable[[str, str, int], None],
        needs_no_token: Callable[[str], bool] = OPEN.__contains__,
    ) -> None:
        self._app, self._seen, self._needs_no_token = app, seen, needs_no_token
        self._digest = None if token is None else _digest(token.encode())
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = self._guarded(scope, send)
        refused = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, guarded)

    def _refusal(self, method: str, path: str, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return failure(421, "host", f"Host: {host[:80]!r} is not how this server is called")
        origin = headers.get("origin")
        if origin and method not in READING and origin.partition("://")[2] != host:
            return failure(403, "origin", f"Origin: {origin[:80]!r} is another site than this one")
        if self._digest is None or self._needs_no_token(path):
            return None
        word, _, shown = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(_digest(shown.strip().encode("latin-1")), self._digest)
        if right and word.lower() == "bearer":
            return None
        told = "the token is missing or wrong; send: Authorization: Bearer TOKEN"
        return failure(401, "token", told, headers={"www-authenticate": 'Bearer realm="regraft"'})

    def _guarded(self, scope: Scope, send: Send) -> Callable[[Message], Awaitable[None]]:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
                self._seen(scope["method"], scope["path"], message["status"])
            await send(message)

        return guarded


def _digest(value: bytes) -> bytes:
    """Of equal length whatever was sent, so that a comparison tells nothing of the token's."""
    return hashlib.sha256(value).digest()


def _name_of(host: str) -> str:
    """``localhost:8000`` → ``localhost``; ``[::1]:8000`` → ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
