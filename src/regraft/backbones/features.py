"""Frozen features: one pass over the files, decoding beside the network, and only for what is new.

    files ── hash ──▶ store: what is known? ──▶ decode → look → prepare → engine ──▶ store

Each worker takes a handful of files through all steps: first it decodes them all, then the network
sees them all, since code and data of the two drive each other out of the core's caches. Decoder and
engine release the interpreter's lock, so the cores are busy with one or the other all the time.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.backbones.parity import Vector
from regraft.backbones.readers import Prepared, reader
from regraft.backbones.reading import (
    HANDFUL_MOST,
    HANDFUL_SECONDS,
    file_bytes,
    file_size,
    hash_files,
    in_parallel,
)
from regraft.backbones.store import Look, Store, Verdict
from regraft.errors import BackboneError, Unreadable, UsageError
from regraft.modalities.base import Modality
from regraft.modalities.facts import Facts
from regraft.progress import Progress, Quiet

if TYPE_CHECKING:
    pass

# What a kill can lose: files, or seconds of work where the network is slow.
KEEP_FILES, KEEP_SECONDS = 64, 2.0
# Of a handful whose examples go together: the more there are, the more are alike. Of 256 bank
# questions 11 go at once on average, of 64 only 7.
TOGETHER_SECONDS, TOGETHER_MOST = 1.0, 256
PASSING = ("changed", "no-access", "no-memory")  # not the fault of the bytes: another try may work

Vectors = dict[str, dict[str, Vector]]  # view → SHA-256 → (d,)


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
    if todo := _ordered(wanted, known, extractor):
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


def _ordered(
    wanted: Mapping[str, Path], known: "_Known", extractor: Extractor | None
) -> list[tuple[str, Path]]:
    """What is to be done; of what goes together the short ones first, so that equals meet."""
    todo = [(sha, path) for sha, path in wanted.items() if known.lacks(sha)]
    if _goes_together(extractor):
        todo.sort(key=lambda job: file_size(job[1]))
    return todo


def _goes_together(extractor: Extractor | None) -> bool:
    return extractor is not None and reader(extractor.spec).together


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
        extractor.engine, extractor.read  # noqa: B018  made here, once, and not by every worker
    work = _Work(modality, extractor, known.vectors)
    together, alone = (TOGETHER_SECONDS, TOGETHER_MOST), (HANDFUL_SECONDS, HANDFUL_MOST)
    several = in_parallel(work, todo, *(together if _goes_together(extractor) else alone))
    with warnings.catch_warnings(), closing(several) as results:
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
        asked = [(path, view) for _, path, _, views in decoded for view in views.values()]
        found = self._vectors(asked)
        return [
            _Done(sha, look, {view: next(found) for view in views})
            for sha, _, look, views in decoded
        ]

    def _decoded(self, sha: str, path: Path) -> tuple[Look, dict[str, Prepared]]:
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

    def _vectors(self, asked: Sequence[tuple[Path, Prepared]]) -> Iterator[Vector]:
        """Features of views, each checked; `asked` names the file of each for messages."""
        if self.extractor is None:  # then there are no views
            return
        row, name = self.extractor.row, self.extractor.engine_name
        paths, place = [path for path, _ in asked], 0
        try:
            for vector in self.extractor.vectors([view for _, view in asked]):
                if not np.isfinite(vector).all():
                    raise BackboneError(
                        f"{row.name}: gives NaN or infinity for {paths[place]} (engine {name}); "
                        "choose another engine or network"
                    )
                yield vector
                place += 1
        except BackboneError:
            raise
        except Exception as error:  # engines raise nearly anything
            raise BackboneError(
                f"{row.name}: the engine {name} failed at {paths[place]}: {error}"
            ) from error


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
