"""The proof that an export answers as its model does: a fresh process re-scores examples."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft import __version__
from regraft.backbones.cache import file_hash
from regraft.data.dataset import Dataset
from regraft.data.inline import contents
from regraft.errors import DataError, RegraftError, Unreadable
from regraft.export.at_hand import TOLD
from regraft.export.formats import Format
from regraft.model.rescored import inputs_sha, kept_outputs
from regraft.verbs.deployed import LIMIT, Deployment, Told


@dataclass(frozen=True)
class Written:
    """A folder whose export is not proven yet.

    to      name of the format
    kind    its row
    batch   examples that the graph reads at once; 0: any number
    """

    folder: Path
    to: str
    kind: Format
    batch: int


@dataclass(frozen=True)
class _Compared:
    """One example that both could read."""

    number: int
    apart: float
    same: bool
    ours: Told
    theirs: Told


def proven(model: Any, how: Deployment, written: Written, data: Dataset) -> dict[str, Any]:
    """The proof. Raises RegraftError where there is none, DataError where nothing can be read.

    data  the examples that are re-scored
    """
    files = data.table["path"].to_list()
    with tempfile.TemporaryDirectory(prefix="regraft-") as kept:
        found = _in_a_fresh_process(written, files, Path(kept))
        compared = [*_compared(model, how, found["rows"], files, Path(kept))]
    if not compared:
        raise DataError("examples: none of them can be read, so nothing can be re-scored")
    worst = max(compared, key=lambda one: (one.apart, not one.same))
    if wrong := next((one for one in (worst, *compared) if _differs(one)), None):
        raise RegraftError(_drift(model, how, found["rows"], files, compared, wrong))
    if not written.batch and found["together"] > LIMIT:
        raise RegraftError(
            f"no export: examples that are run together differ from each alone by "
            f"{found['together']:.2g}: this network has its number of examples built in; use "
            "--batch 1; nothing was written"
        )
    rows = data.with_table(data.table[[one.number for one in compared]])
    return {
        "to": written.to,
        "runtime": written.kind.versions(),
        "regraft": __version__,
        "examples": len(compared),
        "unreadable": len(files) - len(compared),
        "largest_difference": worst.apart,
        "limit": LIMIT,
        "same_answers": sum(one.same for one in compared),
        "together": found["together"] if not written.batch else None,
        "metric": _metric(model, how, rows, compared),
        "files": json.loads((written.folder / TOLD).read_bytes())["files"],
    }


def _differs(one: _Compared) -> bool:
    return one.apart > LIMIT or not one.same


def _in_a_fresh_process(written: Written, files: Sequence[str], kept: Path) -> dict[str, Any]:
    trusted = file_hash(written.folder / written.kind.file)
    asked = {"files": [*files], "trusted": trusted, "together": not written.batch}
    command = [sys.executable, "-P", "-m", "regraft.model.rescored", str(written.folder)]
    document = json.dumps({**asked, "kept": str(kept)}).encode()
    done = subprocess.run(command, input=document, capture_output=True, check=False, env=os.environ)
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["it died"])[-1]
        raise RegraftError(f"no export: the export does not run in a fresh process: {reason:.300}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _compared(
    model: Any, how: Deployment, rows: Sequence[Told], files: Sequence[str], kept: Path
) -> Iterator[_Compared]:
    """What both could read; raises RegraftError where only one of them could."""
    for number, (row, file) in enumerate(zip(rows, files, strict=True)):
        try:
            own = how.own(model, contents(file))
        except Unreadable:
            own = None
        if (own is None) != ("error" in row):
            raise RegraftError(f"no export: the stage “reading” drifted: {file}")
        if own is not None:
            difference = how.apart(model, own.outputs, kept_outputs(kept, number))
            same = how.same(model, own.answer, row["answer"])
            yield _Compared(number, difference, same, own.answer, row["answer"])


def _drift(
    model: Any,
    how: Deployment,
    rows: Sequence[Told],
    files: Sequence[str],
    compared: Sequence[_Compared],
    wrong: _Compared,
) -> str:
    file = files[wrong.number]
    data = contents(file)
    alike = inputs_sha(how.inputs(model, data)) == rows[wrong.number]["inputs"]
    stage = how.stage(model, data) if alike else "reading"
    others = sum(not one.same for one in compared)
    return (
        f"no export: the answers differ by up to {max(one.apart for one in compared):.2g} (at most "
        f"{LIMIT:g}), and {others} of {len(compared)} are other ones; the stage “{stage}” "
        f"drifted, seen at {file}; nothing was written"
    )


def _metric(
    model: Any, how: Deployment, rows: Dataset, compared: Sequence[_Compared]
) -> Mapping[str, Any] | None:
    """What both of them score on these examples; None where they have no labels."""
    ours = how.figure(model, rows, [one.ours for one in compared])
    theirs = how.figure(model, rows, [one.theirs for one in compared])
    if ours is None or theirs is None or not np.isfinite([ours, theirs]).all():
        return None
    return {"name": how.metric, "model": ours, "export": theirs}
