"""export: Model → a folder that runs elsewhere, with the proof that its answers are the same.

    parts ── write ──▶ folder.tmp ── a fresh process re-scores examples ──▶ parity ──▶ folder

Parity or no export: where an answer differs, nothing is left behind, and the error names the stage
that drifted.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np

from regraft import __version__
from regraft.backbones.cache import file_hash
from regraft.backbones.fronts import ANY
from regraft.backbones.readers import reader
from regraft.backbones.weights import row_file
from regraft.data.inline import contents
from regraft.errors import DataError, RegraftError, StorageError, UsageError
from regraft.export.at_hand import TOLD
from regraft.export.card import model_card
from regraft.export.formats import Format, Wanted, export_format
from regraft.model.carried import told_of
from regraft.model.encoded import prepared_views
from regraft.model.exported import FORMAT, RECORD, VERSION, tokenizer_name
from regraft.model.model import Answers, Model
from regraft.model.offered import about
from regraft.model.opening import classifier
from regraft.model.rescored import inputs_sha
from regraft.progress import Progress, Quiet
from regraft.verbs.unseen import examples_of

LIMIT = 1e-4  # largest difference of a probability
COUNT = 256  # examples that are re-scored
CHUNK = 32
PROOF, CARD, EXAMPLE = "proof.json", "README.md", "example.py"


def export(
    model: Model | str | Path,
    out: str | Path,
    *,
    to: str = "onnx",
    examples: Any = None,
    count: int = COUNT,
    batch: int = 0,
    progress: Progress | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """Write a model as `to`, a name of `export.formats.FORMATS`, into a new folder.

    out       the folder; an earlier export there is replaced
    examples  what is re-scored: a Dataset or a source; None: what the model was fitted on
    count     at most so many of them, held-out ones first
    batch     examples that the graph reads at once; 0: any number
    columns   of a manifest: label, text, path_column, root

    Returns the proof of parity, as it is in the folder. Raises UsageError, DataError where nothing
    can be re-scored, RegraftError that names the stage where the answers differ.
    """
    told, folder = progress or Quiet(), Path(out)
    model = cast(Model, classifier(model, "export"))
    kind = _refuse(model, to, folder, count, batch)
    chosen = _chosen(model, examples, count, columns)
    with _beside(folder) as draft:
        with told.stage(f"writing {to}", 1) as advance:
            _write(model, to, kind, batch, draft)
            advance(1)
        with told.stage("re-scoring in a fresh process", 1) as advance:
            proof = _proved(model, to, kind, batch, draft, chosen)
            advance(1)
        _put(draft / PROOF, proof)
        card = model_card({"name": _name(model), **about(model)}, model.record)
        (draft / CARD).write_text(card + _use(to, proof), encoding="utf-8")
    return proof


def _name(model: Model) -> str:
    return str(model.record.get("name") or "model")


def _refuse(model: Model, to: str, folder: Path, count: int, batch: int) -> Format:
    mistakes = []
    if not model.extractors:
        mistakes.append("model: this is an export already; name the bundle that it came from")
    if count < 1:
        mistakes.append(f"count: expected 1 or more, got {count}")
    if not 0 <= batch <= 1024:
        mistakes.append(f"batch: expected 0 (any number) to 1024, got {batch}")
    is_folder = folder.is_dir() and not folder.is_symlink()
    if folder.exists() and not (is_folder and _is_replaceable(folder)):
        mistakes.append(f"out: {folder} is there and is no export; name a new folder")
    if not folder.absolute().parent.is_dir():
        mistakes.append(f"out: the folder {folder.parent} does not exist; create it first")
    try:
        kind = export_format(to)
    except UsageError as error:
        mistakes += error.mistakes
    if mistakes:
        raise UsageError(*mistakes)
    return kind


def _is_replaceable(folder: Path) -> bool:
    return (folder / TOLD).is_file() or not any(folder.iterdir())


# --- what is re-scored ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chosen:
    """Examples, and their classes by number where they are known (else -1)."""

    files: list[str]
    labels: Any


def _chosen(model: Model, examples: Any, count: int, columns: Mapping[str, Any]) -> _Chosen:
    data = examples_of(model, examples, columns, wanted="re-score")
    held = set(model.record.get("examples", {}).get("test", ())) | set(
        model.record.get("examples", {}).get("validation", ())
    )
    ids = data.table["id"].to_list()
    order = sorted(range(len(ids)), key=lambda i: (ids[i] not in held, _scattered(ids[i])))
    some = order[:count]
    numbers = {name: i for i, name in enumerate(model.classes)}
    labels = [numbers.get(data.table["label"][i] or "", -1) for i in some]
    return _Chosen([data.table["path"][i] for i in some], np.array(labels, int))


def _scattered(name: str) -> str:
    """An order that no folder has, and the same every time."""
    import hashlib

    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


# --- writing -------------------------------------------------------------------------------------


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder that takes the place of `folder` when all is well, and else goes."""
    draft = folder.absolute().with_name(f".{folder.name[:40]}.{secrets.token_hex(6)}.tmp")
    try:
        draft.mkdir()
        yield draft
        old = draft.with_suffix(".old")
        if folder.exists():
            folder.replace(old)
        draft.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def deployed(model: Model) -> Any:
    """The model as one PyTorch module."""
    from regraft.export.graph import Deployed

    views = [len(one.spec.views) for one in model.extractors]
    networks = [one.network for one in model.extractors]
    head, novelty = model.head.tensors(), model.novelty.tensors()
    return Deployed(networks, views, head, novelty, model.temperature).eval()


def _wanted(model: Model, batch: int) -> Wanted:
    import torch

    names, samples, varying = [], [], []
    for i, one in enumerate(model.extractors):
        shape = reader(one.spec).shape(one.spec)
        axes = [*([] if batch else [0]), *(axis for axis, n in enumerate(shape, 1) if n == ANY)]
        for view in one.spec.views:
            names.append(f"network_{i}_{view.replace('-', '_')}")
            samples.append(torch.cat([one.network.sample] * max(1, batch)))
            varying.append(axes)
    return Wanted(deployed(model), samples, names, varying)


def _write(model: Model, to: str, kind: Format, batch: int, draft: Path) -> None:
    try:
        with warnings.catch_warnings():  # those of converters are not the user's concern
            warnings.simplefilter("ignore")
            kind.write(_wanted(model, batch), draft / kind.file)
    except RegraftError:
        raise
    except Exception as error:  # converters raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RegraftError(f"this model cannot be written as {to}: {reason:.300}") from error
    for i, one in enumerate(model.extractors):
        if one.row.tokenizer:
            vocabulary = row_file(one.row, one.row.tokenizer).read_bytes()
            (draft / tokenizer_name(i)).write_bytes(vocabulary)
    files = {path.name: file_hash(path) for path in sorted(draft.iterdir())}
    _put(draft / RECORD, model.record)
    _put(draft / TOLD, _told(model, to, batch, files))
    example = resources.files("regraft.export").joinpath(EXAMPLE)
    (draft / EXAMPLE).write_bytes(example.read_bytes())


def _told(model: Model, to: str, batch: int, files: Mapping[str, str]) -> dict[str, Any]:
    """See `regraft.model.exported.ToldExport`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "regraft": __version__,
        "to": to,
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "temperature": model.temperature,
        "threshold": _finite(model.threshold),
        "novelty": _finite(model.novelty.threshold),
        "batch": batch,
        "networks": [told_of(one) for one in model.extractors],
        "files": dict(files),
        "operating": None if model.operating is None else model.operating.to_dict(),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _put(path: Path, document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def _use(to: str, proof: Mapping[str, Any]) -> str:
    return (
        f"\n## Use\n\n```\nregraft predict . FILE ...\npython {EXAMPLE} FILE ...\n```\n\n"
        f"Format: {to}. Re-scored from raw bytes in a fresh process: {proof['examples']} examples, "
        f"largest difference of a probability {proof['largest_difference']:.1e}, the same answers; "
        f"see {PROOF}.\n"
    )


# --- parity --------------------------------------------------------------------------------------


def _proved(
    model: Model, to: str, kind: Format, batch: int, draft: Path, chosen: _Chosen
) -> dict[str, Any]:
    """The proof. Raises RegraftError where there is none."""
    found = _in_a_fresh_process(draft, kind, batch, chosen.files)
    readable, answers = _own_answers(model, chosen.files)
    rows = found["rows"]
    other = [i for i, row in enumerate(rows) if "error" not in row]
    if not readable or other != readable:
        wrong = sorted(set(other) ^ set(readable))
        names = ", ".join(chosen.files[i] for i in wrong[:3]) or "none can be read"
        raise RegraftError(f"no export: the stage “reading” drifted: {names}")
    theirs = np.array([rows[i]["outputs"][0] for i in readable])
    apart = np.abs(theirs - answers.probabilities).max(1)
    same = theirs.argmax(1) == answers.probabilities.argmax(1)
    worst = int(apart.argmax())
    if apart[worst] > LIMIT or not same.all():
        file = chosen.files[readable[worst]]
        stage = _drifted(model, file, rows[readable[worst]])
        raise RegraftError(
            f"no export: the answers differ by up to {apart[worst]:.2g} (at most {LIMIT:g}), and "
            f"{int((~same).sum())} of {len(same)} name another class; the stage “{stage}” drifted, "
            f"seen at {file}; nothing was written"
        )
    if not batch and found["together"] > LIMIT:
        raise RegraftError(
            f"no export: examples that are run together differ from each alone by "
            f"{found['together']:.2g}: this network has its number of examples built in; use "
            "--batch 1; nothing was written"
        )
    return {
        "to": to,
        "runtime": kind.versions(),
        "regraft": __version__,
        "examples": len(readable),
        "unreadable": len(rows) - len(readable),
        "largest_difference": float(apart[worst]),
        "limit": LIMIT,
        "same_answers": int(same.sum()),
        "together": found["together"] if not batch else None,
        "accuracy": _accuracies(chosen.labels[readable], theirs, answers),
        "files": json.loads((draft / TOLD).read_bytes())["files"],
    }


def _in_a_fresh_process(
    draft: Path, kind: Format, batch: int, files: Sequence[str]
) -> dict[str, Any]:
    asked = {"files": list(files), "trusted": file_hash(draft / kind.file), "together": not batch}
    command = [sys.executable, "-m", "regraft.model.rescored", str(draft)]
    done = subprocess.run(
        command, input=json.dumps(asked).encode(), capture_output=True, check=False, env=os.environ
    )
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["it died"])[-1]
        raise RegraftError(f"no export: the export does not run in a fresh process: {reason:.300}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _own_answers(model: Model, files: Sequence[str]) -> tuple[list[int], Answers]:
    """What the model itself says; which files it can read, and its answers for these."""
    readable: list[int] = []
    features = []
    for start in range(0, len(files), CHUNK):
        some = [contents(file) for file in files[start : start + CHUNK]]
        found, errors = model.encoded(some)
        readable += [start + i for i in range(len(some)) if i not in errors]
        features += [found] if len(found) else []
    if not features:
        raise DataError("examples: none of them can be read, so nothing can be re-scored")
    return readable, model.answer(np.concatenate(features))


def _accuracies(labels: Any, theirs: Any, answers: Answers) -> dict[str, float] | None:
    known = labels >= 0
    if not known.any():
        return None
    pairs = {"model": answers.probabilities, "export": theirs}
    return {name: float((p.argmax(1)[known] == labels[known]).mean()) for name, p in pairs.items()}


def _drifted(model: Model, file: str, row: Mapping[str, Any]) -> str:
    """The first stage at which an example's numbers differ: reading, network, head, conversion."""
    import torch

    inputs: list[Any] = []
    for one in model.extractors:
        (views,) = prepared_views(one.spec, model.modality, [contents(file)], {})
        inputs += [one.read(view)[None] for view in views]
    if inputs_sha(inputs) != row["inputs"]:
        return "reading"
    module = deployed(model)
    own, _ = model.encoded([contents(file)])
    with torch.inference_mode():
        seen = module.features(*map(torch.tensor, inputs))
        by_torch = model.answer(seen.numpy()).probabilities
        head = (module.scores(torch.tensor(own)) / model.temperature).softmax(1).numpy()
    truth = model.answer(own).probabilities
    if np.abs(by_torch - truth).max() > LIMIT:
        return "network"
    return "head" if np.abs(head - truth).max() > LIMIT else "conversion"
