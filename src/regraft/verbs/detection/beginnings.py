"""What the training of a detector begins with: a head on a backbone, or a whole detector.

A whole one of torchvision is a head on a backbone whose weights are then all replaced; one of
transformers comes with its own architecture, input and losses.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from regraft.backbones.cache import file_hash
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.weights import weight_file
from regraft.data.boxes.form import Boxes
from regraft.modalities.spec import InputSpec
from regraft.recipe import Recipe
from regraft.tasks.detection.detecting import Detecting
from regraft.tasks.detection.heads.rows import USUAL as USUAL_DETECTOR
from regraft.tasks.detection.heads.rows import head_row
from regraft.tasks.detection.queries.checkpoint import Checkpoint, checkpoint, comes_whole
from regraft.training.boxed import Matched, Objects
from regraft.training.plan import Plan
from regraft.training.terms import Part
from regraft.transfer.inputs import networks
from regraft.verbs.detection import start
from regraft.verbs.detection.settings import Way

TOLD_HASH = 12  # characters of a SHA-256


@dataclass(frozen=True)
class Begun:
    """A detector before its first step.

    row     of its backbone, or of the whole network
    chosen  what was chosen for it, and why
    given   names of what is pretrained beside the backbone
    """

    network: Detecting
    row: CatalogRow
    spec: InputSpec
    chosen: dict[str, str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()


class Beginning(Protocol):
    """One of the two, for a recipe.

    kind       a row that tells of the detector
    objective  what it learns by
    folds      see `Execution`
    """

    folds: bool

    @property
    def objective(self) -> Callable[[Any, str], Objects]: ...

    @property
    def kind(self) -> Any: ...

    def mistakes(self) -> Iterator[str]:
        """What of the recipe it cannot obey."""
        ...

    def begin(self, boxes: Sequence[Boxes], classes: Sequence[str]) -> Begun:
        """The network, for pictures with these boxes. Raises RegraftError."""
        ...

    def parts(self, begun: Begun, plan: Plan) -> list[Part]:
        """What of it learns, and how fast."""
        ...


def beginning_of(recipe: Recipe, way: Way) -> Beginning:
    """Of a recipe. Raises UsageError for networks that cannot be used."""
    if recipe.start is not None and comes_whole(recipe.start):
        return Whole(recipe, way)
    return OnBackbone(recipe, way)


def _tiles(recipe: Recipe, boxes: Sequence[Boxes], spec: InputSpec) -> dict[str, str]:
    if recipe.tiles is not None:
        return {}
    return {"tiles": start.tiles_for(boxes, spec.size)[1]}


class OnBackbone:
    """A head on a network of the catalog, perhaps with the weights of a file of torchvision."""

    objective = Objects
    folds = True

    def __init__(self, recipe: Recipe, way: Way) -> None:
        from regraft.tasks.detection.starts import BACKBONE

        self.recipe, self.way = recipe, way
        brings = not recipe.backbone and recipe.start is not None
        asked = recipe.changed(backbone=BACKBONE) if brings else recipe
        rows = [row for row in networks(replace(asked, size=None), None)]
        first = (row for row in rows if recipe.backbone or not [*_unfit(row)])
        self.row: CatalogRow = next(first, rows[0])

    @cached_property
    def kind(self) -> Any:
        from regraft.tasks.detection.starts import kind_of

        return head_row(kind_of(self.recipe.start, self.recipe.detector, USUAL_DETECTOR))

    def mistakes(self) -> Iterator[str]:
        yield from _unfit(self.row)

    def begin(self, boxes: Sequence[Boxes], classes: Sequence[str]) -> Begun:
        r, chosen = self.recipe, dict[str, str]()
        longer, why = start.longer_side(boxes)
        if r.size is None:
            chosen["size"] = why
        spec = start.spec_for(self.row, boxes, r.size or longer)
        chosen |= _tiles(r, boxes, spec)
        anchors = start.anchors_for(self.kind, boxes, spec, r.seed, r.tiles or 1)
        about = (self.row, self.kind, spec, len(classes), anchors, r.seed)
        weights = "random" if r.start else self.way.weights
        network = start.network_for(weights, *about)
        given = self._begin_from_file(network, classes, chosen)
        if not r.detector:
            why = "that of the file" if r.start else "the usual one"
            chosen["detector"] = f"{self.kind.name}: {why}"
        if not r.backbone:
            chosen["backbone"] = f"{self.row.name}: the usual one here"
        return Begun(network, self.row, spec, chosen, given)

    def _begin_from_file(
        self, network: Any, classes: Sequence[str], chosen: dict[str, str]
    ) -> frozenset[str]:
        """Put the weights of a whole detector into the network, if there are any."""
        from regraft.tasks.detection.starts import begin_from, whole_detector

        if self.recipe.start is None:
            return frozenset()
        whole = whole_detector(self.recipe.start)
        kept = begin_from(network, whole, classes)
        sha = file_hash(whole.path)
        chosen["start"] = _told(whole.path.name, sha, whole.start.kind, kept.classes)
        return kept.given

    def parts(self, begun: Begun, plan: Plan) -> list[Part]:
        network: Any = begun.network
        return start.parts_that_learn(network, self.row, self.way, plan, begun.given)


def _unfit(row: CatalogRow) -> Iterator[str]:
    from regraft.model.packing_detection import unfit as unfit_for_bundles
    from regraft.tasks.detection.network import unfit

    yield from filter(None, (unfit(row), unfit_for_bundles(row)))


def _told(name: str, sha: str, kind: str, classes: Sequence[str]) -> str:
    same = ", ".join(classes) or "no class"
    return f"{name} (SHA-256 {sha[:TOLD_HASH]}), {kind}: {same} with pretrained rows"


class Whole:
    """A detector of transformers, from a folder or a hub."""

    objective = Matched
    folds = False  # which places become queries turns on the least difference

    def __init__(self, recipe: Recipe, way: Way) -> None:
        self.recipe, self.way = recipe, way

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return checkpoint(str(self.recipe.start))

    @property
    def kind(self) -> Any:
        return self.checkpoint.kind

    def mistakes(self) -> Iterator[str]:
        if self.recipe.backbone:
            yield f"backbone: {self.recipe.start} brings its own; leave it out"
        if self.recipe.compile:
            yield (
                f"compile: {self.recipe.start} matches queries with objects outside of what can be "
                "compiled; leave it out"
            )

    def begin(self, boxes: Sequence[Boxes], classes: Sequence[str]) -> Begun:
        from regraft.tasks.detection.queries.begin import begun

        r, found, chosen = self.recipe, self.checkpoint, dict[str, str]()
        spec = found.row.spec.at(r.size)
        if r.size is None:
            chosen["size"] = f"{spec.told} on both sides: as it was pretrained"
        chosen |= _tiles(r, boxes, spec)
        network, kept = begun(found, classes, spec, r.seed)
        sha = file_hash(weight_file(found.row))
        chosen["start"] = _told(network.row.name, sha, self.kind.name, kept.classes)
        if not r.detector:
            chosen["detector"] = f"{self.kind.name}: that of the start"
        if ignored := sum(int(b.ignored.sum()) for b in boxes):
            chosen["ignored"] = f"{ignored} crowds or difficult objects are background to its loss"
        return Begun(network, network.row, spec, chosen, kept.given)

    def parts(self, begun: Begun, plan: Plan) -> list[Part]:
        network: Any = begun.network
        return start.parts_of_whole(network, self.way, plan, begun.given)
