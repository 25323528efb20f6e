"""A bundle: everything of a model in one sealed file, ``model.regraft``, that cannot run code.

    <name>.json            documents: what the model is (classes, input spec, recipe ...)
    <name>.safetensors     arrays and weights
    <name>.md .html .svg   pages for people
    manifest.json          format, version, and the size and SHA-256 of each entry

The file itself, and why no flipped byte goes unnoticed, is in `archive`.
"""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import load, save

from regraft import __version__
from regraft.data.paths import inside
from regraft.errors import RegraftError, UsageError
from regraft.export.archive import (
    ENDINGS,
    MANIFEST,
    MAX_CONTENT,
    MAX_ENTRIES,
    read_archive,
    read_file,
    refuse,
    unfit_entry,
    write_archive,
)
from regraft.storage import write_atomically

FORMAT, VERSION = "regraft-bundle", 1

MAX_TENSORS_HEADER = 8_000_000  # bytes
MAX_DEPTH = 64  # lists and objects within each other in a document

PAGES = ("md", "html", "svg")

# What safetensors.numpy both writes and reads.
DTYPES = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
DTYPES |= {"bool", "float16", "float32", "float64", "complex64"}

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that was read and checked as a whole; the file is not needed any more.

    path      where it was read
    manifest  format, version, the Regraft version that wrote it, and ``entries``: size and SHA-256
    sha256    of the whole file, as `sha256sum` prints it
    """

    path: Path
    manifest: dict[str, Any]
    sha256: str
    _payloads: dict[str, bytes] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all entries but the manifest, with their endings, sorted."""
        return tuple(self._payloads)

    def document(self, name: str) -> Any:
        """The content of ``<name>.json``, a new copy at each call.

        Raises BundleError where there is no such entry or it is not acceptable JSON: UTF-8, no NaN
        or infinity, no key twice, nested no deeper than MAX_DEPTH.
        """
        entry = f"{name}.json"
        return _from_json(self.path, entry, self._payload(entry))

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of ``<name>.safetensors``, new ones at each call, which may be written to.

        Raises BundleError where there is no such entry, its header is damaged, or NumPy has no
        such dtype (bfloat16).
        """
        entry = f"{name}.safetensors"
        return _from_safetensors(self.path, entry, self._payload(entry), _arrays)

    def page(self, name: str) -> str:
        """The text of a page by its full name, such as ``card.md``.

        It is as little trusted as the bundle: what shows it in a browser has to forbid scripts.
        Raises BundleError where there is no such entry or it is not UTF-8.
        """
        payload = self._payload(name)
        try:
            return payload.decode()
        except UnicodeDecodeError as error:
            refuse(self.path, f"{name} is not UTF-8 text ({error})")

    def extract(self, name: str, folder: Path) -> Path:
        """Write ``<name>.safetensors`` into a folder that exists, and return its path there.

        Raises BundleError as `tensors` does, but takes any dtype; DataError where a link in the
        folder leads out of it; StorageError where the file cannot be written.
        """
        entry = f"{name}.safetensors"
        payload = self._payload(entry)
        _from_safetensors(self.path, entry, payload, deserialize)
        target = inside(folder, entry)
        write_atomically(target, payload)
        return target

    def _payload(self, entry: str) -> bytes:
        if entry not in self._payloads:
            held = ", ".join(self._payloads) or "nothing"
            refuse(self.path, f"has no {entry!r}; it holds {held}", "ask for one of these")
        return self._payloads[entry]


def write_bundle(
    path: Path,
    documents: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, np.ndarray]],
    pages: Mapping[str, str] = {},
    files: Mapping[str, Path] = {},
) -> str:
    """Write a bundle at `path`, replacing what is there once the new one is complete.

    documents  name → what JSON can say: text as keys, finite numbers; tuples come back as lists
    tensors    name → arrays by their names, stored C-contiguous and little-endian
    pages      full name, such as ``card.md``, ``report.html`` or ``curve.svg`` → text
    files      name → an existing safetensors file, copied in as ``<name>.safetensors``

    Returns the SHA-256 of the file; the same content gives the same bytes. Raises UsageError that
    names everything which cannot be stored, and StorageError where the file cannot be written.
    """
    payloads = _encoded(
        *_rows("documents", documents, _to_json, ".json"),
        *_rows("tensors", tensors, _to_safetensors, ".safetensors"),
        *_rows("pages", pages, _to_page, endings=PAGES),
        *_rows("files", files, _read_safetensors, ".safetensors"),
    )
    payloads[MANIFEST] = _to_json(_manifest(payloads, __version__))
    return write_archive(path, payloads)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check the file as a whole: seal, frame, names, sizes, manifest.

    What an entry says is checked when it is asked for. Nothing in a bundle is run or unpickled, and
    nothing outside of it is read. Raises BundleError that says what is wrong and what to do.
    """
    payloads, sha256 = read_archive(path)
    manifest = _checked_manifest(path, payloads)
    del payloads[MANIFEST]
    return Bundle(path, manifest, sha256, payloads)


def _manifest(payloads: Mapping[str, bytes], version: str) -> dict[str, Any]:
    entries = {
        name: {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
        for name, payload in payloads.items()
        if name != MANIFEST
    }
    return {"format": FORMAT, "version": VERSION, "regraft": version, "entries": entries}


def _checked_manifest(path: Path, payloads: Mapping[str, bytes]) -> dict[str, Any]:
    if MANIFEST not in payloads:
        refuse(path, f"has no {MANIFEST}")
    manifest = _from_json(path, MANIFEST, payloads[MANIFEST])
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        refuse(path, f"{MANIFEST} is not that of a bundle: expected the format {FORMAT!r}")
    if manifest.get("version") != VERSION:
        found = f"version {manifest.get('version')!r:.20} of the format"
        refuse(path, f"is in {found}; this Regraft reads {VERSION}", "install the Regraft for it")
    regraft = manifest.get("regraft")
    if not isinstance(regraft, str) or _to_json(_manifest(payloads, regraft)) != payloads[MANIFEST]:
        refuse(path, f"{MANIFEST} does not list the entries with their sizes and SHA-256")
    return manifest


class _Row(NamedTuple):
    """One thing to store: where the caller gave it, its entry, how it becomes bytes."""

    where: str
    entry: str
    endings: Collection[str]
    encode: Callable[[Any], bytes]
    value: Any


def _rows(
    parameter: str,
    values: Mapping[str, Any],
    encode: Callable[[Any], bytes],
    ending: str = "",
    endings: Collection[str] = ENDINGS,
) -> list[_Row]:
    return [
        _Row(f"{parameter}[{name!r}]", f"{name}{ending}", endings, encode, value)
        for name, value in values.items()
    ]


def _encoded(*rows: _Row) -> dict[str, bytes]:
    payloads: dict[str, bytes] = {}
    mistakes = []
    for where, entry, endings, encode, value in rows:
        try:
            payload = encode(value)
        except RegraftError as error:
            mistakes.append(f"{where}: {error}")
            continue
        if entry in payloads or entry == MANIFEST:
            mistakes.append(f"{where}: the entry {entry!r} is taken; choose another name")
        elif reason := unfit_entry(entry, len(payload), endings):
            mistakes.append(f"{where}: {entry!r} {reason}")
        payloads[entry] = payload
    if len(payloads) >= MAX_ENTRIES or sum(map(len, payloads.values())) > MAX_CONTENT:
        mistakes.append(f"a bundle has at most {MAX_ENTRIES - 1} entries and {MAX_CONTENT:,} bytes")
    if mistakes:
        raise UsageError(*mistakes)
    return payloads


def _to_json(value: Any) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot be said in JSON: {error}") from error
    if reason := _unfit_document(value):
        raise UsageError(f"cannot be stored: {reason}")
    return text.encode("ascii")


def _from_json(path: Path, entry: str, payload: bytes) -> Any:
    try:
        value = json.loads(payload.decode(), object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        refuse(path, f"{entry} is not acceptable JSON: {error}")
    if reason := _unfit_document(value):
        refuse(path, f"{entry} is not acceptable JSON: {reason}")
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _unfit_document(value: Any) -> str | None:
    """Why a value is no document, None where it is one; level by level, to any depth."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(v, float) and not math.isfinite(v) for v in level):
            return "a number is not finite"
        objects = [v for v in level if isinstance(v, dict)]
        if any(not isinstance(key, str) for found in objects for key in found):
            return "a key is not text"
        lists = [v for v in level if isinstance(v, list | tuple)]
        level = [v for found in (*lists, *(o.values() for o in objects)) for v in found]
    return f"it is nested deeper than {MAX_DEPTH} levels" if level else None


def _to_page(text: str) -> bytes:
    try:
        return text.encode()
    except (AttributeError, UnicodeEncodeError) as error:
        raise UsageError(f"is not text that UTF-8 can say: {error}") from error


def _to_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    mistakes = [reason for name, array in arrays.items() if (reason := _unfit_array(name, array))]
    if mistakes:
        raise UsageError("; ".join(mistakes))
    # The library copies memory as it lies, so what is not contiguous would be stored scrambled.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        return save(contiguous)
    except (SafetensorError, TypeError, UnicodeEncodeError) as error:
        raise UsageError(f"cannot be said in safetensors: {error}") from error


def _unfit_array(name: str, array: np.ndarray) -> str | None:
    if name == "__metadata__":
        return f"{name!r} is the library's own, not the name of an array"
    if type(array) not in (np.ndarray, np.memmap):
        return f"{name!r} is a {type(array).__name__}; expected a NumPy array"
    if array.dtype.name not in DTYPES:
        return f"{name!r} is of {array.dtype}; expected one of {', '.join(sorted(DTYPES))}"
    return None


def _from_safetensors(path: Path, entry: str, payload: bytes, read: Callable[[bytes], T]) -> T:
    if int.from_bytes(payload[:8], "little") > MAX_TENSORS_HEADER:
        limit = f"{MAX_TENSORS_HEADER:,} bytes"
        refuse(path, f"{entry} is no safetensors file, or its header has more than {limit}")
    try:
        return read(payload)
    except (SafetensorError, LookupError, ValueError, TypeError, OverflowError) as error:
        refuse(path, f"{entry} cannot be read as safetensors: {error!s:.300}")


def _arrays(payload: bytes) -> dict[str, np.ndarray]:
    arrays = load(payload)
    for name, array in arrays.items():
        if array.dtype == bool and array.view(np.uint8).max(initial=0) > 1:
            raise ValueError(f"{name!r} has truth values that are neither 0 nor 1")
    return arrays


def _read_safetensors(path: Path) -> bytes:
    """The bytes of a safetensors file; the library checks its header in the file, not in a copy."""
    payload = read_file(path, MAX_CONTENT)

    def check(_: bytes) -> None:
        with safe_open(path, framework="np"):
            pass

    _from_safetensors(path, path.name, payload, check)
    return payload
