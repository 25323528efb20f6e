"""How a run begins: the network and head of a strategy, what of it may move, and at which rate."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.backbones.sources import source
from regraft.backbones.tunable import Tunable
from regraft.errors import UsageError
from regraft.modalities.spec import InputSpec
from regraft.training.adapters import add_adapters
from regraft.training.grafted import Grafted
from regraft.training.plan import Plan
from regraft.training.reinitialised import take_deepest
from regraft.training.schedules import SCHEDULES
from regraft.training.strategies import LEARNS, Groups, Strategy, refusal, refuses_reinit
from regraft.training.terms import Part
from regraft.transfer.probe import Head
from regraft.transfer.scaling import BlockScaling

THAWED_BY = 0.5  # share of the steps after which every group of depth learns


def begun(
    wanted: Strategy,
    row: CatalogRow,
    spec: InputSpec,
    head: Head,
    temperature: float,
    seed: int,
    reinit: float = 0.0,
) -> Grafted:
    """The model before the first step.

    head, temperature  of the probe on this very input; a strategy with a fresh head takes only the
                       widths of its blocks and the number of its classes
    reinit             share of the depth, from the deep end, that begins with random weights; the
                       head then forgets the blocks whose features are others

    Raises UsageError where the network's family does not offer what the strategy needs, or the
    strategy has no use for random weights.
    """
    if reason := refusal(wanted, row) or (reinit and refuses_reinit(wanted)):
        raise UsageError(reason)
    head = head.even()  # a step is as long for each block
    classes = head.coefficients.shape[1]
    with torch.random.fork_rng(devices=[]):  # libraries draw fresh weights even to replace them
        network = NETWORKS[wanted.weights](row, spec, seed)
        if reinit:
            head = head.without(take_deepest(network, _random(row, spec, seed), row, reinit))
        model = HEADS[wanted.head](network, head, temperature, classes, seed)
    ADDITIONS[wanted.learns](model, row, seed)
    return model


def _pretrained(row: CatalogRow, spec: InputSpec, seed: int) -> FrozenNetwork:
    return load_network(row, spec)


def _random(row: CatalogRow, spec: InputSpec, seed: int) -> FrozenNetwork:
    """The architecture as its library initialises it."""
    torch.manual_seed(_number(seed, 11))
    module = source(row.source).build(row)
    family = families()[row.family]
    return FrozenNetwork(module, family, spec, native=row.spec.size, classes=row.num_classes)


def _ridge(
    network: FrozenNetwork, head: Head, temperature: float, classes: int, seed: int
) -> Grafted:
    return Grafted(network, head.scaling, classes).take(head, temperature)


def _fresh(
    network: FrozenNetwork, head: Head, temperature: float, classes: int, seed: int
) -> Grafted:
    """On the last feature alone, initialised as PyTorch does: the textbook's head."""
    widths = network.block_widths
    used = np.concatenate([np.full(w, i == len(widths) - 1, float) for i, w in enumerate(widths)])
    model = Grafted(network, BlockScaling(np.zeros_like(used), used, widths), classes)
    last = slice(sum(widths) - widths[-1], None)
    torch.manual_seed(_number(seed, 12))
    layer = nn.Linear(widths[-1], classes)
    with torch.no_grad():
        model.linear.weight[:, last] = layer.weight
        model.linear.bias.copy_(layer.bias)
    return model


def _nothing_more(model: Tunable, row: CatalogRow, seed: int) -> None:
    pass


# What is put into the network before training, by what learns.
ADDITIONS: Mapping[str, Callable[[Tunable, CatalogRow, int], None]] = defaultdict(
    lambda: _nothing_more, {"adapters": add_adapters}
)
NETWORKS = {"pretrained": _pretrained, "random": _random}
HEADS = {"ridge": _ridge, "fresh": _fresh}


def _number(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def parts_that_learn(model: Tunable, wanted: Strategy, row: CatalogRow, plan: Plan) -> list[Part]:
    """What may move, by depth, the head the last; all else is frozen.

    The rates go in geometric steps from `plan.shallow` to 1, that of the head is `plan.head`.
    """
    own = dict(model.named_parameters())
    depths = LEARNS[wanted.learns](model, row)
    model.requires_grad_(False)
    parts = []
    still = _before_the_deep(model, depths) if model.halves else round(plan.frozen * len(depths))
    for depth, names in enumerate(depths):
        if depth < still:
            continue
        place = 1.0 if len(depths) < 2 else depth / (len(depths) - 1)
        share = THAWED_BY * (1 - place) if wanted.thaws else wanted.head_first
        moving = [own[name].requires_grad_(True) for name in names]
        parts.append(Part(moving, plan.shallow ** (1 - place), round(plan.steps * share)))
    head = [p.requires_grad_(True) for p in model.top.parameters()]
    return [part for part in (*parts, Part(head, plan.head)) if part.parameters]


def _before_the_deep(model: Tunable, depths: Groups) -> int:
    """Groups that stand before the deep half: they only run on a blank picture."""
    assert model.halves is not None
    deep = tuple(f"network.module.{name}." for name in model.halves.deep)
    learn = (i for i, names in enumerate(depths) if any(n.startswith(deep) for n in names))
    return next(learn, len(depths))


def settings_of(wanted: Strategy, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a plan: the strategy's, and over them what the user has set."""
    settings = {**wanted.settings, **given, "strategy": wanted.name}
    if "schedule" in settings and SCHEDULES[settings["schedule"].partition(":")[0]].rises:
        settings.setdefault("warmup", 0.0)  # it has its own
    return settings
