"""export: Model → a folder that runs elsewhere, with the proof that its answers are the same.

    parts ── write ──▶ folder.tmp ── a fresh process re-scores examples ──▶ parity ──▶ folder

Parity or no export: where an answer differs, nothing is left behind, and the error names the stage
that drifted.
"""

import json
import secrets
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from regraft import __version__
from regraft.backbones.cache import file_hash
from regraft.data.dataset import Dataset
from regraft.errors import RegraftError, StorageError, UsageError
from regraft.export.at_hand import TOLD
from regraft.export.card import model_card
from regraft.export.formats import Format, export_format
from regraft.model.exported import FORMAT, RECORD, VERSION, OnGraph, tokenizer_name
from regraft.model.offered import about
from regraft.model.opening import opened
from regraft.progress import Progress, Quiet
from regraft.verbs.deployed import Deployment
from regraft.verbs.proof import Written, proven
from regraft.verbs.tasks import carried_out
from regraft.verbs.unseen import examples_of

COUNT = 256  # examples that are re-scored
PROOF, CARD, EXAMPLE = "proof.json", "README.md", "example.py"


def export(
    model: Any,
    out: str | Path,
    *,
    to: str = "onnx",
    examples: Any = None,
    count: int = COUNT,
    batch: int | None = None,
    progress: Progress | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """Write a model as `to`, a name of `export.formats.FORMATS`, into a new folder.

    model     a model of any task, or its bundle
    out       the folder; an earlier export there is replaced
    examples  what is re-scored: a Dataset or a source; None: what the model was fitted on
    count     at most so many of them, held-out ones first
    batch     examples that the graph reads at once; 0: any number; None: that, where the format
              can, else 1
    columns   of a manifest: label, text, path_column, root

    Returns the proof of parity, as it is in the folder. Raises UsageError, DataError where nothing
    can be re-scored, RegraftError that names the stage where the answers differ.
    """
    told, folder = progress or Quiet(), Path(out)
    model = opened(model)
    how: Deployment = carried_out("export", model.task)()
    kind = _refuse(model, how, to, folder, count, batch)
    batch = int(kind.fixed) if batch is None else batch
    chosen = _chosen(model, examples, count, {**how.columns(model), **columns})
    with _beside(folder) as draft:
        written = Written(draft, to, kind, batch)
        with told.stage(f"writing {to}", 1) as advance:
            _write(model, how, written)
            advance(1)
        with told.stage("re-scoring in a fresh process", 1) as advance:
            proof = proven(model, how, written, chosen)
            advance(1)
        _put(draft / PROOF, proof)
        card = model_card({"name": _name(model), **about(model)}, model.record)
        (draft / CARD).write_text(card + _use(to, proof), encoding="utf-8")
    return proof


def _name(model: Any) -> str:
    return str(model.record.get("name") or "model")


def _refuse(
    model: Any, how: Deployment, to: str, folder: Path, count: int, batch: int | None
) -> Format:
    mistakes = []
    if isinstance(model, OnGraph):
        mistakes.append("model: this is an export already; name the bundle that it came from")
    elif reason := how.unfit(model):
        mistakes.append(reason)
    if count < 1:
        mistakes.append(f"count: expected 1 or more, got {count}")
    if batch is not None and not 0 <= batch <= 1024:
        mistakes.append(f"batch: expected 0 (any number) to 1024, got {batch}")
    is_folder = folder.is_dir() and not folder.is_symlink()
    if folder.exists() and not (is_folder and _is_replaceable(folder)):
        mistakes.append(f"out: {folder} is there and is no export; name a new folder")
    if not folder.absolute().parent.is_dir():
        mistakes.append(f"out: the folder {folder.parent} does not exist; create it first")
    try:
        kind = export_format(to, writing=True)
        if kind.fixed and batch not in (None, 1):
            mistakes.append(f"batch: {to} reads one example at once; leave it out, or use onnx")
    except UsageError as error:
        mistakes += error.mistakes
    if mistakes:
        raise UsageError(*mistakes)
    return kind


def _is_replaceable(folder: Path) -> bool:
    return (folder / TOLD).is_file() or not any(folder.iterdir())


# --- what is re-scored ---------------------------------------------------------------------------


def _chosen(model: Any, examples: Any, count: int, columns: Mapping[str, Any]) -> Dataset:
    """Some examples, those first that were held out when the model was fitted."""
    data = examples_of(model, examples, columns, wanted="re-score")
    parts = model.record.get("examples", {})
    held = {*parts.get("test", ()), *parts.get("validation", ())}
    ids = data.table["id"].to_list()
    order = sorted(range(len(ids)), key=lambda i: (ids[i] not in held, _scattered(ids[i])))
    return data.with_table(data.table[order[:count]])


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


def _write(model: Any, how: Deployment, written: Written) -> None:
    draft, kind = written.folder, written.kind
    wanted = how.wanted(model, written.batch)
    if kind.fixed and any(wanted.varying):
        raise UsageError(
            f"to: {written.to} reads inputs of one size, and this model reads {model.modality}s of "
            "any length; use onnx or openvino"
        )
    try:
        with warnings.catch_warnings():  # those of converters are not the user's concern
            warnings.simplefilter("ignore")
            kind.write(wanted, draft / kind.file)
    except RegraftError:
        raise
    except Exception as error:  # converters raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RegraftError(
            f"this model cannot be written as {written.to}: {reason:.300}"
        ) from error
    for i, one in enumerate(how.networks(model)):
        if one.vocabulary is not None:
            (draft / tokenizer_name(i)).write_bytes(one.vocabulary)
    some = sorted(path for path in draft.rglob("*") if path.is_file())
    files = {path.relative_to(draft).as_posix(): file_hash(path) for path in some}
    _put(draft / RECORD, model.record)
    _put(draft / TOLD, _told(model, how, written, files))
    example = resources.files("regraft.export").joinpath(EXAMPLE)
    (draft / EXAMPLE).write_bytes(example.read_bytes())


def _told(
    model: Any, how: Deployment, written: Written, files: Mapping[str, str]
) -> dict[str, Any]:
    """See `regraft.model.exported.ToldExport`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "regraft": __version__,
        "to": written.to,
        "task": model.task,
        "modality": model.modality,
        "batch": written.batch,
        "networks": [one.told for one in how.networks(model)],
        "files": dict(files),
        **how.told(model),
    }


def _put(path: Path, document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def _use(to: str, proof: Mapping[str, Any]) -> str:
    return (
        f"\n## Use\n\n```\nregraft predict . FILE ...\npython {EXAMPLE} FILE ...\n```\n\n"
        f"Format: {to}. Re-scored from raw bytes in a fresh process: {proof['examples']} examples, "
        f"largest difference {proof['largest_difference']:.1e}, the same answers; "
        f"see {PROOF}.\n"
    )
