"""push, to a small server that stands in for the hub."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from regraft.errors import BundleError, RegraftError
from regraft.export.formats import FORMATS
from regraft.model.model import Model
from regraft.verbs import export as exporting
from regraft.verbs.proof import Written
from regraft.verbs.push import Files, push
from regraft.verbs.tasks import carried_out

TOKEN = "hf_secret"


class Hub(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks when files are put into a repository: texts go into the
    commit, others by Git LFS, as the hub has it.
    """

    repositories: ClassVar[list[dict[str, Any]]] = []
    commits: ClassVar[list[list[dict[str, Any]]]] = []
    large: ClassVar[dict[str, bytes]] = {}
    private: ClassVar[bool] = True

    def do_POST(self) -> None:
        body = self._body()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": f"who is {self.headers['Authorization']}?"})
        elif self.path == "/api/repos/create":
            self.repositories.append(json.loads(body))
            self._answer(200, {"url": self._url("me/shapes"), "id": "me/shapes"})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = [_preupload(one["path"]) for one in json.loads(body)["files"]]
            self._answer(200, {"files": files})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            some = [self._batch(one) for one in json.loads(body)["objects"]]
            self._answer(200, {"transfer": "basic", "objects": some})
        elif self.path.endswith("/commit/main"):
            self.commits.append([json.loads(line) for line in body.splitlines()])
            url = self._url("me/shapes/commit/abc123")
            self._answer(200, {"success": True, "commitOid": "abc123", "commitUrl": url})
        else:
            self._answer(404, {"error": f"unknown: {self.path}"})

    def do_PUT(self) -> None:
        self.large[self.path.rpartition("/")[2]] = self._body()
        self._answer(200, {})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _batch(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "actions": {"upload": {"href": self._url(f"lfs/{one['oid']}")}}}

    def do_GET(self) -> None:
        told: dict[str, Any] = {
            "_id": "1",
            "id": "me/shapes",
            "sha": "0" * 40,
            "siblings": [],
            "tags": [],
        }
        told["private"] = self.private
        self._answer(200, told if "/api/models/" in self.path else {})

    def _url(self, path: str) -> str:
        return f"http://{self.headers['Host']}/{path}"

    def _answer(self, status: int, document: Any) -> None:
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _preupload(name: str) -> dict[str, Any]:
    mode = "regular" if name.endswith((".md", ".json", ".py")) else "lfs"
    return {"path": name, "uploadMode": mode, "shouldIgnore": False}


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.repositories, Hub.commits, Hub.large = [], [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def pushed(model: Path, hub: str, *words: str, token: str = TOKEN) -> Any:
    told = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub, "HF_TOKEN": token}
    command = [sys.executable, "-m", "regraft", "push", str(model), "me/shapes", *words]
    environment = {**os.environ, **told}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def in_the_commit() -> dict[str, Any]:
    """Name → content, of a large file its SHA-256."""
    ((head, *lines),) = Hub.commits
    assert head["key"] == "header"
    values = [line["value"] for line in lines]
    return {
        one["path"]: base64.b64decode(one["content"]) if "content" in one else one["oid"]
        for one in values
    }


def test_a_bundle_and_its_card_are_sent(bundle: Path, hub: str) -> None:
    done = pushed(bundle, hub, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["commit"], told["address"]) == ("abc123", f"{hub}/me/shapes")
    sha256 = hashlib.sha256(bundle.read_bytes()).hexdigest()
    names = [(one["name"], one["sha256"]) for one in told["files"]]
    assert [name for name, _ in names] == ["README.md", "model.regraft"]
    assert names[1][1] == sha256
    (made,), files = Hub.repositories, in_the_commit()
    assert made.get("private") or made["visibility"] == "private"  # older and newer clients
    assert set(files) == {"README.md", "model.regraft"}
    assert files["model.regraft"] == sha256
    assert Hub.large[sha256] == bundle.read_bytes()
    _, metadata, text = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(metadata)["library_name"] == "regraft"
    assert f"regraft predict {hub}/me/shapes/resolve/main/model.regraft" in text
    assert TOKEN not in done.stdout + done.stderr


def test_what_is_wrong_is_told(bundle: Path, hub: str, shell: Any, monkeypatch: Any) -> None:
    done = pushed(bundle, hub, token="hf_other")
    assert done.returncode == 1
    assert "the hub refuses: " in done.stderr
    assert "Traceback" not in done.stderr
    assert (Hub.repositories, Hub.commits) == ([], [])
    assert "hf_other" not in done.stdout + done.stderr
    monkeypatch.delenv("HF_TOKEN", raising=False)
    error = shell.error(shell.invoke("push", bundle, "nobody", "--json"))
    assert [one.partition(":")[0] for one in error["messages"][:2]] == ["repository", "HF_TOKEN"]
    assert "offline" in error["messages"][2]


def test_a_dry_run_tells_the_files_and_asks_nobody(
    bundle: Path, shell: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    done = shell.invoke("push", bundle, "me/shapes", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    told = shell.document(done)
    assert (told["commit"], told["private"]) == (None, True)
    assert [one["bytes"] for one in told["files"]][1] == bundle.stat().st_size
    seen = shell.invoke("push", bundle, "me/shapes", "--dry-run", "--public")
    assert "nothing was sent" in seen.output
    assert "public where it is new" in seen.output


@pytest.fixture
def near(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may ask the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_HUB_OFFLINE", "REGRAFT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.mark.usefixtures("near")
def test_nothing_goes_to_all_unasked(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "private", False)
    with pytest.raises(RegraftError, match="is there already, and everybody sees it"):
        push(bundle, "me/shapes")
    assert (Hub.large, Hub.commits) == ({}, [])
    assert push(bundle, "me/shapes", private=False)["commit"] == "abc123"
    assert len(Hub.commits) == 1


@pytest.mark.usefixtures("near")
def test_of_an_export_only_its_own_files_go_up(bundle: Path, tmp_path: Path) -> None:
    """And its graph is not opened: of a torch export that could run code."""
    model = Model.load(bundle)
    how = carried_out("export", model.task)()
    kind = replace(FORMATS["torch"], write=lambda wanted, file: file.write_bytes(b"a graph"))
    exporting._write(model, how, Written(tmp_path, "torch", kind, 1))
    own = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "secrets.txt").write_text("keep me")
    seen: list[str] = []

    def listed(files: Files) -> None:
        seen.extend(one["name"] for one in files)
        assert (Hub.repositories, Hub.commits) == ([], [])  # nothing is sent yet

    push(tmp_path, "me/shapes", listed=listed)
    assert set(in_the_commit()) == {*seen} == own
    assert own == {"graph.pt2", "export.json", "record.json", "example.py"}
    assert [*Hub.large.values()] == [b"a graph"]
    (tmp_path / "graph.pt2").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"graph\.pt2 is not as it was written"):
        push(tmp_path, "me/shapes")
    assert len(Hub.commits) == 1
