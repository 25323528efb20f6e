"""DetectionModel ⇄ bundle: which entry holds what.

    model.json    classes, thresholds, the row of the backbone or of the whole network, input spec,
                  kind of detector, of a head its anchors and sizes
    record.json   provenance
    network       .safetensors: all weights

Nothing of a bundle is believed: the row only ever chooses an architecture that a family knows here,
and the weights must fit it name by name and shape by shape.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from regraft.backbones.catalog import CatalogRow, families, row_from
from regraft.backbones.sources import SOURCES, source
from regraft.errors import BundleError, RegraftError, UsageError
from regraft.evaluation.detection_calibration import PLAIN, ScoreLine
from regraft.export.bundle import Bundle
from regraft.modalities.image import PLACED
from regraft.modalities.spec import InputSpec
from regraft.model.carried import refusals
from regraft.model.plain import misfits
from regraft.tasks.detection.anchors import MIDDLE
from regraft.tasks.detection.heads.rows import HEADS
from regraft.tasks.detection.heads.rows import USUAL as RETINANET
from regraft.tasks.detection.queries.rows import QUERIES
from regraft.tasks.detection.tiling import MOST_TILES

if TYPE_CHECKING:
    from regraft.model.detecting import DetectionModel

MOST_WIDTH, MOST_DEPTH, MOST_EACH = 1024, 4, 32
MOST_SIDE = 100_000.0  # pixels, of an anchor


@dataclass(frozen=True)
class ToldBoxes:
    """What model.json says of every detector."""

    task: str
    modality: str
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    row: CatalogRow
    spec: InputSpec


@dataclass(frozen=True)
class ToldQueries(ToldBoxes):
    """Of a whole detector of transformers: its configuration is among the row's options."""

    detector: str
    line: tuple[float, float] = PLAIN
    tiles: int = 1


@dataclass(frozen=True)
class ToldDetector(ToldBoxes):
    """Of a head on a backbone."""

    strides: tuple[int, ...]
    shapes: tuple[tuple[tuple[float, float], ...], ...]
    width: int
    depth: int
    detector: str = RETINANET  # bundles of before there were others do not say so
    offset: float = MIDDLE
    line: tuple[float, float] = PLAIN
    tiles: int = 1


def pack(model: "DetectionModel") -> tuple[dict[str, Any], dict[str, Any]]:
    """Documents and tensors of the bundle. Raises UsageError for a network that none may hold."""
    if reason := unfit(model.row):
        raise UsageError(reason)
    row, network = model.row.to_dict(), model.network
    row["weights"] = {**row["weights"], "origin": "network.safetensors"}
    told = {
        "task": model.task,
        "modality": model.modality,
        "classes": list(model.classes),
        "thresholds": [float(t) for t in model.thresholds],
        "row": row,
        "spec": network.spec.to_dict(),
        **network.sizes(),
        "line": list(model.line),
        "tiles": model.tiles,
    }
    state = {name: t.detach().cpu().numpy() for name, t in network.state_dict().items()}
    return {"model": told, "record": model.record}, {"network": state}


def unfit(row: CatalogRow) -> str:
    """Why a bundle cannot hold a detector on this network; empty where it can."""
    if row.source not in SOURCES or row.config:
        return (
            f"backbone: {row.name}: a detector on a network of {row.source!r} cannot be kept in a "
            "bundle; choose one of timm, torchvision or a package"
        )
    return ""


def unpack(bundle: Bundle) -> dict[str, Any]:
    """Arguments of `DetectionModel`. Raises BundleError where the bundle does not hold one."""
    told, record, state = (
        bundle.document("model"),
        bundle.document("record"),
        bundle.tensors("network"),
    )
    form = _form(told)
    _refuse(bundle, [*misfits(form.told, told, "model.")])
    _refuse(bundle, [*_wrong(told), *form.wrong(told)])
    if not isinstance(record, dict):
        _refuse(bundle, ["record: expected an object"])
    try:
        network = form.built(told, _tensors(state))
        network.requires_grad_(False).eval()
    except (RegraftError, RuntimeError, ValueError, TypeError, KeyError) as error:
        _refuse(bundle, [str(error).splitlines()[0][:300]])
        raise
    return {
        "classes": tuple(told["classes"]),
        "row": row_from(told["row"]),
        "network": network,
        "thresholds": np.array(told["thresholds"], np.float64),
        "record": record,
        "line": ScoreLine(*told.get("line", ())),
        "tiles": told.get("tiles", 1),
    }


def _tensors(state: dict[str, np.ndarray]) -> dict[str, Any]:
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    if wrong := [n for n, t in tensors.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise BundleError(f"network: {wrong[0]:.60} holds numbers that are not finite")
    return tensors


def _with_queries(told: dict[str, Any], tensors: dict[str, Any]) -> Any:
    from regraft.tasks.detection.queries.begin import opened

    row, spec = row_from(told["row"]), InputSpec.from_dict(told["spec"])
    made = opened(row, QUERIES[told["detector"]], spec, tensors)
    if made.classes != len(told["classes"]):
        raise BundleError(f"network: has {made.classes} classes")
    return made


def _on_backbone(told: dict[str, Any], tensors: dict[str, Any]) -> Any:
    """The network as told, with the bundle's weights."""
    import torch

    from regraft.backbones.network import FrozenNetwork
    from regraft.tasks.detection.anchors import Anchors
    from regraft.tasks.detection.network import detector

    row, spec = row_from(told["row"]), InputSpec.from_dict(told["spec"])
    with torch.random.fork_rng(devices=[]):
        module = source(row.source).build(row)
    family = families()[row.family]
    frozen = FrozenNetwork(module, family, row.spec, native=row.spec.size, classes=row.num_classes)
    sizes = {"width": told["width"], "depth": told["depth"]}
    anchors = Anchors.from_dict(told)
    kind = told.get("detector", RETINANET)
    made = detector(row, spec, len(told["classes"]), anchors, kind=kind, network=frozen, **sizes)
    made.load_state_dict(tensors)
    return made


def _wrong(told: dict[str, Any]) -> Iterator[str]:
    network = {"row": told["row"], "spec": told["spec"], "engine": "torch"}
    yield from (f"model.{reason}" for reason in refusals(network, ("centre",), ("picture",)))
    if told["task"] != "detection" or told["modality"] != "image":
        yield f"model.task: {told['task']!r:.60} of {told['modality']!r:.60} is not known here"
    if told.get("detector", RETINANET) not in FORMS:
        yield f"model.detector: {told['detector']!r:.60} is not known here"
    if told["spec"].get("fit") not in PLACED:
        yield f"model.spec.fit: expected one of {', '.join(PLACED)}"
    yield from (f"model.{reason}" for reason in wrong_reading(told))
    classes = told["classes"]
    if not classes or len(set(classes)) < len(classes) or "" in classes:
        yield "model.classes: expected names, each once"
    if len(told["thresholds"]) != len(classes):
        yield "model.thresholds: expected one for each class"


def _wrong_queries(told: dict[str, Any]) -> Iterator[str]:
    row, kind = told["row"], QUERIES[told["detector"]]
    if (row["source"], row["architecture"]) != ("transformers", kind.architecture):
        yield f"model.row.architecture: {row['architecture']!r:.60} is no {kind.name}"
    if not isinstance(row.get("options", {}).get("id2label"), Mapping):
        yield "model.row.options: id2label: expected names of classes"


def _wrong_head(told: dict[str, Any]) -> Iterator[str]:
    if not 1 <= told["width"] <= MOST_WIDTH or not 0 <= told["depth"] <= MOST_DEPTH:
        yield f"model.width, model.depth: more than {MOST_WIDTH} or {MOST_DEPTH} are not built"
    each = {len(shapes) for shapes in told["shapes"]}
    if len(told["shapes"]) != len(told["strides"]) or len(each) != 1:
        yield "model.shapes: expected as many for each of the strides"
    elif not 1 <= each.pop() <= MOST_EACH or (*told["strides"],) != _strides(told):
        yield "model.strides, model.shapes: are not those of a detector here"
    sides = [side for shapes in told["shapes"] for shape in shapes for side in shape]
    if not all(0 < side <= MOST_SIDE for side in sides):
        yield "model.shapes: expected widths and heights above 0"


def _strides(told: dict[str, Any]) -> tuple[int, ...]:
    """Of the kind of detector that is told."""
    name = told.get("detector", RETINANET)
    return HEADS[name].strides if name in HEADS else ()


class Form(NamedTuple):
    """How a kind of detector stands in a bundle.

    told   what model.json says of it
    wrong  what of that cannot be used, once it is of the right types
    built  (model.json, tensors) → the network
    """

    told: type[ToldBoxes]
    wrong: Callable[[dict[str, Any]], Iterator[str]]
    built: Callable[[dict[str, Any], dict[str, Any]], Any]


FORMS: Mapping[str, Form] = MappingProxyType(
    dict.fromkeys(HEADS, Form(ToldDetector, _wrong_head, _on_backbone))
    | dict.fromkeys(QUERIES, Form(ToldQueries, _wrong_queries, _with_queries))
)


def _form(told: Any) -> Form:
    """By the kind of detector; that of RetinaNet where none is known, which is refused later."""
    name = told.get("detector", RETINANET) if isinstance(told, dict) else RETINANET
    return FORMS.get(name if isinstance(name, str) else RETINANET, FORMS[RETINANET])


def _refuse(bundle: Bundle, mistakes: list[str]) -> None:
    if mistakes:
        raise BundleError(
            f"{bundle.path}: does not hold a detector that this version can use: "
            f"{'; '.join(mistakes[:10])}; get it again, or make it anew with `regraft fit`"
        )


def wrong_reading(told: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong of how pictures are looked at, and scores are read."""
    if told.get("line", (1.0,))[0] <= 0:
        yield "line: expected a factor above 0"
    if not 1 <= told.get("tiles", 1) <= MOST_TILES:
        yield f"tiles: expected 1 to {MOST_TILES}"
