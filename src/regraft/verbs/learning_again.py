"""quantize: a network that lost too much learns again as if it computed in whole numbers.

    network as it was ─▶ trained while it is simulated ─▶ graph in 8 bits ─▶ the better of both

Taught by the network as it was and by the labels, on the examples that the model learned from, of
which some are held back: by these is judged whether it was worth it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.backbones.extractor import Extractor
from regraft.backbones.store import Store
from regraft.compression.quantization import METHODS, quantized
from regraft.data.dataset import Dataset
from regraft.errors import DataError
from regraft.model.encoded import prepared_views
from regraft.model.model import Model
from regraft.progress import Progress
from regraft.training.strategies import Strategy, refusal
from regraft.transfer.probe import Head
from regraft.verbs.narrowing import Narrower
from regraft.verbs.refitting import Refitted, with_networks
from regraft.verbs.rungs import features_of

if TYPE_CHECKING:
    from regraft.training.grafted import Grafted

AUTO, ALWAYS, NEVER = "auto", "always", "never"
LEARNS_FROM = 0.5  # points of accuracy lost
SECONDS = 180.0  # of training
FEWEST = 10  # calibration examples
FEWEST_HELD = 20  # examples by which the better is told
METHOD = "static"  # the only one that rounds what goes between layers by ranges of its own

AWARE = Strategy(
    "aware",
    "learns again from the network as it was, as if in whole numbers",
    settings={"rate": 1e-4, "shallow": 0.5, "head": 1.0},
    needs="full",
)


def unfit(model: Model, methods: Sequence[str], head: str | None) -> str:
    """Why a model cannot learn again; empty: it can.

    head  what is to become of its own, where that is told: a network that learns again has another
    """
    if head is not None:
        return f"it would get a new head, and head is {head!r}; leave that out"
    if len(model.extractors) != 1:
        return "it has several networks"
    if methods[0] != METHOD:
        return f"that is for the method {METHOD}, not {methods[0]}"
    return refusal(AWARE, model.extractors[0].row) or ""


def learned_again(
    model: Model,
    rounded: Model,
    taught: Dataset,
    examples: Sequence[bytes],
    seed: int,
    *,
    store: Store | None,
    progress: Progress,
    insists: bool,
) -> Refitted:
    """The model in whole numbers after its network has learned again, or `rounded` where that is no
    better on the examples held back.

    model, rounded  as it was, and in whole numbers as it is
    taught          what it learned from
    examples        to calibrate on
    insists         where too few examples are here to hold some back, DataError is raised; else
                    that is told
    """
    opened = store or Store()
    try:
        enough = len(taught) >= FEWEST_HELD
        narrower = Narrower.of(model, taught, seed, opened, progress) if enough else None
        held = 0 if narrower is None else len(narrower.held.labels)
        if narrower is None or held < FEWEST_HELD:
            few = (
                f"{held} of the examples that the model learned from would be held back, and "
                f"{FEWEST_HELD} are needed"
            )
            if insists:
                raise DataError(f"qat: {few}; give those that it was fitted on, or choose {NEVER}")
            return Refitted(rounded, f"it did not learn again: {few}")
        row = model.extractors[0].row
        found = narrower.recovered("int8", row, SECONDS, AWARE, _simulation(narrower))
        (one,) = found.model.extractors
        graph = in_whole_numbers(model, one, METHOD, examples, progress)
        plain = replace(rounded.extractors[0], spec=narrower.one.spec)
        before = _accuracy(narrower, plain, narrower.head(plain).head)
        after = _accuracy(narrower, graph, found.model.head)
    finally:
        if store is None:
            opened.close()
    words = f"of {held} held back {after:.1%} right instead of {before:.1%}"
    if after <= before:
        return Refitted(rounded, f"learning again was not worth it ({words})")
    steps = found.training["steps"]
    asked: dict[str, Any] = {"seed": seed, "store": store, "progress": progress}
    made = with_networks(found.model, (graph,), taught, "keep", **asked)
    return replace(made, told=f"learned again for {steps} steps as if in whole numbers ({words})")


def _simulation(narrower: Narrower) -> Any:
    """What the model is in while it learns."""
    from regraft.compression.simulated import simulated

    def within(model: "Grafted") -> AbstractContextManager[None]:
        return simulated(model.network, [pixels for pixels, _ in narrower.batches()])

    return within


def _accuracy(narrower: Narrower, one: Extractor, head: Head) -> float:
    """Of a head that learned without the examples held back, on these."""
    scores = head.scores(features_of(narrower.seen(one, narrower.held.place)))
    return float((np.asarray(scores).argmax(1) == narrower.held.labels).mean())


def in_whole_numbers(
    model: Model, one: Extractor, method: str, examples: Sequence[bytes], progress: Progress
) -> Extractor:
    """One network, calibrated on the examples that can be decoded."""
    with progress.stage(f"{one.row.name} in whole numbers ({method})", 1) as advance:
        read: list[Any] = []
        if METHODS[method].calibrated:
            errors: dict[int, str] = {}
            views = prepared_views(one.spec, model.modality, examples, errors)
            read = [one.read(some[0]) for i, some in enumerate(views) if i not in errors]
            if len(read) < FEWEST:
                raise DataError(f"calibration: {len(read)} of {len(examples)} files can be read")
        made = quantized(one, method, read)
        advance(1)
    return made
