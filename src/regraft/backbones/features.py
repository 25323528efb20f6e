"""Frozen features: one pass over the files, decoding beside the network, and only for what is new.

    files ── hash ──▶ store: what is known? ──▶ decode → look → prepare → engine ──▶ store

Each worker takes a handful of files through all steps: first it decodes them all, then the network
sees them all, since code and data of the two drive each other out of the core's caches. Decoder and
engine release the interpreter's lock, so the cores are busy with one or the other all the time.
"""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.engines import (
    Engine,
    Pixels,
    Vector,
    choose_engine,
    engine_kind,
    open_engine,
)
from regraft.backbones.reading import file_bytes, file_sha, in_parallel
from regraft.backbones.store import Look, Store, Verdict
from regraft.backbones.weights import fingerprint
from regraft.errors import BackboneError, Unreadable, UsageError
from regraft.modalities.base import Modality
from regraft.modalities.facts import Facts
from regraft.modalities.spec import InputSpec
from regraft.progress import Progress, Quiet
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork

# What a kill can lose: files, or seconds of work where the network is slow.
KEEP_FILES, KEEP_SECONDS = 64, 2.0
PASSING = ("changed", "no-access", "no-memory")  # not the fault of the bytes: another try may work

Vectors = dict[str, dict[str, Vector]]  # view → SHA-256 → (d,)


@dataclass(frozen=True)
class Extractor:
    """A frozen network ready to give features: which, at what input, by which engine.

    rate  pictures per second on this machine, where they were measured
    """

    row: CatalogRow
    spec: InputSpec
    engine_name: str
    rate: float | None = field(default=None, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.row)

    def space(self, view: str) -> str:
        """Key of what decides the features of a view, once the example is prepared."""
        spec = {k: v for k, v in self.spec.to_dict().items() if k != "views"}
        engine = [self.engine_name, engine_kind(self.engine_name).version()]
        parts = [self.fingerprint, spec, view, *engine]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def network(self) -> "FrozenNetwork":
        """The network itself, in PyTorch, self-checked."""
        from regraft.backbones.network import load_network

        return load_network(self.row, self.spec)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Columns of each block."""
        path = cache_folder("graphs") / f"{self.fingerprint[:32]}-widths.json"
        if (noted := _noted_widths(path)) is None:
            noted = self.network.block_widths
            write_atomically(path, json.dumps(noted).encode())
        return noted

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.engine_name, self.row, self.spec, lambda: self.network)


def _noted_widths(path: Path) -> tuple[int, ...] | None:
    """Widths are noted beside the graphs, so that they are known without PyTorch."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(found, list) or not found or any(type(width) is not int for width in found):
        return None
    return tuple(found)


def extractor(row: CatalogRow, spec: InputSpec, engine: str | None = None) -> Extractor:
    """An extractor by the engine named, or the fastest on this machine (measured once).

    Raises UsageError and MissingExtra for an engine that is unknown or not installed.
    """
    if engine is not None:
        engine_kind(engine)
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
    """Look at files and, with an extractor, compute their features, unless the store knows them.

    shas  of the files, where they are known from `hash_files` a moment ago

    What is done is kept every few seconds, and also when this is interrupted.
    Raises UsageError for a view that the modality has not, BackboneError where the network gives
    NaN or its engine fails, StorageError.
    """
    progress = progress or Quiet()
    _refuse_views(extractor, modality)
    hashed = list(shas) if shas is not None else hash_files(files, progress)
    wanted = {h: Path(f) for h, f in zip(hashed, files, strict=True) if isinstance(h, str)}
    known = _Known.of(store, modality, extractor, list(wanted))
    if todo := [(sha, path) for sha, path in wanted.items() if known.lacks(sha)]:
        with progress.stage(_title(extractor), len(todo)) as advance:
            _work_off(todo, modality, extractor, known, advance)
        store.trim()
    if store.damaged:
        progress.say(f"the feature store was damaged: begun anew, the old one is {store.damaged}")
        store.damaged = None  # told once
    seen = tuple(known.looks[h] if isinstance(h, str) else h for h in hashed)
    names = tuple(h if isinstance(h, str) else "" for h in hashed)
    if extractor is None:
        return Pass(names, seen)
    return Pass(names, seen, *_gathered(extractor, names, seen, known.vectors))


def _refuse_views(extractor: Extractor | None, modality: Modality) -> None:
    asked = extractor.spec.views if extractor else ()
    if unknown := [view for view in asked if view not in modality.views]:
        known = ", ".join(modality.views)
        raise UsageError(*(f"views: {view!r} is not one of {known}" for view in unknown))


def _title(extractor: Extractor | None) -> str:
    return "looking at files" if extractor is None else f"features of {extractor.row.name}"


@dataclass(frozen=True)
class _Done:
    """What came of one file."""

    sha: str
    look: Look
    features: Mapping[str, Vector]


@dataclass
class _Known:
    """What the store holds of the files of a pass, and what is new and not yet in it."""

    store: Store
    decoder: str
    spaces: Mapping[str, str]
    record: Mapping[str, str]
    looks: dict[str, Look]
    vectors: Vectors
    pending: list[_Done] = field(default_factory=list)
    kept: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls, store: Store, modality: Modality, extractor: Extractor | None, shas: Sequence[str]
    ) -> "_Known":
        """Read from the store; keys name the decoder, for another one may give other pixels."""
        decoder = f"{modality.name} {modality.version}"
        spaces, record = {}, {}
        if extractor:
            spaces = {v: f"{extractor.space(v)} {decoder}" for v in extractor.spec.views}
            record = {"network": extractor.row.name}
        vectors = {view: store.features(space, shas) for view, space in spaces.items()}
        return cls(store, decoder, spaces, record, store.looks(shas, decoder), vectors)

    def lacks(self, sha: str) -> bool:
        if (look := self.looks.get(sha)) is None:
            return True
        return isinstance(look, Facts) and any(sha not in v for v in self.vectors.values())

    def add(self, done: _Done) -> None:
        self.pending.append(done)
        late = time.monotonic() - self.kept > KEEP_SECONDS
        if late or len(self.pending) >= KEEP_FILES:
            self.keep()

    def keep(self) -> None:
        """Write what is pending. A look that was known stays: another size may see other pixels."""
        some, self.pending = self.pending, []
        fresh = {
            done.sha: done.look
            for done in some
            if done.sha not in self.looks or isinstance(done.look, Verdict)
        }
        self.looks.update(fresh)
        self.store.keep_looks({s: v for s, v in fresh.items() if not _is_passing(v)}, self.decoder)
        for view, known in self.vectors.items():
            if new := {done.sha: done.features[view] for done in some if view in done.features}:
                known.update(new)
                self.store.keep_features(self.spaces[view], {**self.record, "view": view}, new)
        self.kept = time.monotonic()


def _is_passing(look: Look) -> bool:
    return isinstance(look, Verdict) and look.kind in PASSING


def _work_off(
    todo: Sequence[tuple[str, Path]],
    modality: Modality,
    extractor: Extractor | None,
    known: _Known,
    advance: Callable[[int], None],
) -> None:
    if extractor is not None:
        extractor.engine  # noqa: B018  made here, once, and not by every worker
    work = _Work(modality, extractor, known.vectors)
    with warnings.catch_warnings(), closing(in_parallel(work, todo)) as results:
        warnings.simplefilter("ignore")  # decoders' name no file; what counts is in the verdicts
        try:
            for done in results:
                known.add(done)
                advance(1)
        finally:  # Ctrl-C as well
            known.keep()


@dataclass(frozen=True)
class _Work:
    """A handful of files through all steps; called from several threads."""

    modality: Modality
    extractor: Extractor | None
    known: Vectors

    def __call__(self, jobs: Sequence[tuple[str, Path]]) -> list[_Done]:
        decoded = [(*job, *self._decoded(*job)) for job in jobs]
        return [
            _Done(sha, look, {view: self._vector(path, p) for view, p in pixels.items()})
            for sha, path, look, pixels in decoded
        ]

    def _decoded(self, sha: str, path: Path) -> tuple[Look, dict[str, Pixels]]:
        """What the file looks like, and the views whose features are not known."""
        data = file_bytes(path, sha)
        if isinstance(data, Verdict):
            return data, {}
        spec = self.extractor.spec if self.extractor else None
        try:
            raw, facts = self.modality.decode(data, str(path), spec)
        except Unreadable as error:
            return Verdict(error.kind, error.reason), {}
        if spec is None:
            return facts, {}
        views = [view for view, known in self.known.items() if sha not in known]
        return facts, {view: self.modality.prepare(raw, spec, view) for view in views}

    def _vector(self, path: Path, pixels: Pixels) -> Vector:
        assert self.extractor is not None  # without one there are no pixels
        row, name = self.extractor.row, self.extractor.engine_name
        try:
            vector = self.extractor.engine.run(pixels)
        except Exception as error:  # engines raise nearly anything
            raise BackboneError(
                f"{row.name}: the engine {name} failed at {path}: {error}"
            ) from error
        if not np.isfinite(vector).all():
            raise BackboneError(
                f"{row.name}: gives NaN or infinity for {path} (engine {name}); choose another "
                "engine or network"
            )
        return vector


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
                raise BackboneError(
                    f"{extractor.row.name}: the feature store holds features of other widths; set "
                    "REGRAFT_CACHE to a new folder"
                )
            out[i] = found[0] if len(found) == 1 else np.mean(found, axis=0)
    return out, widths


def hash_files(
    files: Sequence[str | Path], progress: Progress | None = None
) -> list[str | Verdict]:
    """SHA-256 (hex) of each file's bytes, or why it cannot be read."""
    out = []
    with (
        (progress or Quiet()).stage("reading files", len(files)) as advance,
        closing(in_parallel(_shas, [Path(file) for file in files])) as hashed,
    ):
        for found in hashed:
            out.append(found)
            advance(1)
    return out


def _shas(paths: Sequence[Path]) -> list[str | Verdict]:
    return [file_sha(path) for path in paths]
