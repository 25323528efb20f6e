"""What the tests of serving share: servers in processes of their own, and requests to them."""

import http.client
import json
import os
import shutil
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

SHOTS = os.environ.get("REGRAFT_SHOTS")  # a folder, for whoever wants to look

# Contrast as WCAG 2.2 defines it, of every text that is shown.
FAINT = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = color => parse(color).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if ((parse(color)[3] ?? 1) === 1) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !e.checkVisibility()) continue;
    const [low, high] = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) faint.push([ratio.toFixed(2), texts.currentNode.data.trim()]);
  }
  return faint;
}"""


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


# --- a browser -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (program := shutil.which("chromium")) is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
        ]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a server's page; in the end nothing was complained about or loaded from elsewhere."""
    complaints: list[str] = []
    requests: list[str] = []
    opened: list[Any] = []
    urls: list[str] = []

    def open_page(server: Any, width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        opened.append(context)
        urls.append(server.url.partition("#")[0])
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(server.url)
        return page

    yield open_page
    for context in opened:
        context.close()
    expected = ("status of 422", "status of 401")
    assert not [text for text in complaints if not any(words in text for words in expected)]
    allowed = (*urls, "blob:", "data:")
    assert not [url for url in requests if not url.startswith(allowed)]


@pytest.fixture
def shot() -> Callable[[Any, str], None]:
    """(page, name): keep a picture of the whole page, where one is asked for."""

    def taken(page: Any, name: str) -> None:
        if SHOTS:
            page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)

    return taken


@pytest.fixture
def faint() -> Callable[[Any], list[Any]]:
    """(page) → texts whose contrast is too low, with it."""
    return lambda page: list(page.evaluate(FAINT))
