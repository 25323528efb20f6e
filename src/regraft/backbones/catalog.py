"""The catalog: what every pretrained network is, weighs, costs and may be used for, as plain rows.

Nothing here imports torch. ``catalog.toml`` beside this file explains its columns.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import UNITS, InputSpec

DEFAULT = "efficientnet-lite0"
# What a network reads → the first one that is tried.
DEFAULTS: Mapping[str, str] = {
    "picture": DEFAULT,
    "text": "minilm-l6",
    "sound": "whisper-tiny-en",
}

# How many classes a table of class names has; "none" is a network without a classifier.
CLASS_TABLES: Mapping[str, int] = MappingProxyType(
    {"none": 0, "imagenet-1k": 1000, "imagenet-12k": 11821, "imagenet-22k": 21841}
)


@dataclass(frozen=True)
class Family:
    """Where the parts of a network are, for all networks that are built alike.

    matches        regex over ``source:architecture``; the first family that matches is taken
    taps           regex over module names: the blocks, in order; ``@feature_info`` asks timm
    tap_type       regex over the class names of the blocks where their own names do not tell (VGG)
    pool           how a block's output becomes one vector: a key of ``network.POOLS``
    prefix_tokens  tokens before the patches (CLS, registers), or the module's attribute that tells
    last           the feature before the classifier: ``forward_head`` (timm), ``input:REGEX`` or
                   ``output:REGEX`` of the last module whose name matches
    resize         what another input size needs: a key of ``resizing.RESIZE``
    groups         regexes over parameter names, shallow to deep; numbers captured split a group
    head           regex over the names of the classifier's modules
    operations     what may be done with the network, by the names of the strategies
    reads          what the network reads: a key of ``spec.UNITS``
    front          what a network of sounds hears: see `spec.Hearing`
    model_type     of a configuration of transformers, where it is not the architecture's name
    lost_positions  position embeddings of a reader of texts that no token gets
    unused         regex over names of the checkpoint that features have no use for, beside a
                   network without a classifier: heads of its pretraining
    """

    name: str
    matches: str
    taps: str
    pool: str
    last: str
    groups: tuple[str, ...]
    head: str
    operations: tuple[str, ...]
    tap_type: str = ".*"
    prefix_tokens: int | str = 0
    resize: str = "any"
    reads: str = "picture"
    front: str = ""
    model_type: str = ""
    lost_positions: int = 0
    unused: str = ""

    def depth_groups(self, parameters: Iterable[str]) -> list[list[str]]:
        """Parameter names from shallow to deep, the classifier's last: for layer-wise rates.

        Raises BackboneError where a name is in no group.
        """
        groups: dict[tuple[int, ...], list[str]] = {}
        homeless = []
        for name in parameters:
            if (depth := self._depth(name)) is None:
                homeless.append(name)
            else:
                groups.setdefault(depth, []).append(name)
        if homeless:
            raise BackboneError(f"family {self.name}: no depth group for {', '.join(homeless)}")
        return [groups[depth] for depth in sorted(groups)]

    def is_head(self, parameter: str) -> bool:
        """Whether a parameter belongs to the classifier that the network came with."""
        return re.fullmatch(rf"(?:{self.head})\..+", parameter) is not None

    def _depth(self, name: str) -> tuple[int, ...] | None:
        if self.is_head(name):
            return (len(self.groups),)
        for index, pattern in enumerate(self.groups):
            if found := re.match(pattern, name):
                return (index, *(int(number or 0) for number in found.groups()))
        return None


@dataclass(frozen=True)
class Weights:
    """Where the numbers come from.

    kind      a key of ``weights.CARRIERS``: package, hub, torchvision or folder
    origin    the package's name, the hub repository, torchvision's weights enum or the folder
    file      the file inside it
    sha256    of that file, where it is known beforehand
    revision  commit or tag of a hub repository; empty: see ``weights.py``
    form      of a file that is not safetensors: a key of ``weights.CONVERSIONS``
    """

    kind: str
    origin: str
    file: str = "model.safetensors"
    sha256: str = ""
    revision: str = ""
    form: str = ""

    @classmethod
    def at(cls, place: str) -> "Weights":
        """In a folder, or in a repository of a hub, ``NAME@REVISION``."""
        if Path(place).is_dir():
            return cls("folder", place)
        repository, _, revision = place.partition("@")
        return cls("hub", repository, revision=revision)


@dataclass(frozen=True)
class Check:
    """Known logits (the first ones) for ``network.synthetic_picture`` at the row's own size."""

    logits: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True)
class CatalogRow:
    """One pretrained network.

    parameters      number of weights; 0 where it is not known before loading
    gflops          10⁹ floating-point operations a picture at the row's own size (a multiply-add
                    counts as two), a text of about a question's length, a second of sound; None:
                    not known
    upstream_score  ImageNet-1k top-1 in per cent, as `score_from` tells; None: not stated
    classes         a key of CLASS_TABLES, or ``own``: `labels`, or numbers
    config          a file beside the weights that the architecture is read from
    graph           the engine whose own graph the weights file holds in place of weights: such a
                    network gives features by that engine, and is nothing that could be trained
    narrow          the weights have fewer channels than the architecture is built with
    tokenizer       a file beside the weights that cuts texts into tokens, for networks of texts
    max_size        the largest size that the network reads; 0: there is no limit
    options         further arguments of the architecture (timm's ``model_args``); of a network of
                    transformers without `config` its whole configuration
    assumed         what was chosen of its input because nothing told it, for the user to read
    """

    name: str
    source: str
    architecture: str
    family: str
    weights: Weights
    spec: InputSpec
    licence_code: str = "not stated"
    licence_weights: str = "not stated"
    parameters: int = 0
    gflops: float | None = None
    upstream_score: float | None = None
    score_from: str = ""
    classes: str = "none"
    num_classes: int = 0
    labels: tuple[str, ...] = ()
    min_size: int = 32
    size_multiple: int = 1
    max_size: int = 0
    check: Check | None = None
    config: str = ""
    graph: str = ""
    narrow: bool = False
    tokenizer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    assumed: str = ""

    def reads_size(self, size: int) -> bool:
        """Whether the network can read such an input."""
        fits = size >= self.min_size and size % self.size_multiple == 0
        return fits and size <= (self.max_size or size)

    @property
    def sizes_told(self) -> str:
        """Which sizes the network reads, as a sentence."""
        of = f", a multiple of {self.size_multiple}" if self.size_multiple > 1 else ""
        sign = UNITS[self.spec.reads].sign
        if self.max_size:
            return f"{self.name} reads {self.min_size} to {self.max_size} {sign}{of}"
        return f"{self.name} reads {self.min_size} {sign} or more{of}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data; `row_from` reads it."""
        record = asdict(replace(self, options=dict(self.options)))
        return {**record, "spec": self.spec.to_dict()}


class Availability(NamedTuple):
    """Whether a network's weights are on this machine, and if not, what is missing."""

    here: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.here


def catalog() -> dict[str, CatalogRow]:
    """Every row by its name, in the order of the file."""
    return dict(_tables()[1])


def families() -> dict[str, Family]:
    """Every family by its name, in the order in which they are tried."""
    return dict(_tables()[0])


def family_of(source: str, architecture: str) -> Family:
    """The first family whose `matches` fits ``source:architecture``.

    Raises BackboneError where none does: such a network needs a row of its own.
    """
    name = f"{source}:{architecture}"
    for family in families().values():
        if re.fullmatch(family.matches, name):
            return family
    raise BackboneError(
        f"{name}: no family says where its blocks are; add a [families] table to catalog.toml"
    )


def find(name: str) -> CatalogRow:
    """The row of a network.

    `name` is a name of the catalog, or ``timm:NAME``, ``torchvision:NAME``,
    ``transformers:REPOSITORY_OR_FOLDER``, ``folder:PATH``, ``keras:FILE``, ``savedmodel:FOLDER`` or
    a plugin's prefix: then the row is made on the fly. ``@REVISION`` at the end pins a hub
    repository to a commit or a tag.

    Raises UsageError for an unknown name (the closest names are told), BackboneError where a
    network that was named exists and cannot be used.
    """
    if ":" in name:
        from regraft.backbones.describe import describe

        return describe(name)
    base, _, revision = name.partition("@")
    row = catalog().get(base)
    if row is None:
        raise UsageError(_unknown(base))
    return pinned(row, revision)


def pinned(row: CatalogRow, revision: str) -> CatalogRow:
    """The row at a hub revision; unchanged for an empty one.

    Raises UsageError where the row does not come from a hub.
    """
    if not revision:
        return row
    if row.weights.kind != "hub":
        raise UsageError(
            f"{row.name}@{revision}: only networks from a hub have revisions; this one comes from "
            f"the {row.weights.kind} {row.weights.origin}"
        )
    return replace(row, weights=replace(row.weights, revision=revision))


def available(row: CatalogRow) -> Availability:
    """Whether the weights are on this machine: a look at folders, no download, no torch."""
    from regraft.backbones.weights import availability

    return availability(row)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), catalog(), n=4, cutoff=0.5)
    hint = f"; close: {', '.join(close)}" if close else ""
    return (
        f"backbone: {name!r} is not in the catalog{hint}. All names: regraft backbones. A network "
        "outside the catalog: timm:NAME, torchvision:NAME, transformers:REPOSITORY, folder:PATH, "
        "keras:FILE or savedmodel:FOLDER"
    )


@cache
def _tables() -> tuple[dict[str, Family], dict[str, CatalogRow]]:
    text = files("regraft.backbones").joinpath("catalog.toml").read_text(encoding="utf-8")
    record = tomllib.loads(text)
    found = {name: _family(name, table) for name, table in record["families"].items()}
    rows = [row_from(record) for record in record["backbones"]]
    return found, {row.name: row for row in rows}


def _family(name: str, table: dict[str, Any]) -> Family:
    tuples: dict[str, Any] = {
        column: tuple(v) if isinstance(v, list) else v for column, v in table.items()
    }
    return Family(name=name, **tuples)


def row_from(record: Mapping[str, Any]) -> CatalogRow:
    """A row from plain data: a table of catalog.toml or what `CatalogRow.to_dict` gave."""
    known = {f.name for f in fields(CatalogRow)}
    if unknown := sorted(set(record) - known):
        raise UsageError(f"{record.get('name')}: unknown columns {', '.join(unknown)}")
    values = dict(record)
    values["weights"] = Weights(**record["weights"])
    values["spec"] = InputSpec.from_dict(record["spec"])
    values["labels"] = tuple(record.get("labels", ()))
    if check := record.get("check"):
        values["check"] = Check(tuple(check["logits"]), check["tolerance"])
    values.setdefault("num_classes", CLASS_TABLES.get(record.get("classes", "none"), 0))
    return CatalogRow(**values)
