"""The networks of a bundle: what is told of them, how far it is believed, and where they lie.

A network of a bundle is used from this machine's own catalog where that is the very same network
(so that cached features serve); else from the bundle's weights under a fingerprint of their own, so
that a forged bundle can't pass its features off as those of a known network.

What a bundle says of a network only ever chooses among what is here: an architecture that a family
knows, in a library that is built in. Where its weights came from is told and never followed.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regraft.backbones.cache import cache_folder, file_hash
from regraft.backbones.catalog import CatalogRow, Weights, available, catalog, families, row_from
from regraft.backbones.configs import read_config, refuse_config
from regraft.backbones.describe import RESERVED_ARGS
from regraft.backbones.engines import ENGINES
from regraft.backbones.extractor import Extractor
from regraft.backbones.sources import SOURCES
from regraft.backbones.weights import CARRIERS, fingerprint
from regraft.errors import BackboneError, BundleError, MissingExtra, UsageError
from regraft.export.bundle import Bundle
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically


@dataclass(frozen=True)
class ToldNetwork:
    """What model.json says of one network."""

    row: CatalogRow
    spec: InputSpec
    engine: str
    fingerprint: str


def told_of(one: Extractor) -> dict[str, Any]:
    """What a bundle says of a network; of the place of its weights only the last name is told."""
    row = one.row.to_dict()
    row["weights"] = {**row["weights"], "origin": Path(row["weights"]["origin"]).name}
    told = {"row": row, "spec": one.spec.to_dict()}
    return {**told, "engine": one.engine_name, "fingerprint": one.fingerprint}


def refusals(told: Mapping[str, Any], views: Sequence[str], inputs: Sequence[str]) -> Iterator[str]:
    """What of a `ToldNetwork`, as plain data of the right types, cannot be used here."""
    row = told["row"]
    if told["engine"] not in ENGINES:
        yield f"engine: {told['engine']!r} is not known here"
    if unknown := [view for view in told["spec"].get("views", ()) if view not in views]:
        yield f"spec.views: {', '.join(map(repr, unknown))} are not known here"
    reads = [told["spec"].get("reads", "picture"), row["spec"].get("reads", "picture")]
    if reads[0] != reads[1] or reads[0] not in inputs:
        yield f"spec.reads: {reads[0]!r} is not one of {', '.join(inputs)}"
    if row["source"] not in SOURCES:
        yield f"row.source: networks of {row['source']!r} are not read from bundles"
    family = families().get(row["family"])
    if family is None or not re.fullmatch(family.matches, f"{row['source']}:{row['architecture']}"):
        network = f"{row['source']}:{row['architecture']}"
        yield f"row.family, row.architecture: {row['family']!r} has no {network!r} here"
    if reserved := sorted(RESERVED_ARGS & set(row.get("options", {}))):
        yield f"row.options: {', '.join(reserved)} could load files"
    if row["source"] == "transformers" and family is not None and not row.get("config"):
        yield from () if row.get("graph") else _wrong_options(row)
    yield from _wrong_graph(told)
    for where, spec in {"spec": told["spec"], "row.spec": row["spec"]}.items():
        yield from (f"{where}.{mistake}" for mistake in _wrong_spec(spec))
    for name in ("size_multiple", "min_size"):
        if row.get(name, 1) < 1:
            yield f"row.{name}: expected 1 or more, got {row[name]}"


def _wrong_graph(told: Mapping[str, Any]) -> Iterator[str]:
    """A graph runs by its own engine, at the size that it was made for."""
    engine, row = told["row"].get("graph", ""), told["row"]
    if not engine:
        return
    if engine != told["engine"] or engine not in ENGINES or ENGINES[engine].open is None:
        yield f"row.graph: {engine!r:.60} is not the engine, or runs no graphs"
    any_size = engine in ENGINES and ENGINES[engine].any_size
    if not any_size and told["spec"].get("size") != row["spec"].get("size"):
        yield "row.graph: it was made for another size"


def _wrong_options(row: Mapping[str, Any]) -> Iterator[str]:
    """Options that are a whole configuration must be of the architecture's own kind."""
    options = row.get("options", {})
    kind = options.get("model_type")
    if not _is_own_kind(kind, row):
        yield f"row.options.model_type: {kind!r:.60}, and the network is {row['architecture']}"
    try:
        refuse_config(options, "row.options")
    except BackboneError as error:
        yield str(error)


def _is_own_kind(kind: object, row: Mapping[str, Any]) -> bool:
    """Whether a configuration's ``model_type`` is that of the row's architecture."""
    own = families()[row["family"]].model_type.replace("-", "")
    own = own or re.sub(r"(Model|For[A-Za-z]+)$", "", row["architecture"]).lower()
    return isinstance(kind, str) and re.sub(r"[_-]", "", kind) == own


def _wrong_spec(record: Mapping[str, Any]) -> Sequence[str]:
    try:
        InputSpec.from_dict(record)
    except UsageError as error:
        return error.mistakes
    return ()


def extractor_of(bundle: Bundle, index: int, told: Mapping[str, Any]) -> Extractor:
    """The network as told, which `refusals` has nothing against. Raises RegraftError."""
    engine = told["engine"]
    if ENGINES[engine].version() is None:
        if told["row"].get("graph"):
            raise MissingExtra(engine, ENGINES[engine].extra)
        engine = "torch"  # always there; a report names the engine that ran
    row = _own(told) or _carried(bundle, index, told["row"])
    return Extractor(row, InputSpec.from_dict(told["spec"]), engine)


def _own(told: Mapping[str, Any]) -> CatalogRow | None:
    """This machine's own row, if it is the very same network; nothing is downloaded for it."""
    row = catalog().get(told["row"]["name"])
    if row is None or not available(row):
        return None
    if row.config and CARRIERS[row.weights.kind].locate(row, row.config) is None:
        return None
    try:
        return row if fingerprint(row) == told["fingerprint"] else None
    except BackboneError:  # what is here is damaged: the bundle's is whole
        return None


def _carried(bundle: Bundle, index: int, told: Mapping[str, Any]) -> CatalogRow:
    """The row of the bundle, over weights taken out of it into the cache.

    Their folder is named by all that is in it, so that no other bundle can change it.
    """
    entry = f"backbone-{index}.safetensors"
    sha256 = _sha256_of(bundle, entry)
    config = _config(bundle, index, told) if told.get("config") else b""
    tokenizer = _tokenizer(bundle, index) if told.get("tokenizer") else b""
    name = hashlib.sha256(f"{entry} {sha256} ".encode() + config + tokenizer).hexdigest()
    folder = cache_folder(f"bundled/{name}")
    if not (folder / entry).is_file() or file_hash(folder / entry) != sha256:
        bundle.extract(f"backbone-{index}", folder)
    if config:
        write_atomically(folder / "config.json", config)
        read_config(folder / "config.json")  # refuses what could run code
    if tokenizer:
        write_atomically(folder / "tokenizer.json", tokenizer)
    weights = Weights("folder", str(folder), entry, sha256=sha256)
    beside = {"config": "config.json" if config else ""}
    beside |= {"tokenizer": "tokenizer.json"} if tokenizer else {}
    return row_from({**told, **beside, "weights": asdict(weights)})


def _sha256_of(bundle: Bundle, entry: str) -> str:
    if entry not in bundle.names:
        raise BundleError(f"{bundle.path}: there is no {entry}, the weights of a network")
    return str(bundle.manifest["entries"][entry]["sha256"])


def _tokenizer(bundle: Bundle, index: int) -> bytes:
    """The vocabulary of a network of texts: data that the tokenizers library reads."""
    found = bundle.document(f"backbone-{index}-tokenizer")
    if not isinstance(found, dict) or "model" not in found:
        raise BundleError(f"{bundle.path}: backbone-{index}-tokenizer.json is no vocabulary")
    return json.dumps(found, sort_keys=True).encode()


def _config(bundle: Bundle, index: int, told: Mapping[str, Any]) -> bytes:
    """The configuration of the architecture, which must be of the architecture's own kind."""
    config = bundle.document(f"backbone-{index}-config")
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or not _is_own_kind(kind, told):
        raise BundleError(
            f"{bundle.path}: backbone-{index}-config.json is of the kind {kind!r:.60}, and the "
            f"network is {told['architecture']}"
        )
    return json.dumps(config, sort_keys=True).encode()
