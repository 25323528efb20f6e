"""Frozen features: one pass over the files, decoding beside the network, and only for what is new.

    files ── hash ──▶ store: what is known? ──▶ decode → look → prepare → engine ──▶ store

Each worker takes a file through all steps; decoder and engine release the interpreter's lock, so the
cores are busy with one or the other all the time.
"""

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.engines import ENGINES, Engine, choose_engine, lanes, open_engine
from regraft.backbones.store import Look, Store, Verdict
from regraft.backbones.weights import fingerprint
from regraft.errors import BackboneError, Unreadable
from regraft.modalities.base import Modality
from regraft.modalities.facts import Facts
from regraft.modalities.spec import InputSpec
from regraft.progress import Progress, Quiet
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork

KEEP_EVERY = 256  # files in one transaction: what a kill can lose
Vectors = dict[str, dict[str, npt.NDArray[np.float32]]]  # view → SHA-256 → (d,)


@dataclass(frozen=True)
class Extractor:
    """A frozen network ready to give features: which, at what input, by which engine."""

    row: CatalogRow
    spec: InputSpec
    engine_name: str
    rate: float | None = field(default=None, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.row)

    def space(self, view: str) -> str:
        """Key of the store's space: all that decides the features of a view."""
        spec = {k: v for k, v in self.spec.to_dict().items() if k != "views"}
        parts = [self.fingerprint, spec, view, self.engine_name, ENGINES[self.engine_name].version()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def network(self) -> "FrozenNetwork":
        """The network itself, in PyTorch, self-checked."""
        from regraft.backbones.network import load_network

        return load_network(self.row, self.spec)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Columns of each block."""
        noted = _widths_file(self)
        if not noted.exists():
            write_atomically(noted, json.dumps(self.network.block_widths).encode())
        return tuple(json.loads(noted.read_bytes()))

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.engine_name, self.row, self.spec, lambda: self.network)


def _widths_file(extractor: Extractor) -> Path:
    """Widths are noted beside the graphs, so that they are known without PyTorch."""
    return cache_folder("graphs") / f"{extractor.fingerprint[:32]}-widths.json"


def extractor(row: CatalogRow, spec: InputSpec, engine: str | None = None) -> Extractor:
    """An extractor by the engine named, or the fastest on this machine (measured once)."""
    if engine is not None:
        return Extractor(row, spec, engine)
    measured = Extractor(row, spec, "torch")
    name, rate = choose_engine(row, spec, lambda: measured.network)
    made = Extractor(row, spec, name, rate)
    if "network" in measured.__dict__:  # it was loaded for the measurement: not again
        made.__dict__["network"] = measured.network
    return made


@dataclass(frozen=True)
class Pass:
    """What one pass over files gives; the n files in the order asked for.

    shas      SHA-256 of each file; empty where it could not be read
    looks     facts or verdict of each file
    features  (n, d) float32; rows of undecodable files are zero; None if no network was asked
    widths    columns of each block
    """

    shas: tuple[str, ...]
    looks: tuple[Look, ...]
    features: npt.NDArray[np.float32] | None = None
    widths: tuple[int, ...] = ()

    @property
    def verdicts(self) -> dict[int, Verdict]:
        """Position → why, of the files that cannot be decoded."""
        return {i: look for i, look in enumerate(self.looks) if isinstance(look, Verdict)}

    @property
    def facts(self) -> dict[int, Facts]:
        """Position → facts, of the files that can be decoded."""
        return {i: look for i, look in enumerate(self.looks) if isinstance(look, Facts)}


def pass_over(
    files: Sequence[str | Path],
    modality: Modality,
    store: Store,
    extractor: Extractor | None = None,
    progress: Progress | None = None,
    shas: Sequence[str | Verdict] | None = None,
) -> Pass:
    """Look at files and, with an extractor, compute their features; what the store knows is not redone.

    shas  of the files, where they are known from `hash_files` a moment ago
    """
    progress = progress or Quiet()
    hashed = list(shas) if shas is not None else hash_files(files, progress)
    wanted = {h: Path(f) for h, f in zip(hashed, files, strict=True) if isinstance(h, str)}
    looks = store.looks(list(wanted), modality.name)
    vectors = _known(store, extractor, list(wanted))
    todo = [s for s in wanted if s not in looks or _lacking(looks[s], vectors, s)]
    if todo:
        work = _Work(modality, extractor, vectors)
        files_left = [(sha, wanted[sha]) for sha in todo]
        with progress.stage(_title(extractor), len(todo)) as advance:
            for some in _in_parallel(work, files_left):
                _keep(store, modality, extractor, some, looks, vectors)
                advance(len(some))
        store.trim()
    seen = tuple(looks[h] if isinstance(h, str) else h for h in hashed)
    names = tuple(h if isinstance(h, str) else "" for h in hashed)
    if extractor is None:
        return Pass(names, seen)
    return Pass(names, seen, *_gathered(extractor, names, seen, vectors))


def _known(store: Store, extractor: Extractor | None, shas: list[str]) -> Vectors:
    if extractor is None:
        return {}
    return {view: store.features(extractor.space(view), shas) for view in extractor.spec.views}


def _lacking(look: Look, vectors: Vectors, sha: str) -> bool:
    return isinstance(look, Facts) and any(sha not in known for known in vectors.values())


def _title(extractor: Extractor | None) -> str:
    return "looking at files" if extractor is None else f"features of {extractor.row.name}"


@dataclass(frozen=True)
class _Done:
    sha: str
    look: Look
    features: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class _Work:
    """One file through all steps; called from several threads."""

    modality: Modality
    extractor: Extractor | None
    known: Vectors

    def __call__(self, job: tuple[str, Path]) -> _Done:
        sha, path = job
        data = _read(path)
        if isinstance(data, Verdict):
            return _Done(sha, data, {})
        if hashlib.sha256(data).hexdigest() != sha:
            return _Done(sha, Verdict("changed", "the file changed while it was being read"), {})
        spec = self.extractor.spec if self.extractor else None
        try:
            raw, facts = self.modality.decode(data, str(path), spec)
        except Unreadable as error:
            return _Done(sha, Verdict(error.kind, error.reason), {})
        return _Done(sha, facts, self._features(sha, raw))

    def _features(self, sha: str, raw: Any) -> dict[str, npt.NDArray[np.float32]]:
        if self.extractor is None:
            return {}
        views = [view for view, known in self.known.items() if sha not in known]
        run, spec = self.extractor.engine.run, self.extractor.spec
        return {view: run(self.modality.prepare(raw, spec, view)) for view in views}


def _in_parallel(work: _Work, jobs: Iterable[tuple[str, Path]]) -> Iterator[list[_Done]]:
    """Results in handfuls, as they come; Ctrl-C ends it after the files that are being worked on."""
    if work.extractor is not None:
        work.extractor.engine  # noqa: B018  made here, once, and not by every worker
    pool = ThreadPoolExecutor(lanes())
    try:
        results = pool.map(work, jobs)
        while some := list(islice(results, KEEP_EVERY)):
            yield some
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _keep(
    store: Store,
    modality: Modality,
    extractor: Extractor | None,
    some: list[_Done],
    looks: dict[str, Look],
    vectors: Vectors,
) -> None:
    seen = {done.sha: done.look for done in some}
    looks.update(seen)
    lasting = {s: v for s, v in seen.items() if not _passing(v)}
    store.keep_looks(lasting, modality.name)
    if extractor is None:
        return
    for view, known in vectors.items():
        new = {done.sha: done.features[view] for done in some if view in done.features}
        if new:
            record = {"network": extractor.row.name, "view": view}
            store.keep_features(extractor.space(view), record, new)
            known.update(new)


def _passing(look: Look) -> bool:
    """Whether another try may see something else: not the fault of the bytes."""
    return isinstance(look, Verdict) and look.kind in ("changed", "no-access")


def _gathered(
    extractor: Extractor,
    shas: Sequence[str],
    looks: Sequence[Look],
    vectors: Vectors,
) -> tuple[npt.NDArray[np.float32], tuple[int, ...]]:
    """(n, d): the mean over the views."""
    widths = extractor.widths
    out = np.zeros((len(shas), sum(widths)), np.float32)
    for i, (sha, look) in enumerate(zip(shas, looks, strict=True)):
        if isinstance(look, Facts):
            found = [known[sha] for known in vectors.values()]
            if any(len(v) != out.shape[1] for v in found):
                raise BackboneError(f"{extractor.row.name}: the feature store holds other widths")
            out[i] = found[0] if len(found) == 1 else np.mean(found, axis=0)
    return out, widths


def hash_files(
    files: Sequence[str | Path], progress: Progress | None = None
) -> list[str | Verdict]:
    """SHA-256 (hex) of each file's bytes, or why it cannot be read."""
    with ThreadPoolExecutor(lanes()) as pool, (progress or Quiet()).stage(
        "reading files", len(files)
    ) as advance:
        out = []
        for found in pool.map(_hash, files):
            out.append(found)
            advance(1)
    return out


def _hash(file: str | Path) -> str | Verdict:
    data = _read(Path(file))
    return data if isinstance(data, Verdict) else hashlib.sha256(data).hexdigest()


def _read(path: Path) -> bytes | Verdict:
    """The bytes of a regular file; pipes and devices, which may never end, are refused."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Verdict("not-a-file", "not a regular file")
        return path.read_bytes()
    except OSError as error:
        return Verdict("no-access", f"it cannot be read: {error.strerror or error}")
