"""What the tests of serving share: servers in processes of their own, and requests to them."""

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed")


@dataclass(frozen=True)
class Response:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error, in the one form that all have."""
        found = self.json["error"]
        assert set(found) == {"kind", "messages"}
        assert found["messages"]
        assert all(isinstance(message, str) and message for message in found["messages"])
        return dict(found)


@dataclass
class Server:
    """A server in a process of its own."""

    process: "subprocess.Popen[bytes]"
    url: str
    said: Path
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), int(parts.port or 80)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str | None
    ) -> Response:
        """One request on a connection of its own; of header names _ is written for -."""
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            return self.on(connection, method, path, body, **headers)
        finally:
            connection.close()

    def on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None = None,
        **headers: str | None,
    ) -> Response:
        """One request on a connection that stays."""
        named = self.headers | {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
        connection.request(method, path, body, named)
        found = connection.getresponse()
        told = {name.lower(): value for name, value in found.getheaders()}
        return Response(found.status, told, found.read())

    def predict(self, example: bytes, query: str = "", **headers: str | None) -> Response:
        return self.ask(
            "POST",
            f"/v1/predict{query}",
            example,
            **({"content_type": "application/octet-stream"} | headers),
        )

    def post(self, document: Any, path: str = "/v1/predict") -> Response:
        body = json.dumps(document).encode()
        return self.ask("POST", path, body, content_type="application/json")

    def stop(self, seconds: float = 20) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    @property
    def stderr(self) -> str:
        return self.said.read_text(errors="replace")


Start = Callable[..., Server]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """(words of a command) → the server that it starts, once it is ready."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*words: object, **settings: Any) -> Server:
        said = tmp_path_factory.mktemp("server") / "stderr"
        with said.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, *map(str, words)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                **settings,
            )
        running.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"serving on "):
                return Server(process, line.split()[2].decode(), said)
        raise AssertionError(said.read_text())

    yield begin
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def stand_in(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """(options) → a server whose model is a stand-in; `model` is its file."""

    def begin(*options: object, model: Path | None = None) -> Server:
        if model is None:
            model = tmp_path_factory.mktemp("stand-in") / "model.txt"
            model.write_text("one")
        return start(Path(__file__).with_name("stand_in.py"), model, *options)

    return begin


@pytest.fixture(scope="session")
def quick(stand_in: Start) -> Server:
    """A stand-in that answers at once; it stays for all tests."""
    return stand_in()


@pytest.fixture(scope="session")
def together() -> Callable[..., list[Any]]:
    """(call, arguments) → results, all called at the same time."""

    def run(call: Callable[[Any], Any], arguments: Any) -> list[Any]:
        arguments = list(arguments)
        with ThreadPoolExecutor(len(arguments)) as pool:
            return list(pool.map(call, arguments))

    return run


@pytest.fixture(scope="session")
def real(start: Start, bundle: Path) -> Server:
    """The program itself with a real model; it stays for all tests."""
    return start("-m", "regraft", "serve", f"shapes={bundle}", "--port", 0)
