"""Pruning: whole channels leave a convolutional network, the least important of all layers first.

Layers that depend on one another lose the same channels (the dependency graph of Torch-Pruning:
Fang et al. 2023, arXiv 2301.12900). In every group of layers a share of the channels stays.

    taylor    gradient times weight, on examples: Molchanov et al. 2019, arXiv 1906.10771
    l1        size of the weights: Li et al. 2017, arXiv 1608.08710
    bn-scale  scale of BatchNorm: Liu et al. 2017, arXiv 1708.06519
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow, Weights, families
from regraft.backbones.extractor import Extractor
from regraft.backbones.operations import multiply_adds, seconds_each
from regraft.backbones.weights import row_file
from regraft.errors import BackboneError, MissingExtra, UsageError
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.training.grafted import Grafted

FLOOR = 0.25  # of the channels of a group that stay
STEPS = 40  # in which channels leave, until the target is reached
ROUND_TO = 8  # channels: engines compute in such blocks
MOST_PRUNED = 0.95
FILE = "model.safetensors"
OPERATION = "prune"  # of a family
BN_SCALE = "bn-scale"


@dataclass(frozen=True)
class Importance:
    """One row of IMPORTANCES: a line about it, Torch-Pruning's, and whether it needs gradients."""

    told: str
    make: Callable[[Any], Any]
    gradients: bool = False


IMPORTANCES: Mapping[str, Importance] = MappingProxyType(
    {
        "taylor": Importance(
            "gradient times weight", lambda tp: tp.importance.TaylorImportance(), gradients=True
        ),
        "l1": Importance("size of weights", lambda tp: tp.importance.MagnitudeImportance(p=1)),
        BN_SCALE: Importance("scale of BatchNorm", lambda tp: tp.importance.BNScaleImportance()),
    }
)


@dataclass(frozen=True)
class Target:
    """How small: `share` of what the network takes now, by a row of MEASURES."""

    measure: str
    share: float

    @classmethod
    def of(cls, text: str) -> "Target":
        """``macs=0.5``. Raises UsageError."""
        name, equals, value = text.partition("=")
        try:
            share = float(value)
        except ValueError:
            share = 0.0
        if name not in MEASURES or not equals or not 0 < share < 1:
            raise UsageError(
                f"target: expected one of {', '.join(MEASURES)} and a share between 0 and 1, such "
                f"as macs=0.5, got {text!r}"
            )
        return cls(name, share)

    def __str__(self) -> str:
        return f"{self.measure}={self.share:g}"


def _seconds(made: "Made") -> float:
    from regraft.backbones.engines import engine_of

    return seconds_each(engine_of(made.engine, made.network), made.network.spec)


@dataclass(frozen=True)
class Made:
    """A network on its way down, and the engine that it is for."""

    network: Any
    engine: str


MEASURES: Mapping[str, Callable[[Made], float]] = MappingProxyType(
    {
        "macs": lambda made: multiply_adds(made.network),
        "params": lambda made: sum(p.numel() for p in made.network.module.parameters()),
        "bytes": lambda made: sum(
            t.numel() * t.element_size() for t in made.network.module.state_dict().values()
        ),
        "latency": _seconds,
    }
)


def refuse_unfit(one: Extractor, importance: str = "") -> Iterator[str]:
    """What keeps a network from being pruned, or from being pruned by that importance."""
    row = one.row
    if row.graph:
        yield f"model: {row.name} is a graph for {row.graph}; prune the model it was made from"
    elif OPERATION not in families()[row.family].operations:
        yield f"model: networks of the family {row.family} do not offer {OPERATION!r}"
    elif importance == BN_SCALE and not _has_scales(one.network.module):
        yield f"importance: {row.name} has no BatchNorm, whose scales {BN_SCALE} goes by; take l1"


def _has_scales(module: "nn.Module") -> bool:
    from regraft.training.norms import BATCH_NORMS

    return any(isinstance(part, BATCH_NORMS) for part in module.modules())


def pruned(
    model: "Grafted",
    one: Extractor,
    targets: Sequence[Target],
    importance: str,
    batches: Sequence["tuple[Tensor, Tensor]"],
    floor: float = FLOOR,
) -> Iterator[tuple[Target, CatalogRow]]:
    """Rows of narrower and narrower networks, a target each, from the mildest on.

    model    the network with its head, whose loss tells what is important; it is not changed
    batches  pixels (n, size, size, 3) and class numbers (n,): for importances that need gradients,
             and for the statistics of BatchNorm
    floor    share of the channels of each group that stays

    Raises MissingExtra, BackboneError where a target cannot be reached above the floor.
    """
    tp = _torch_pruning()
    model = deepcopy(model)
    network = model.network
    how, made = IMPORTANCES[importance], Made(network, one.engine_name)
    module = network.module.requires_grad_(True)
    if how.gradients:
        _gradients(model, batches)
    for parameter in module.parameters():  # what no loss has reached counts for nothing
        if parameter.grad is None:
            parameter.grad = parameter.data.new_zeros(parameter.shape)
    begin = {t.measure: MEASURES[t.measure](made) for t in targets}
    pruner = _pruner(tp, network, one.row, how.make(tp), floor)
    for target in sorted(targets, key=lambda t: -t.share):
        _down_to(target, begin[target.measure], made, pruner)
        _settle(model, batches)
        row = kept_row(module, one.row, one.spec, str(target), multiply_adds(network), narrow=True)
        yield target, row


def _down_to(target: Target, begin: float, made: Made, pruner: Any) -> None:
    measure = MEASURES[target.measure]
    while (now := measure(made)) > target.share * begin:
        if pruner.current_step >= STEPS:
            raise BackboneError(
                f"target: {target} cannot be reached: {now / begin:.2f} is left where every group "
                "keeps its share of channels; ask for less, or lower the floor"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for group in pruner.step(interactive=True):
                if _stays_above(pruner, group):
                    group.prune()


def _stays_above(pruner: Any, group: Any) -> bool:
    """Whether enough channels stay; the library looks only at how many there are before."""
    graph, share = pruner.DG, 1 - pruner.max_pruning_ratio
    for dependency, gone in group:
        layer = dependency.target.module
        built = pruner.layer_init_out_ch.get(layer)  # None for what has no channels of its own
        counts = built and graph.is_out_channel_pruning_fn(dependency.handler)
        if counts and graph.get_out_channels(layer) - len(gone) < share * built:
            return False
    return True


def _settle(model: "Grafted", batches: "Sequence[tuple[Tensor, Tensor]]") -> None:
    """The statistics of BatchNorm anew: with fewer channels before them the old ones are wrong."""
    import torch

    from regraft.training.norms import estimate_norms

    estimate_norms(model.network, (pixels for pixels, _ in batches), torch.device("cpu"))


def _torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError:
        raise MissingExtra("torch-pruning", "prune") from None
    return torch_pruning


def _pruner(tp: Any, network: Any, row: CatalogRow, importance: Any, floor: float) -> Any:
    """The classifier that the network came with stays: nothing depends on it."""
    family, module = families()[row.family], network.module
    heads = [part for name, part in module.named_modules() if family.is_head(f"{name}.weight")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tp.pruner.BasePruner(
            module,
            network.normalise(network.sample),
            importance=importance,
            global_pruning=True,
            pruning_ratio=MOST_PRUNED,
            max_pruning_ratio=1 - floor,
            iterative_steps=STEPS,
            ignored_layers=heads,
            round_to=ROUND_TO,
        )


def _gradients(model: "Grafted", batches: "Sequence[tuple[Tensor, Tensor]]") -> None:
    import torch

    model.zero_grad()
    for pixels, labels in batches:
        torch.nn.functional.cross_entropy(model(pixels), labels).backward()


def kept_row(
    module: "nn.Module",
    row: CatalogRow,
    spec: InputSpec,
    told: str,
    macs: int,
    *,
    narrow: bool = False,
) -> CatalogRow:
    """The weights in the cache, named by their content, and the row that reads them.

    told    what was done, as a part of the name
    narrow  whether layers have fewer channels than the architecture says
    """
    from safetensors.torch import save

    state = {name: t.detach().clone().contiguous() for name, t in module.state_dict().items()}
    data = save(state, metadata={"order": json.dumps(list(state))})
    own = hashlib.sha256(data).hexdigest()
    folder = cache_folder(f"pruned/{own}")
    write_atomically(folder / FILE, data)
    for name in filter(None, (row.config, row.tokenizer)):
        write_atomically(folder / Path(name).name, row_file(row, name).read_bytes())
    return replace(
        row,
        name=f"{row.name} ({told})",
        weights=Weights("folder", str(folder), FILE, sha256=own),
        spec=row.spec.at(spec.size),
        parameters=sum(p.numel() for p in module.parameters()),
        gflops=2 * macs / 1e9,
        config=Path(row.config).name,
        tokenizer=Path(row.tokenizer).name,
        narrow=narrow or row.narrow,
        check=None,
        upstream_score=None,
        score_from="",
    )


def channels(one: Extractor) -> dict[str, list[int]]:
    """Shape of each weight matrix and kernel, for the record."""
    state = one.network.module.state_dict()
    return {name: list(t.shape[:2]) for name, t in state.items() if t.ndim > 1}
