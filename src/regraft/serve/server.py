"""A server on a socket: it listens, reads changed files anew and stops without losing a request.

SIGTERM, SIGINT  no new connections; what was accepted is answered, then it ends
SIGHUP           read the models' files anew
"""

import asyncio
import ipaddress
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary, ref

import uvicorn

from regraft.errors import StorageError, UsageError
from regraft.serve.app import Service, application

LOOK_SECONDS = 1.0  # between two looks at the models' files
IDLE_SECONDS = 20  # until a connection without a request is closed
CONNECTIONS = 1000
GRACE = 5.0  # seconds beyond the deadline of an answer until a stop no longer waits
HEADERS = 32_768  # bytes of a request before its body

Say = Callable[[str], None]


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound(host: str, port: int) -> socket.socket:
    """A socket on that address; port 0: any that is free. Raises UsageError, StorageError."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host: {host!r} is no address of this machine: {error}") from None
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise StorageError(
            f"--port {port}: {host} cannot be listened on: {error.strerror}; name another port, or "
            "0 for any that is free"
        ) from error
    return found


def url_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(service: Service, listening: socket.socket, ready: Callable[[], None], say: Say) -> None:
    """Serve until a signal comes.

    ready  called once requests are answered
    say    a sentence for the person who watches
    """
    config = uvicorn.Config(
        application(service),
        http="h11",  # bounds what it reads before a body
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=int(service.limits.seconds + GRACE),
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEADERS,
        backlog=512,
    )
    server = _Server(config, service, ready, say)
    server.run(sockets=[listening])
    if not server.force_exit:
        service.queue.close()


class _Server(uvicorn.Server):
    """Uvicorn's, with our signals and a look at the files."""

    def __init__(
        self, config: uvicorn.Config, service: Service, ready: Callable[[], None], say: Say
    ) -> None:
        super().__init__(config)
        self._service, self._ready, self._say = service, ready, say
        self._reloading = asyncio.Lock()
        self._idle: WeakKeyDictionary[Any, tuple[Any, float]] = WeakKeyDictionary()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def main_loop(self) -> None:
        watching = asyncio.ensure_future(self._watch())
        try:
            await super().main_loop()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        yield

    def _on_stop(self) -> None:
        if self._service.stopping:
            self.force_exit = True  # asked twice
            return
        self._service.stopping = self.should_exit = True
        waiting = len(self._service.queue)
        self._say(f"stopping: {waiting} examples wait for their answers" if waiting else "stopping")

    def _on_hangup(self) -> None:
        self._hangup = asyncio.ensure_future(self._reload(list(self._service.models)))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._close_idle()
            changed = [n for n, one in self._service.models.items() if one.changed()]
            if changed:
                await self._reload(changed)

    def _close_idle(self) -> None:
        """Connections whose next request does not come: uvicorn waits for its head for ever."""
        now = time.monotonic()
        for one in list(self.server_state.connections):
            connection: Any = one
            cycle = connection.cycle  # of the last request; None before the first
            last, since = self._idle.get(connection, (None, now))
            is_waiting = cycle is None or cycle.response_complete
            if not is_waiting or (cycle and (last is None or last() is not cycle)):
                since = now
            elif now - since > IDLE_SECONDS:
                connection.transport.close()
            self._idle[connection] = (ref(cycle) if cycle else None, since)

    async def _reload(self, names: list[str]) -> None:
        async with self._reloading:
            await asyncio.to_thread(self._service.reload, names)
        for name in names:
            if (served := self._service.models.get(name)) is None:
                continue
            self._say(
                f"{name}: not read anew, the model stays as it was: {served.trouble}"
                if served.trouble
                else f"{name}: read anew, now {served.now.version}"
            )
