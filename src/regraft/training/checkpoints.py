"""Checkpoints: a run's whole state in one sealed file, two of them in turn, and a lock.

A checkpoint has the form of a bundle: safetensors and JSON under one seal, written whole or not at
all. So a kill at any instant leaves at least the one before; what is damaged is refused and the
other is taken.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regraft.errors import BundleError, StorageError, UsageError
from regraft.export.bundle import read_bundle, write_bundle
from regraft.training.devices import is_first

LOCK_SECONDS = 0.5  # that a second run waits for the first one's lock
LEFT_BY_KILLS = ".*.checkpoint.*.tmp"  # written half: `write_atomically` names them so


@dataclass(frozen=True)
class Checkpoint:
    """Where a run was.

    step      steps that are done
    tensors   by their names
    document  everything else, as plain data
    """

    step: int
    tensors: Mapping[str, Tensor]
    document: Any


@dataclass(frozen=True)
class Checkpoints:
    """The two files of a run in its folder.

    key  of the plan and all that decides the run's numbers: a checkpoint of another is not taken
    """

    folder: Path
    key: str
    _steps: dict[Path, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def save(self, checkpoint: Checkpoint) -> Path:
        """Take the place of the older one. Raises StorageError; the newer one is untouched."""
        target = min(self._paths(), key=self._step_in)
        document = {"key": self.key, "step": checkpoint.step, "state": checkpoint.document}
        arrays = {name: t.detach().cpu().numpy() for name, t in checkpoint.tensors.items()}
        write_bundle(target, {"checkpoint": document}, {"state": arrays})
        self._steps[target] = checkpoint.step
        return target

    def latest(self) -> Checkpoint | None:
        """The newest that is whole and of this run; None where there is none."""
        found = [one for path in self._paths() if (one := self._read(path)) is not None]
        return max(found, key=lambda one: one.step, default=None)

    def damaged(self) -> list[Path]:
        """Files that are there and not whole."""
        return [path for path in self._paths() if path.exists() and self._read(path) is None]

    def forget(self) -> None:
        """Delete them."""
        for path in self._paths():
            path.unlink(missing_ok=True)
        self._steps.clear()

    def _paths(self) -> tuple[Path, Path]:
        return self.folder / f"{self.key}-a.checkpoint", self.folder / f"{self.key}-b.checkpoint"

    def _step_in(self, path: Path) -> int:
        """Read once: reading both at each save takes longer than to write one."""
        if path not in self._steps:
            found = self._read(path)
            self._steps[path] = -1 if found is None else found.step
        return self._steps[path]

    def _read(self, path: Path) -> Checkpoint | None:
        if not path.exists():
            return None
        try:
            bundle = read_bundle(path)
            told, arrays = bundle.document("checkpoint"), bundle.tensors("state")
        except BundleError:
            return None
        if not isinstance(told, dict) or told.get("key") != self.key:
            return None
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Checkpoint(int(told["step"]), tensors, told["state"])


@contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """The folder of a run, made when missing, for one run alone; a killed one frees it.

    Of several processes that train together the first holds it for all.

    Raises UsageError where another run is in it, StorageError where it cannot be written.
    """
    from filelock import FileLock, Timeout

    if not is_first():
        yield folder
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise UsageError(
            f"{folder}: another run is at work here; wait for it, stop it, or name another folder"
        ) from None
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        for part in folder.glob(LEFT_BY_KILLS):  # each as large as a checkpoint
            part.unlink(missing_ok=True)
        yield folder
    finally:
        lock.release()
