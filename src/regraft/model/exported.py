"""A folder that `regraft export` wrote, as a model that answers: for predict, evaluate, serve.

    export.json           what it is: classes, inputs, calibration, size and SHA-256 of the files
    graph.*               networks, head and calibration as one graph
    tokenizer-N.json      vocabulary of a network of texts
    record.json           provenance, as in a bundle
    proof.json, README.md, example.py   parity, the model card, how to run it elsewhere

Every example takes the path of a bundle up to the graph: the same decoder, InputSpec, vocabulary.
What is after the graph is its task's own: a row of KINDS.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.cache import file_hash
from regraft.backbones.catalog import CatalogRow, Weights, row_from
from regraft.backbones.readers import Read, reader
from regraft.data.paths import inside
from regraft.errors import BundleError, RegraftError, Unreadable
from regraft.export.archive import read_file
from regraft.export.at_hand import TOLD
from regraft.export.formats import export_format
from regraft.export.wanted import Run
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.carried import ToldNetwork, refusals
from regraft.model.encoded import prepared_views
from regraft.model.model import told_network
from regraft.model.packing import wrong_record
from regraft.model.plain import misfits

RECORD = "record.json"
FORMAT, VERSION = "regraft-export", 1
MOST = 10_000_000  # bytes of a document
AGAIN = "write it again with `regraft export`"


@dataclass(frozen=True)
class ToldExport:
    """What export.json says of every export; its task says more.

    to         name of the format
    batch      examples that the graph reads at once; 0: any number
    networks   as in a bundle; their specs tell the inputs, one for each view
    files      name → SHA-256
    """

    format: str
    version: int
    regraft: str
    to: str
    task: str
    modality: str
    batch: int
    networks: tuple[ToldNetwork, ...]
    files: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """An opened graph and what stands before it: one spec and reader for each network."""

    run: Run
    specs: tuple[InputSpec, ...]
    reads: tuple[Read, ...]
    rows: tuple[CatalogRow, ...]
    to: str

    def inputs(self, kind: str, data: bytes) -> list[npt.NDArray[Any]]:
        """The inputs (1, ...) of one encoded example. Raises Unreadable."""
        errors: dict[int, str] = {}
        found = []
        for spec, read in zip(self.specs, self.reads, strict=True):
            (views,) = prepared_views(spec, kind, [data], errors)
            if errors:
                raise Unreadable("example", "unreadable", errors[0])
            found += [read(view)[None] for view in views]
        return found

    def row(self, kind: str, data: bytes) -> npt.NDArray[np.float32]:
        """All outputs for one encoded example, side by side. Raises Unreadable."""
        outputs = self.run(self.inputs(kind, data))
        return np.concatenate([np.ravel(one[:1]) for one in outputs]).astype(np.float32)

    @property
    def networks(self) -> list[dict[str, Any]]:
        """See `Model.networks`."""
        pairs = zip(self.rows, self.specs, strict=True)
        return [told_network(row, spec, self.to) for row, spec in pairs]


class OnGraph:
    """What exported models have in common: they are opened, and stay as they are."""

    graph: Graph | None
    version: str

    @property
    def networks(self) -> list[dict[str, Any]]:
        """See `Model.networks`."""
        return opened_graph(self.graph).networks

    def save(self, path: str | Path) -> Path:
        """Raises BundleError: a graph does not become a bundle again."""
        raise BundleError("an exported model cannot be saved as a bundle; keep the bundle")


def opened_graph(graph: Graph | None) -> Graph:
    """A graph, which every exported model has."""
    assert graph is not None
    return graph


@dataclass(frozen=True)
class Kind:
    """How exports of a task are read.

    told   what their export.json says: a `ToldExport` with more fields
    wrong  what of it cannot be used, once its fields are of the right types
    made   (document, fields that all exported models have) → the model
    """

    told: type[ToldExport]
    wrong: Callable[[Mapping[str, Any]], Iterator[str]]
    made: Callable[[Mapping[str, Any], Mapping[str, Any]], Any]


# Task → where its `Kind` stands; imported when one is opened.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "classification": "regraft.model.exported_classes",
        "tags": "regraft.model.exported_vectors",
        "regression": "regraft.model.exported_vectors",
        "detection": "regraft.model.exported_boxes",
        "transcription": "regraft.model.exported_speech",
    }
)


def load_exported(folder: Path, trusted: str | None = None) -> Any:
    """Read an export: the model of its task. Raises BundleError, MissingExtra.

    trusted  SHA-256 of the graph, where it was written a moment ago by this program: only then a
             format is opened whose runtime could run code that is in a file
    """
    told, record = checked(folder)
    kind = export_format(told["to"])
    if not kind.safe and trusted != told["files"][kind.file]:
        raise BundleError(
            f"{folder}: its runtime reads {kind.file} in a way that can run code, so it is opened "
            "only by your own program that trusts it; for Regraft export to onnx, openvino, litert "
            "or keras"
        )
    try:
        graph = _opened(folder, told, kind.open(inside(folder, kind.file)))
    except RegraftError:
        raise
    except Exception as error:  # runtimes raise nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(
            f"{folder}: {kind.file} cannot be opened: {reason:.200}; {AGAIN}"
        ) from error
    version = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    shared = {"modality": told["modality"], "task": told["task"], "record": record}
    return _kind(folder, told).made(told, {**shared, "graph": graph, "version": version})


def checked(folder: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What an export says of itself and its provenance; all its files are there as they were
    written, and none of them is run. Raises BundleError, MissingExtra.
    """
    told = _document(folder, TOLD)
    task = _kind(folder, told)
    _refuse(folder, list(misfits(task.told, told, f"{TOLD}: ")))
    record = _document(folder, RECORD)
    wrong = [*_wrong(told), *task.wrong(told), *wrong_record(record), *_wrong_files(folder, told)]
    _refuse(folder, wrong)
    return told, record


def _kind(folder: Path, told: Any) -> Kind:
    task = told.get("task") if isinstance(told, dict) else None
    if task not in KINDS:
        _refuse(folder, [f"task: {task!r:.60} is not one of {', '.join(KINDS)}"])
    kind: Kind = import_module(KINDS[str(task)]).KIND
    return kind


def _opened(folder: Path, told: Mapping[str, Any], run: Run) -> Graph:
    rows = [_row(folder, i, one) for i, one in enumerate(told["networks"])]
    specs = [InputSpec.from_dict(one["spec"]) for one in told["networks"]]
    reads = [reader(spec).open(row, spec) for row, spec in zip(rows, specs, strict=True)]
    return Graph(run, tuple(specs), tuple(reads), tuple(rows), told["to"])


def _row(folder: Path, number: int, told: Mapping[str, Any]) -> CatalogRow:
    """The row of a network whose weights are in the graph; its vocabulary lies in the folder."""
    row = told["row"]
    weights = Weights("folder", str(folder), tokenizer_name(number))
    vocabulary = tokenizer_name(number) if row.get("tokenizer") else ""
    changed = {"weights": asdict(weights), "tokenizer": vocabulary, "config": ""}
    return row_from({**row, **changed})


def tokenizer_name(number: int) -> str:
    """Of the vocabulary of a network in the folder."""
    return f"tokenizer-{number}.json"


def _document(folder: Path, name: str) -> Any:
    try:
        return json.loads(read_file(inside(folder, name), MOST))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder}: {name} is not JSON: {error!s:.200}; {AGAIN}") from None


def _refuse(folder: Path, mistakes: Sequence[str]) -> None:
    if mistakes:
        told = "; ".join(mistakes[:10])
        raise BundleError(f"{folder}: is no export that this version can use: {told}; {AGAIN}")


def _wrong(told: Mapping[str, Any]) -> Iterator[str]:
    if (told["format"], told["version"]) != (FORMAT, VERSION):
        yield f"format {told['format']!r:.40} {told['version']}: this Regraft reads {VERSION}"
    if not told["networks"]:
        yield "networks: there is none"
    kind = modality(told["modality"])
    for i, network in enumerate(told["networks"]):
        yield from (f"networks[{i}].{r}" for r in refusals(network, kind.views, kind.inputs))


def wrong_classes(classes: Sequence[str], least: int = 1) -> Iterator[str]:
    """What keeps names from being those of classes."""
    if len(classes) < least or len(set(classes)) < len(classes) or "" in classes:
        yield f"classes: expected {least} name{'s' * (least > 1)} or more, each once"


def _wrong_files(folder: Path, told: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was written."""
    if export_format(told["to"]).file not in told["files"]:
        yield f"files: there is no {export_format(told['to']).file}"
    for name, sha256 in told["files"].items():
        try:
            if file_hash(inside(folder, name)) != sha256:
                yield f"{name} is not as it was written"
        except (OSError, RegraftError) as error:
            yield f"{name}: {error}"
