"""Networks in a SavedModel of TensorFlow: their serving signature, as a frozen extractor.

    savedmodel:FOLDER        or        savedmodel:FOLDER@SCALE

A process with TensorFlow alone makes one checked graph of it, with the weights in it. That graph
stands in place of weights, here and in bundles, and runs by the engine ``tensorflow``: it gives
features, and nothing in it can be trained.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.backbones.cache import cache_folder, file_hash, locked
from regraft.backbones.catalog import CatalogRow, Weights, row_from
from regraft.backbones.engines import ENGINES, engine_kind
from regraft.backbones.graphs import pack_graph
from regraft.backbones.scales import SCALES, named_scale
from regraft.data.paths import inside
from regraft.errors import BackboneError, DataError, UsageError
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically

VERSION = 1  # raised when the same files would give another row
PROGRAM = "regraft.backbones.savedmodel_freezing"
ENGINE = "tensorflow"
MODEL, WEIGHTS = "saved_model.pb", "variables"
USUAL = "unit"  # what TensorFlow's own collections of models read
NATIVE, LEAST = 224, 32  # pixels, where the network reads any size


def describe(rest: str) -> CatalogRow:
    """A folder with ``saved_model.pb``; ``@SCALE`` says how its pixels are scaled.

    Raises UsageError, BackboneError, MissingExtra where TensorFlow is not installed.
    """
    name, scale = named_scale(rest)
    files = _files(Path(name))
    hashes = {file: file_hash(path) for file, path in files.items()}
    digest = hashlib.sha256(json.dumps([VERSION, scale, hashes]).encode()).hexdigest()
    kept = cache_folder("savedmodel") / f"{digest}.json"
    target = kept.with_suffix(".safetensors")
    with locked(kept):
        if not (kept.is_file() and target.is_file()):
            row = _row(Path(name), files, scale, target)
            write_atomically(kept, json.dumps(row.to_dict()).encode())
    return replace(row_from(json.loads(kept.read_bytes())), name=f"savedmodel:{rest}")


def _files(folder: Path) -> dict[str, Path]:
    """All that is read of a SavedModel: its graph and weights. Raises BackboneError."""
    if not (folder / MODEL).is_file():
        raise BackboneError(
            f"savedmodel:{folder}: expected a folder with {MODEL}, as tf.saved_model.save and "
            "Keras' model.export write it"
        )
    weights = sorted(path.name for path in (folder / WEIGHTS).glob(f"{WEIGHTS}.*"))
    names = [MODEL, *(f"{WEIGHTS}/{name}" for name in weights)]
    try:
        return {name: inside(folder, name) for name in names}
    except DataError as error:
        raise BackboneError(f"savedmodel:{folder}: {error}") from error


def _copied(files: Mapping[str, Path], folder: Path) -> Path:
    """These files alone: TensorFlow could prefer others that lie there, which nobody checked."""
    (folder / WEIGHTS).mkdir(parents=True)
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    return folder


def _row(folder: Path, files: Mapping[str, Path], scale: str, target: Path) -> CatalogRow:
    """Have the graph made, put it at `target`, and tell all the rest."""
    engine_kind(ENGINE)
    used = SCALES[scale or USUAL]
    with tempfile.TemporaryDirectory(prefix="regraft-") as made:
        out = Path(made)
        asked = {"scale": used._asdict(), "size": NATIVE}
        (out / "asked.json").write_text(json.dumps(asked))
        told = _told(folder, _copied(files, out / "model"), out)
        content = pack_graph(out, (ENGINES[ENGINE].file,), told["widths"])
    if told["raw"]:
        if scale not in ("", "raw"):
            raise UsageError(f"backbone: savedmodel:{folder} reads bytes, so it is not @{scale}")
        used = SCALES["raw"]
    write_atomically(target, content)
    side = told["side"]
    return CatalogRow(
        name=f"savedmodel:{folder}",
        source="savedmodel",
        architecture=told["signature"],
        family="savedmodel",
        weights=Weights(
            *("folder", str(target.parent), target.name, hashlib.sha256(content).hexdigest())
        ),
        spec=InputSpec(side or NATIVE, interpolation="bilinear", mean=used.mean, std=used.std),
        parameters=told["parameters"],
        gflops=told["gflops"],
        min_size=side or LEAST,
        max_size=side or 0,
        options={"outputs": told["outputs"], "order": used.order},
        graph=ENGINE,
        assumed="" if scale or told["raw"] else _assumed(),
    )


def _assumed() -> str:
    others = ", ".join(f"@{name}" for name in SCALES if name != USUAL)
    return f"{USUAL} (0 to 1), since a SavedModel does not tell; others: {others} after its name"


def _told(folder: Path, copy: Path, out: Path) -> Mapping[str, Any]:
    """What the process with TensorFlow found out. Raises BackboneError with its reason."""
    command = [sys.executable, "-P", "-m", PROGRAM, str(copy), str(out)]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    path = out / "told.json"
    if done.returncode or not path.is_file():
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it died"]
        raise BackboneError(f"savedmodel:{folder}: TensorFlow cannot read it: {lines[-1]:.300}")
    told: dict[str, Any] = json.loads(path.read_bytes())
    if "refused" in told:
        raise BackboneError(f"savedmodel:{folder}: {told['refused']}")
    return told


def build(row: CatalogRow) -> Any:
    """There is no module of PyTorch: raises BackboneError."""
    raise BackboneError(
        f"{row.name}: is a graph of TensorFlow, which gives features and cannot be trained or "
        "looked into; use the strategy probe"
    )
