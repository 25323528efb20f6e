"""A whole detector for the user's classes: rows of the same names stay, the others begin anew.

Class rows are in a layer behind each layer of the decoder, in the encoder's choice of queries and
in the table of noisy copies: all get the same rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.sources import source
from regraft.backbones.weights import read_state, weight_file
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.queries.checkpoint import Checkpoint
from regraft.tasks.detection.queries.network import QueryDetector, in_full_precision
from regraft.tasks.detection.queries.rows import QueryRow
from regraft.tasks.detection.starts import Kept, Pairs, same_classes

PREFIX = "module."  # how names of transformers' module begin in a `QueryDetector`


def begun(
    found: Checkpoint, classes: Sequence[str], spec: InputSpec, seed: int
) -> tuple[QueryDetector, Kept]:
    """The detector before the first step. Raises UsageError for weights that do not fit."""
    try:
        theirs = _loaded(found)
    except BackboneError as error:
        raise UsageError(f"start: {error}") from None
    row, pairs = found.told_with(tuple(classes)), same_classes(found.classes, classes)
    module = _built(row, seed)
    state, counts = module.state_dict(), (len(classes), len(found.classes))
    is_head = families()[row.family].is_head
    for name, tensor in theirs.items():
        own = state[name]
        state[name] = _grafted(own, tensor, pairs, counts) if is_head(name) else tensor
    module.load_state_dict(state)
    made = QueryDetector(module, found.kind, row, spec)
    given = (name for name in made.learnable if not is_head(name.removeprefix(PREFIX)))
    return made, Kept(frozenset(given), tuple(classes[ours] for ours, _ in pairs))


def _loaded(found: Checkpoint) -> dict[str, Tensor]:
    """The checkpoint's own numbers, under the names of this version of transformers."""
    maker = source(found.row.source)
    module = maker.load(maker.build(found.row), read_state(weight_file(found.row)))
    state: dict[str, Tensor] = module.state_dict()
    if wrong := [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise BackboneError(f"{found.row.name}: {wrong[0]:.80} holds numbers that are not finite")
    return state


def _built(row: CatalogRow, seed: int) -> Any:
    """With random weights, drawn by the seed, and a loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: Any = source(row.source).build(row).float()
    module.loss_function = in_full_precision(module.loss_function)
    return module


def _grafted(ours: Tensor, theirs: Tensor, known: Pairs, counts: tuple[int, int]) -> Tensor:
    """Ours, with the checkpoint's numbers in the rows of the same classes.

    counts  of classes here and there; a row behind them is of no class, and stays as well
    """
    new = ours.clone()
    behind = [counts] if len(theirs) > counts[1] else []
    for here, there in [*known, *behind]:
        new[here] = theirs[there]
    return new


def opened(
    row: CatalogRow, kind: QueryRow, spec: InputSpec, state: Mapping[str, Tensor]
) -> QueryDetector:
    """As it was kept in a bundle. Raises BackboneError for weights that do not fit."""
    maker = source(row.source)
    own = {n.removeprefix(PREFIX): t for n, t in state.items() if n.startswith(PREFIX)}
    with torch.random.fork_rng(devices=[]):
        module = maker.load(maker.build(row), own)
    return QueryDetector(module, kind, row, spec)
