"""Whole pretrained detectors as a start: torchvision's own weights, name by name, shape by shape.

Those of transformers are in `queries`.

    python -c "import torchvision, safetensors.torch as s; \\
      m = torchvision.models.detection.fcos_resnet50_fpn(weights='DEFAULT'); \\
      s.save_file(m.state_dict(), 'fcos.safetensors')"
    regraft fit set/ --start fcos.safetensors

What a file is, the names of its tensors tell. The rows of a class that has the same name in the
file keep their pretrained weights; those of the others begin anew.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regraft.backbones.sources import COUNTER, refuse_mismatch
from regraft.backbones.weights import read_state
from regraft.errors import BackboneError, UsageError
from regraft.tasks.detection.heads.rows import head_row
from regraft.tasks.detection.network import Detector
from regraft.tasks.detection.queries.checkpoint import checkpoint, comes_whole
from regraft.tasks.detection.queries.rows import QUERIES

BACKBONE = "torchvision:resnet50"  # where no other one is asked for
MOST_CLASSES = 100_000
VARIANCE, EPS = "running_var", 1e-5

State = dict[str, Tensor]
Pairs = Sequence[tuple[int, int]]  # places of class rows, here and in the file


@dataclass(frozen=True)
class ClassRows:
    """How the numbers of the classes lie along the first axis of a tensor.

    groups  one after the other, of all classes each
    each    numbers of a class, side by side
    """

    groups: int = 1
    each: int = 1


@dataclass(frozen=True)
class Start:
    """Files of one kind.

    kind    of detector, a name of `heads.rows.HEADS`
    sign    a tensor that only such files have
    parts   how names begin in the file → how they begin here
    old     names of earlier versions: a pattern → what it is now
    rows    layers with numbers for each class
    first   place of the background before the classes: 1 where there is one
    eps     of BatchNorm in the file's network
    """

    kind: str
    sign: str
    parts: Mapping[str, str]
    old: Mapping[str, str]
    rows: Mapping[str, ClassRows]
    first: int = 0
    eps: float = 0.0


_BODY = {"backbone.body.": "body.module.", "backbone.fpn.": "pyramid."}
_OLD_PYRAMID = {r"(inner_blocks|layer_blocks)\.(\d+)\.(weight|bias)$": r"\1.\2.0.\3"}
STARTS: Sequence[Start] = (
    Start(
        "torchvision-fcos",
        "head.regression_head.bbox_ctrness.weight",
        {**_BODY, "head.": "head."},
        _OLD_PYRAMID,
        {"head.classification_head.cls_logits": ClassRows()},
        eps=EPS,
    ),
    Start(
        "torchvision-retinanet",
        "head.regression_head.bbox_reg.weight",
        {**_BODY, "head.": "head."},
        {**_OLD_PYRAMID, r"_head\.conv\.(\d+)\.(weight|bias)$": r"_head.conv.\1.0.\2"},
        {"head.classification_head.cls_logits": ClassRows(groups=9)},
    ),
    Start(
        "torchvision-faster-rcnn",
        "rpn.head.cls_logits.weight",
        {**_BODY, "rpn.": "head.rpn.", "roi_heads.": "head.roi_heads."},
        {**_OLD_PYRAMID, r"rpn\.head\.conv\.(weight|bias)$": r"rpn.head.conv.0.0.\1"},
        {
            "head.roi_heads.box_predictor.cls_score": ClassRows(),
            "head.roi_heads.box_predictor.bbox_pred": ClassRows(each=4),
        },
        first=1,
    ),
)


@dataclass(frozen=True)
class Whole:
    """A file of a whole detector.

    state    tensors by the names that they have here
    classes  names along the file's class rows; empty where nobody tells them
    """

    path: Path
    start: Start
    state: Mapping[str, Tensor]
    classes: tuple[str, ...]


def start_in(path: Path) -> Start:
    """What a file holds, by its names. Raises UsageError where it is none that is known here."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        raise UsageError(
            f"start: {path}: expected a file .safetensors with the weights of a whole detector of "
            "torchvision, or a folder or a hub repository of transformers; other files are not "
            "read, for that could run code from them: save a state_dict() by "
            "safetensors.torch.save_file"
        )
    try:
        with safe_open(path, framework="pt") as stream:
            names = {*stream.keys()}
    except (SafetensorError, OSError) as error:
        raise UsageError(f"start: {path}: not a safetensors file: {error}") from None
    for start in STARTS:
        if start.sign in names:
            return start
    kinds = ", ".join(one.kind for one in STARTS)
    raise UsageError(f"start: {path}: its names are those of none of {kinds}")


def whole_detector(path: str | Path) -> Whole:
    """The file of a pretrained detector. Raises UsageError where it is none that is known here."""
    path = Path(path)
    start, state = start_in(path), read_state(path)
    renamed = {_named(start, name): tensor for name, tensor in state.items()}
    if wrong := [n for n, t in renamed.items() if t.is_floating_point() and not t.isfinite().all()]:
        raise UsageError(f"start: {path}: {wrong[0]:.80} holds numbers that are not finite")
    return Whole(path, start, renamed, _classes_in(path, start, renamed))


def _named(start: Start, name: str) -> str:
    for pattern, now in start.old.items():
        name = re.sub(pattern, now, name)
    for theirs, ours in start.parts.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _classes_in(path: Path, start: Start, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """As the file tells (a list ``classes`` in its metadata), or COCO's where there are as many."""
    from safetensors import safe_open
    from torchvision.models._meta import _COCO_CATEGORIES

    layer, rows = next(iter(start.rows.items()))
    bias = state.get(f"{layer}.bias", torch.zeros(0))
    count = len(bias) // (rows.groups * rows.each)
    with safe_open(path, framework="pt") as stream:
        told = (stream.metadata() or {}).get("classes")
    try:
        names: Any = json.loads(told) if told else _COCO_CATEGORIES
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"start: {path}: classes in its metadata: expected a list of names")
    return tuple(names) if len(names) == count else ()


@dataclass(frozen=True)
class Kept:
    """What a detector has of a file.

    given    tensors that are pretrained as a whole
    classes  that keep their rows
    """

    given: frozenset[str]
    classes: tuple[str, ...]


def begin_from(network: Detector, whole: Whole, classes: Sequence[str]) -> Kept:
    """Put the weights of a file into a detector of its kind.

    Raises UsageError, with all of them, for names and shapes that do not fit.
    """
    own, start = network.state_dict(), whole.start
    pairs = _pairs(start, whole.classes, classes)
    wrong = [line for line in map(_misfit(own, start), whole.state.items()) if line]
    missing = {n for n in own.keys() - whole.state.keys() if not n.endswith(COUNTER)}
    missing -= {n for n in missing if n.startswith("normalise.")}
    unknown = {n for n in whole.state.keys() - own.keys() if not n.endswith(COUNTER)}
    try:
        refuse_mismatch(network.body.module, missing, unknown, wrong)
    except BackboneError as error:
        raise UsageError(
            f"start: {whole.path}: {error}; another backbone can be asked for, such as "
            "torchvision:resnet18"
        ) from None
    given = set()
    for name in own.keys() & whole.state.keys():
        tensor, rows = whole.state[name], start.rows.get(name.rpartition(".")[0])
        if rows is not None:
            own[name] = _grafted(own[name], tensor, rows, pairs)
            continue
        given.add(name)
        own[name] = _of_eps(tensor, start.eps) if name.endswith(VARIANCE) else tensor
    network.load_state_dict(own)
    same = tuple(classes[ours - start.first] for ours, _ in pairs if ours >= start.first)
    return Kept(frozenset(given), same)


def _misfit(own: State, start: Start) -> Any:
    """(name, tensor) → what is wrong with its shape, empty where nothing is."""

    def misfit(item: tuple[str, Tensor]) -> str:
        name, tensor = item
        if name not in own:
            return ""
        rows = start.rows.get(name.rpartition(".")[0])
        first = 0 if rows is None else 1
        same = tensor.ndim == own[name].ndim and tensor.shape[first:] == own[name].shape[first:]
        if rows is not None and same:
            same = len(tensor) % (rows.groups * rows.each) == 0
        return "" if same else f"{name}: {tuple(tensor.shape)} for {tuple(own[name].shape)}"

    return misfit


def same_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[tuple[int, int]]:
    """Places here and there of the classes that have one name, but for capitals."""
    place = {name.casefold().strip(): i for i, name in enumerate(theirs)}
    named = ((i, place.get(name.casefold().strip())) for i, name in enumerate(ours))
    return [(i, k) for i, k in named if k is not None]


def _pairs(start: Start, theirs: Sequence[str], ours: Sequence[str]) -> list[tuple[int, int]]:
    """Places of class rows here and there; the background's too where there is one."""
    known = [(i + start.first, k) for i, k in same_classes(theirs, ours)]
    return [(0, 0)] * start.first + known


def _grafted(ours: Tensor, theirs: Tensor, rows: ClassRows, pairs: Pairs) -> Tensor:
    """Ours, with the file's numbers in the rows of the same classes."""
    new = ours.clone().unflatten(0, (rows.groups, -1, rows.each))
    old = theirs.unflatten(0, (rows.groups, -1, rows.each)).to(new.dtype)
    for here, there in pairs:
        new[:, here] = old[:, there]
    return new.flatten(0, 2)


def _of_eps(variance: Tensor, eps: float) -> Tensor:
    """Variances with which BatchNorm of EPS is what it is in the file's network."""
    return (variance + eps - EPS).clamp(min=0)


def kind_of(start: str | None, detector: str | None, usual: str) -> str:
    """The kind of detector of a fit: that of the start, else what is asked for, else the usual one.

    Raises UsageError where both are told and differ.
    """
    if start is None:
        if detector in QUERIES:
            raise UsageError(
                f"detector: {detector} comes whole: name a folder or a hub repository with such "
                "weights as the start, --start"
            )
        return head_row(detector or usual).name
    kind = checkpoint(start).kind.name if comes_whole(start) else start_in(Path(start)).kind
    if detector not in (None, kind):
        raise UsageError(f"detector: {start} holds weights of {kind}, not of {detector}")
    return kind
