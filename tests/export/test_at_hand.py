"""A model at an address or in a ZIP archive is brought here whole, or refused with the reason."""

import hashlib
import io
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPMessage
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from regraft.backbones.cache import cache_folder
from regraft.errors import BundleError
from regraft.export import at_hand as module
from regraft.export.at_hand import TOLD, at_hand

CONTENT = b"what a server holds" * 1000
PIN = "sha256=" + hashlib.sha256(CONTENT).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *about: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"too short")
            return
        super().do_GET()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a folder with a file ``model``."""
    for name in ("REGRAFT_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    (folder := tmp_path / "served").mkdir()
    (folder / "model").write_bytes(CONTENT)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()


def test_what_is_here_stays_where_it_is(tmp_path: Path) -> None:
    for name in ("no such file", "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        assert at_hand(tmp_path / name) == tmp_path / name


def test_a_file_is_fetched_from_an_address(server: str) -> None:
    assert at_hand(f"{server}/model").read_bytes() == CONTENT
    assert at_hand(Path(f"{server}/model")).read_bytes() == CONTENT  # a Path has one / less


def test_a_pinned_file_is_fetched_once_and_no_other_is_taken(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert at_hand(f"{server}/model#{PIN}").read_bytes() == CONTENT
    (tmp_path / "served/model").write_bytes(b"another")
    with monkeypatch.context() as patch:
        patch.setenv("REGRAFT_OFFLINE", "1")
        assert at_hand(f"{server}/model#{PIN}").read_bytes() == CONTENT
        with pytest.raises(BundleError, match="offline"):
            at_hand(f"{server}/model")
    with pytest.raises(BundleError, match="another file is there now"):
        at_hand(f"{server}/model#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nothing", "404"),
        ("/cut", "ended after 9 of 100 bytes|cannot be fetched"),
        ("/model#md5=1", "sha256="),
    ],
)
def test_what_cannot_be_fetched_is_told(server: str, path: str, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        at_hand(server + path)
    assert not list((cache_folder("fetched")).iterdir())


def test_too_much_is_not_kept(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ARCHIVE", len(CONTENT) - 1)
    with pytest.raises(BundleError, match="more than"):
        at_hand(f"{server}/model")
    assert not list((cache_folder("fetched")).iterdir())


def test_nothing_is_fetched_without_tls_but_from_here() -> None:
    with pytest.raises(BundleError, match="not encrypted"):
        at_hand("http://example.org/model.regraft")
    request = urllib.request.Request("https://example.org/model.regraft")
    with pytest.raises(BundleError, match="not encrypted"):
        module._Encrypted().redirect_request(
            request,
            io.BytesIO(),
            302,
            "",
            HTTPMessage(),
            "http://example.org/",
        )


# ZIP archives ------------------------------------------------------------------------------------


@pytest.fixture
def zipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """(name in the archive → content) → the archive."""
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))

    def write(**files: bytes) -> Path:
        path = tmp_path / "export.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return write


def test_an_exported_folder_is_unzipped_once(zipped: Callable[..., Path]) -> None:
    path = zipped(**{f"out/{TOLD}": b"{}", "out/graph.onnx": CONTENT})
    folder = at_hand(path)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == {
        TOLD: b"{}",
        "graph.onnx": CONTENT,
    }
    (folder / "mark").touch()
    assert (at_hand(path) / "mark").exists()


@pytest.mark.parametrize(
    "files",
    [
        {TOLD: b"{}", "sub/graph.onnx": b""},
        {TOLD: b"{}", **{f"{i}.onnx": b"" for i in range(100)}},
        {f"../{TOLD}": b"{}", "../..": b""},
    ],
    ids=["two folders", "too many", "climbs"],
)
def test_what_is_no_exported_folder_is_refused(
    files: dict[str, bytes], zipped: Callable[..., Path]
) -> None:
    with pytest.raises(BundleError, match=r"export\.zip"):
        at_hand(zipped(**files))
    assert not list(cache_folder("unzipped").iterdir())


def test_other_archives_are_left_to_the_reader_of_bundles(zipped: Callable[..., Path]) -> None:
    path = zipped(**{"manifest.json": b"{}"})
    assert at_hand(path) == path
