"""Extractor: a frozen network, its input and the engine that runs it, ready to give features."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.engines import (
    AT_ONCE,
    choose_engine,
    engine_kind,
    open_engine,
)
from regraft.backbones.graphs import graph_widths
from regraft.backbones.parity import Vector
from regraft.backbones.readers import Example, Prepared, Read, reader
from regraft.backbones.runtimes import Engine
from regraft.backbones.weights import fingerprint, weight_file
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork


@dataclass(frozen=True)
class Extractor:
    """A frozen network ready to give features: which, at what input, by which engine.

    rate  examples per second on this machine, where they were measured
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
        if self.row.graph:
            return graph_widths(weight_file(self.row))
        path = cache_folder("graphs") / f"{self.fingerprint[:32]}-widths.json"
        if (noted := _noted_widths(path)) is None:
            noted = self.network.block_widths
            write_atomically(path, json.dumps(noted).encode())
        return noted

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.engine_name, self.row, self.spec, lambda: self.network)

    def engine_on(self, threads: int) -> Engine:
        """The same engine where one example at a time may use so many threads: for timing."""
        return open_engine(self.engine_name, self.row, self.spec, lambda: self.network, threads)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds for an example; views count each."""
        from regraft.backbones.operations import multiply_adds

        noted = self.row.graph and round((self.row.gflops or 0.0) * 1e9 / 2)
        return (noted or multiply_adds(self.network)) * len(self.spec.views)

    @cached_property
    def read(self) -> Read:
        return reader(self.spec).open(self.row, self.spec)

    def vectors(self, prepared: Sequence[Prepared]) -> Iterator[Vector]:
        """Features (d,) of prepared examples, in their order.

        Those that are alike go through the network once: of a short recording all segments are.
        """
        once = {one.tobytes(): one for one in prepared}
        examples = (self.read(one) for one in once.values())
        run = self.engine.run
        found = (
            iter(_together(self.engine, list(examples)))
            if reader(self.spec).together
            else (run(example) for example in examples)
        )
        known: dict[bytes, Vector] = {}
        for key in (one.tobytes() for one in prepared):
            if key not in known:
                known[key] = next(found)
            yield known[key]


def _together(engine: Engine, examples: Sequence[Example]) -> list[Vector]:
    """Those of equal shape go together, at most AT_ONCE."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for place, example in enumerate(examples):
        alike.setdefault(example.shape, []).append(place)
    out: dict[int, Vector] = {}
    for places in alike.values():
        for start in range(0, len(places), AT_ONCE):
            some = places[start : start + AT_ONCE]
            found = engine.run_together(np.stack([examples[i] for i in some]))
            out |= dict(zip(some, found, strict=True))
    return [out[i] for i in range(len(examples))]


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
    if row.graph:  # no other engine can run it
        engine_kind(row.graph)
        return Extractor(row, spec, row.graph)
    measured = Extractor(row, spec, "torch")
    name, rate = choose_engine(row, spec, lambda: measured.network)
    made = Extractor(row, spec, name, rate)
    if "network" in measured.__dict__:  # it was loaded for the measurement: not again
        made.__dict__["network"] = measured.network
    return made
