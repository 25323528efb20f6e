"""What the tests of the command line share: pictures, one fitted model, and the program itself."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

COLOURS = {"blau": (90, 100, 140), "grün": (90, 140, 100), "red [1]": (140, 100, 90)}
BROKEN = "blau/kaputt ✗.png"


class Shell:
    """The program, and what is asked of all that it prints."""

    # Quick, and the same on every machine: one small network, no measurement of engines.
    quick = ("--backbone", "efficientnet-lite0", "--size", "64", "--engine", "torch")
    program = (sys.executable, "-m", "regraft")

    def run(
        self, *words: object, stdin: bytes = b"", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """In a process of its own."""
        command = [*self.program, *map(str, words)]
        done = subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, check=False)
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def invoke(self, *words: object, **settings: Any) -> Any:
        """In this process: for what is cheap."""
        from regraft.cli import app

        return CliRunner().invoke(app, [str(word) for word in words], **settings)

    def document(self, done: Any) -> dict[str, Any]:
        """The one JSON document that stdout must be."""
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    def error(self, done: Any) -> dict[str, Any]:
        """The error in the document, told on stderr as well, without a traceback."""
        assert "Traceback" not in done.stdout + done.stderr
        found = self.document(done)["error"]
        assert set(found) == {"kind", "messages"}
        assert all(f"error: {message}" in done.stderr for message in found["messages"])
        return dict(found)


@pytest.fixture(scope="session")
def shell() -> Shell:
    return Shell()


Fingerprint = Callable[[Path], dict[str, tuple[str, int]]]


@pytest.fixture(scope="session")
def fingerprint() -> Fingerprint:
    """Of a folder → all that could change in it: names, contents, times."""

    def of(path: Path) -> tuple[str, int]:
        content = path.read_bytes() if path.is_file() else b""
        return hashlib.sha256(content).hexdigest(), path.stat().st_mtime_ns

    return lambda folder: {str(path): of(path) for path in [folder, *sorted(folder.rglob("*"))]}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noisy squares, hard to tell apart; one file is no picture."""
    folder = tmp_path_factory.mktemp("my photos") / "Fotos ☀"
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(14):
            tint, noise = rng.normal(0, 25, 3), rng.normal(0, 30, (48, 48, 3))
            pixels = np.clip(np.array(colour) + tint + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"Bild {i} ä.png")
    (folder / BROKEN).write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="session")
def broken(photos: Path) -> Path:
    """The file that is no picture."""
    return photos / BROKEN


@dataclass
class Fit:
    """A fit: the process, its document, the folder it wrote, and the photos before it."""

    done: subprocess.CompletedProcess[str]
    document: dict[str, Any]
    folder: Path
    before: dict[str, tuple[str, int]]


@pytest.fixture(scope="session")
def fitted(
    shell: Shell,
    photos: Path,
    fingerprint: Fingerprint,
    tmp_path_factory: pytest.TempPathFactory,
) -> Fit:
    before, cwd = fingerprint(photos), tmp_path_factory.mktemp("work")
    done = shell.run("fit", photos, "--json", "--seed", 3, *shell.quick, cwd=cwd)
    assert done.returncode == 0, done.stderr
    found = shell.document(done)
    return Fit(done, found, cwd / found["out"], before)


@pytest.fixture(scope="session")
def bundle(fitted: Fit) -> Path:
    return fitted.folder / "model.regraft"
