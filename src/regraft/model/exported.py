"""A folder that `regraft export` wrote, as a model that answers: for predict, evaluate, serve.

    export.json           what it is: classes, inputs, calibration, size and SHA-256 of the files
    graph.*               networks, head and temperature as one graph
    tokenizer-N.json      vocabulary of a network of texts
    record.json           provenance, as in a bundle
    proof.json, README.md, example.py   parity, the model card, how to run it elsewhere

Every example takes the path of a bundle up to the graph: the same decoder, InputSpec, vocabulary.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.cache import file_hash
from regraft.backbones.catalog import CatalogRow, Weights, row_from
from regraft.backbones.features import Pass
from regraft.backbones.readers import Read, reader
from regraft.backbones.reading import file_bytes, hash_files, in_parallel
from regraft.backbones.store import Store, Verdict
from regraft.data.paths import inside
from regraft.errors import BundleError, RegraftError, Unreadable
from regraft.evaluation.calibration import conformal_sets
from regraft.evaluation.operating import OperatingPoint
from regraft.export.archive import read_file
from regraft.export.at_hand import TOLD
from regraft.export.formats import Run, export_format
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.carried import ToldNetwork, refusals
from regraft.model.encoded import Features, prepared_views
from regraft.model.model import Answers, Model, told_network
from regraft.model.packing import TASKS, wrong_point, wrong_record
from regraft.model.plain import misfits
from regraft.progress import Progress, Quiet

RECORD = "record.json"
FORMAT, VERSION = "regraft-export", 1
MOST = 10_000_000  # bytes of a document
AGAIN = "write it again with `regraft export`"


@dataclass(frozen=True)
class ToldExport:
    """What export.json says.

    to         name of the format
    batch      examples that the graph reads at once; 0: any number
    novelty    above it an example is called unlike the training data; None: never
    networks   as in a bundle; their specs tell the inputs, one for each view
    files      name → SHA-256
    """

    format: str
    version: int
    regraft: str
    to: str
    task: str
    modality: str
    classes: tuple[str, ...]
    temperature: float
    threshold: float | None
    novelty: float | None
    batch: int
    networks: tuple[ToldNetwork, ...]
    files: Mapping[str, Any]
    operating: OperatingPoint | None = None


@dataclass(frozen=True)
class Graph:
    """An opened graph and what stands before it: one spec and reader for each network."""

    run: Run
    specs: tuple[InputSpec, ...]
    reads: tuple[Read, ...]
    rows: tuple[CatalogRow, ...]
    to: str
    novelty: float

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


@dataclass(frozen=True, eq=False)
class Exported(Model):
    """A model whose networks and head are one graph; what it calls features are its outputs."""

    graph: Graph | None = None
    version: str = ""

    def encoded(self, examples: Sequence[bytes]) -> Features:
        """(m, 2 c + 1): probabilities, scores and novelty of what can be read; and the errors."""
        errors: dict[int, str] = {}
        rows = []
        for i, data in enumerate(examples):
            try:
                rows.append(self._row(data))
            except Unreadable as error:
                errors[i] = error.reason
        nothing = np.zeros((0, 2 * len(self.classes) + 1), np.float32)
        return np.stack(rows) if rows else nothing, errors

    def _row(self, data: bytes) -> npt.NDArray[np.float32]:
        assert self.graph is not None
        outputs = self.graph.run(self.graph.inputs(self.modality, data))
        return np.concatenate([np.ravel(one[:1]) for one in outputs]).astype(np.float32)

    def features(
        self,
        files: Sequence[str | Path],
        *,
        store: Store | None = None,
        progress: Progress | None = None,
    ) -> Pass:
        """Outputs for files; the store is of no use here."""
        told = progress or Quiet()
        shas, width = hash_files(files, told), 2 * len(self.classes) + 1
        out, looks = np.zeros((len(files), width), np.float32), []
        jobs = [(Path(file), sha) for file, sha in zip(files, shas, strict=True)]
        with told.stage("answers of the exported model", len(files)) as advance:
            for i, (row, look) in enumerate(in_parallel(self._seen, jobs)):
                looks.append(look)
                if row is not None:
                    out[i] = row
                advance(1)
        names = tuple(sha if isinstance(sha, str) else "" for sha in shas)
        return Pass(names, tuple(looks), out, (width,))

    def _seen(self, jobs: Sequence[tuple[Path, str | Verdict]]) -> list[tuple[Any, Any]]:
        return [self._of_file(path, sha) for path, sha in jobs]

    def _of_file(self, path: Path, sha: str | Verdict) -> tuple[Any, Any]:
        data = file_bytes(path, sha) if isinstance(sha, str) else sha
        if isinstance(data, Verdict):
            return None, data
        try:
            return self._row(data), modality(self.modality).decode(data, str(path)).facts
        except Unreadable as error:
            return None, Verdict(error.kind, error.reason)

    @property
    def networks(self) -> list[dict[str, Any]]:
        """See `Model.networks`."""
        graph = self.graph
        assert graph is not None
        return [
            told_network(row, spec, graph.to)
            for row, spec in zip(graph.rows, graph.specs, strict=True)
        ]

    def answer(self, features: npt.NDArray[np.floating]) -> Answers:
        """Answers from outputs (n, 2 c + 1)."""
        assert self.graph is not None
        count, outputs = len(self.classes), np.asarray(features, np.float64)
        scores, novelty = outputs[:, count:-1], outputs[:, -1]
        probabilities, point = outputs[:, :count], self.operating
        return Answers(
            scores,
            probabilities,
            probabilities.argmax(1) if point is None else point.decide(probabilities, self.classes),
            conformal_sets(scores, self.threshold),
            novelty > self.graph.novelty,
        )

    def save(self, path: str | Path) -> Path:
        """Raises BundleError: a graph does not become a bundle again."""
        raise BundleError("an exported model cannot be saved as a bundle; keep the bundle")


def load_exported(folder: Path, trusted: str | None = None) -> Exported:
    """Read an export. Raises BundleError, MissingExtra.

    trusted  SHA-256 of the graph, where it was written a moment ago by this program: only then a
             format is opened whose runtime could run code that is in a file
    """
    told = _document(folder, TOLD)
    _refuse(folder, list(misfits(ToldExport, told, f"{TOLD}: ")))
    record = _document(folder, RECORD)
    _refuse(folder, [*_wrong(told), *wrong_record(record), *_wrong_files(folder, told)])
    kind = export_format(told["to"])
    if not kind.safe and trusted != told["files"][kind.file]:
        raise BundleError(
            f"{folder}: its runtime reads {kind.file} in a way that can run code, so it is opened "
            "only by your own program that trusts it; for Regraft export to onnx or openvino"
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
    return Exported(
        classes=tuple(told["classes"]),
        extractors=(),
        head=None,  # type: ignore[arg-type]
        temperature=float(told["temperature"]),
        threshold=np.inf if told["threshold"] is None else float(told["threshold"]),
        novelty=None,  # type: ignore[arg-type]
        record=record,
        modality=told["modality"],
        task=told["task"],
        operating=OperatingPoint(**told["operating"]) if told.get("operating") else None,
        graph=graph,
        version=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12],
    )


def _opened(folder: Path, told: Mapping[str, Any], run: Run) -> Graph:
    rows = [_row(folder, i, one) for i, one in enumerate(told["networks"])]
    specs = [InputSpec.from_dict(one["spec"]) for one in told["networks"]]
    reads = [reader(spec).open(row, spec) for row, spec in zip(rows, specs, strict=True)]
    novelty = np.inf if told["novelty"] is None else float(told["novelty"])
    return Graph(run, tuple(specs), tuple(reads), tuple(rows), told["to"], novelty)


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
    if told["task"] not in TASKS:
        yield f"task: {told['task']!r:.60} is not one of {', '.join(TASKS)}"
    if len(told["classes"]) < 2 or len(set(told["classes"])) < len(told["classes"]):
        yield "classes: expected two names or more, each once"
    if not told["networks"]:
        yield "networks: there is none"
    yield from wrong_point(told)
    kind = modality(told["modality"])
    for i, network in enumerate(told["networks"]):
        yield from (f"networks[{i}].{r}" for r in refusals(network, kind.views, kind.inputs))


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
