"""How the training of a detector begins: input, anchors, network, what learns, the plan."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.network import FrozenNetwork, load_network
from regraft.backbones.sources import source
from regraft.data.boxes.form import Boxes
from regraft.modalities.spec import InputSpec
from regraft.recipe import Recipe
from regraft.tasks.detection.anchors import ANCHORS, Anchors
from regraft.tasks.detection.augment import USUAL as AUGMENT
from regraft.tasks.detection.frames import detection_spec, frame, rectangle
from regraft.tasks.detection.heads.rows import HeadRow
from regraft.tasks.detection.network import Detector, detector
from regraft.tasks.detection.queries.begin import PREFIX
from regraft.tasks.detection.queries.network import BODY, QueryDetector
from regraft.tasks.detection.queries.rows import QueryRow
from regraft.tasks.detection.tiling import MOST_TILES, magnified
from regraft.training.plan import Plan
from regraft.training.terms import Part
from regraft.verbs.detection.settings import Way, frozen_share

SIZE = 416  # pixels: the longer side of the input
LEAST, MOST = 96, 1280  # that is chosen where none is asked for
SMALL = 12.0  # pixels of the input that the smaller objects should have at least
RATE, BATCH, DECAY, AVERAGE = 2e-3, 8, 0.02, 0.1


def tiles_for(boxes: Sequence[Boxes], longer: int) -> tuple[int, str]:
    """How many parts would show small objects with SMALL pixels, and that in words.

    longer  side of the input in pixels
    """
    longest = float(np.median([max(b.size) for b in boxes]))
    sides = [np.sqrt((b.xyxy[:, 2:] - b.xyxy[:, :2]).prod(1)) for b in boxes if len(b)]
    small = float(np.quantile(np.concatenate(sides), 0.1)) if sides else longest
    seen, own = small * longer / longest, longer < longest
    wanted = int(np.clip(np.ceil(SMALL / max(seen, 1e-6)), 1, MOST_TILES)) if own else 1
    if wanted == 1:
        return 1, "none: the smaller objects are seen in the whole picture"
    told = f"the smaller objects have {seen:.0f} px at {longer} px on the longer side"
    return wanted, f"{told}; --tiles {wanted} looks at {wanted} by {wanted} parts too"


def longer_side(boxes: Sequence[Boxes]) -> tuple[int, str]:
    """The longer side of the input, and why: by the pictures' size and that of small objects."""
    longest = float(np.median([max(b.size) for b in boxes]))
    sides = [np.sqrt((b.xyxy[:, 2:] - b.xyxy[:, :2]).prod(1)) for b in boxes if len(b)]
    small = float(np.quantile(np.concatenate(sides), 0.1)) if sides else longest
    wanted = max(SIZE, SMALL / max(small, 1e-6) * longest)
    side = int(np.clip(np.ceil(min(wanted, longest) / 32) * 32, LEAST, MOST))
    seen = small * side / longest
    return side, f"{side} px on the longer side: the smaller objects have {seen:.0f} px there"


def spec_for(row: CatalogRow, boxes: Sequence[Boxes], longer: int) -> InputSpec:
    """The input for pictures of these sizes."""
    return detection_spec(row.spec, rectangle([b.size for b in boxes], longer))


def anchors_for(
    kind: HeadRow, boxes: Sequence[Boxes], spec: InputSpec, seed: int, tiles: int = 1
) -> Anchors:
    """Of this kind of detector, for boxes as the network sees them, in parts of pictures too."""
    seen = [frame(b.size, spec).inwards(b.xyxy[~b.ignored]) for b in boxes]
    corners = np.concatenate([*seen, np.zeros((0, 4))])
    sizes: npt.NDArray[np.float64] = corners[:, 2:] - corners[:, :2]
    if tiles > 1:
        sizes = np.concatenate([sizes, magnified(tiles) * sizes])
    return ANCHORS[kind.anchors](sizes, kind.strides, seed)


def _pretrained(row: CatalogRow, seed: int) -> FrozenNetwork:
    return load_network(row)


def _random(row: CatalogRow, seed: int) -> FrozenNetwork:
    torch.manual_seed(seed)
    module = source(row.source).build(row)
    family = families()[row.family]
    return FrozenNetwork(module, family, row.spec, native=row.spec.size, classes=row.num_classes)


NETWORKS = {"pretrained": _pretrained, "random": _random}


def network_for(
    weights: str,
    row: CatalogRow,
    kind: HeadRow,
    spec: InputSpec,
    classes: int,
    anchors: Anchors,
    seed: int,
) -> Detector:
    """The detector before the first step.

    weights  of the backbone: a name of NETWORKS
    """
    with torch.random.fork_rng(devices=[]):
        body = NETWORKS[weights](row, seed)
    return detector(row, spec, classes, anchors, kind=kind.name, seed=seed, network=body)


def parts_that_learn(
    model: Detector, row: CatalogRow, way: Way, plan: Plan, given: Collection[str] = ()
) -> list[Part]:
    """The backbone by depth, from the first group that is not frozen, then neck and head.

    given  names of what in neck and head is pretrained: it learns at the rate of the backbone
    """
    own = dict(model.body.module.named_parameters())
    family = families()[row.family]
    groups = [[n for n in g if not family.is_head(n)] for g in family.depth_groups([*own])]
    groups = [group for group in groups if group]
    model.requires_grad_(False)
    parts = []
    for depth in range(round(plan.frozen * len(groups)), len(groups)):
        place = 1.0 if len(groups) < 2 else depth / (len(groups) - 1)
        moving = [own[name].requires_grad_(True) for name in groups[depth]]
        parts.append(Part(moving, way.body * plan.shallow ** (1 - place)))
    rest = {name: p.requires_grad_(True) for name, p in model.new_parts().items()}
    known = [p for name, p in rest.items() if name in given]
    new = [p for name, p in rest.items() if name not in given]
    return [*parts, *([Part(known, way.body)] if known else []), Part(new)]


def parts_of_whole(
    model: QueryDetector, way: Way, plan: Plan, given: Collection[str]
) -> list[Part]:
    """The backbone by depth, from the first group that is not frozen; encoder and decoder; rows.

    given  names of what is pretrained; the rest, rows of classes, learns at the plan's rate
    """
    own = {n: p for n, p in model.named_parameters() if n in model.learnable}
    model.requires_grad_(False)
    body = [name.removeprefix(PREFIX) for name in own if name.startswith(BODY)]
    groups = families()[model.row.family].depth_groups(body)
    inner = max(way.body, model.kind.inner)
    parts = []
    for depth in range(round(plan.frozen * len(groups)), len(groups)):
        place = 1.0 if len(groups) < 2 else depth / (len(groups) - 1)
        moving = [own[PREFIX + name].requires_grad_(True) for name in groups[depth]]
        parts.append(Part(moving, inner * way.body * plan.shallow ** (1 - place)))
    rest = {n: p.requires_grad_(True) for n, p in own.items() if not n.startswith(BODY)}
    known = [p for name, p in rest.items() if name in given]
    return [*parts, Part(known, inner), Part([p for n, p in rest.items() if n not in given])]


def plan_for(
    way: Way, kind: HeadRow | QueryRow, recipe: Recipe, spec: InputSpec, pictures: int, steps: int
) -> Plan:
    """The plan of the way, with what the user has set."""
    from regraft.training.devices import usual_precision

    own: dict[str, Any] = {
        "rate": RATE,
        "loss": kind.losses[0],
        "augment": AUGMENT,
        "weight_decay": DECAY,
        "average": AVERAGE,
        "clip": 10.0,
        "frozen": frozen_share(pictures),
        "precision": usual_precision(),
        **kind.settings,
        **way.settings,
    }
    names = (*own, "optimiser", "schedule", "warmup", "sampling")
    given = {n: getattr(recipe, n, None) for n in names}
    own |= {n: value for n, value in given.items() if value is not None}
    batch = recipe.batch or min(BATCH, pictures)
    return Plan(way.name, spec.size, steps, batch=batch, seed=recipe.seed, **own)


@dataclass(frozen=True)
class Pictures:
    """Pictures of one side: those to train on, held back or measured."""

    files: list[str]
    shas: list[str]
    boxes: list[Boxes]

    def __len__(self) -> int:
        return len(self.files)
