"""The detector: a pretrained backbone, a feature pyramid on three of its blocks, RetinaNet's head.

What of the backbone is deeper than the last block that is used is taken out. BatchNorm stays as it
was pretrained; the parts that are new have none, so that small batches are no trouble.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.network import FrozenNetwork, Normalise, load_network, tapped
from regraft.errors import UsageError
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.anchors import Anchors

STRIDES = (8, 16, 32)
PRIOR = 0.01  # of an object at any anchor, before anything is learned (RetinaNet)
OPERATION = "detect"

Maps = Mapping[str, Tensor]


class Body(nn.Module):
    """A backbone up to its last useful block: normalised pictures → maps, one for each stride.

    Raises UsageError where the network has no blocks of these strides.
    """

    def __init__(self, module: nn.Module, blocks: Sequence[str], sample: Tensor) -> None:
        super().__init__()
        self.module = module
        self._maps: dict[str, Tensor] = {}
        self.names = _last_of_strides(module, blocks, sample)
        for name in self.names:
            module.get_submodule(name).register_forward_hook(self._keeper(name))
        with torch.no_grad():
            before = [m.clone() for m in self(sample)]
            _cut_behind(module, self.names[-1], sample)
            after = self(sample)
        if any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)):
            raise UsageError("backbone: it cannot be cut behind its last block")
        self.widths = tuple(m.shape[1] for m in after)

    def _keeper(self, name: str) -> Any:
        def keep(part: nn.Module, inputs: Any, output: Any) -> None:
            self._maps[name] = output[0] if isinstance(output, tuple) else output

        return keep

    def forward(self, x: Tensor) -> list[Tensor]:
        self.module(x)
        kept, self._maps = self._maps, {}
        return [kept[name] for name in self.names]


@torch.no_grad()
def _last_of_strides(module: nn.Module, blocks: Sequence[str], sample: Tensor) -> list[str]:
    """Names of the deepest blocks at each of STRIDES, by a trial."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(part: nn.Module, inputs: Any, output: Any) -> None:
            shapes[name] = tuple((output[0] if isinstance(output, tuple) else output).shape)

        return hook

    hooks = [module.get_submodule(n).register_forward_hook(note(n)) for n in blocks]
    module(sample)
    for hook in hooks:
        hook.remove()
    side = sample.shape[-1]
    stride_of = {n: side // s[-1] for n, s in shapes.items() if len(s) == 4 and s[-1] == s[-2]}
    found = {stride: name for name, stride in stride_of.items() if side % stride == 0}
    if missing := [str(s) for s in STRIDES if s not in found]:
        raise UsageError(
            f"backbone: {type(module).__name__} has no block with one value for every "
            f"{' or '.join(missing)} pixels; detection needs {', '.join(map(str, STRIDES))}"
        )
    return [found[stride] for stride in STRIDES]


@torch.no_grad()
def _cut_behind(module: nn.Module, last: str, sample: Tensor) -> None:
    """Let what runs after a block pass its input on: what it gives is not used."""
    behind: dict[str, None] = {}
    given = False

    def begin(name: str) -> Any:
        def hook(part: nn.Module, inputs: Any) -> None:
            if given:
                behind[name] = None

        return hook

    def end(part: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal given
        given = True

    hooks = [p.register_forward_pre_hook(begin(n)) for n, p in module.named_modules() if n]
    hooks.append(module.get_submodule(last).register_forward_hook(end))
    module(sample)
    for hook in hooks:
        hook.remove()
    top = [n for n in behind if not any(n.startswith(f"{other}.") for other in behind)]
    kept = {name: module.get_submodule(name) for name in top}
    for name in kept:
        module.set_submodule(name, nn.Identity())
    try:
        module(sample)
    except Exception:  # it needs the shapes that these give: so be it
        for name, part in kept.items():
            module.set_submodule(name, part)


class Detector(nn.Module):
    """(n, height, width, 3) uint8 RGB → (n, A, classes + 4): logits, then offsets from anchors.

    body     its backbone
    anchors  their shapes
    width    channels of the pyramid and of the head
    depth    convolutions before each of the head's two ends
    """

    def __init__(
        self, body: Body, spec: InputSpec, classes: int, anchors: Anchors, width: int, depth: int
    ) -> None:
        super().__init__()
        from torchvision.models.detection.retinanet import RetinaNetHead
        from torchvision.ops import FeaturePyramidNetwork
        from torchvision.ops.feature_pyramid_network import LastLevelP6P7

        self.spec, self.classes, self.anchors = spec, classes, anchors
        self.width, self.depth = width, depth
        self.normalise = Normalise(spec)
        self.body = body
        more = None if len(anchors.strides) == len(STRIDES) else LastLevelP6P7(width, width)
        self.pyramid = FeaturePyramidNetwork([*body.widths], width, more)
        self.head = RetinaNetHead(width, anchors.each, classes)
        for end in (self.head.classification_head, self.head.regression_head):
            end.conv = end.conv[:depth]
        self._placed: dict[tuple[tuple[int, int], ...], Tensor] = {}
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.maps(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            found = self.head([m.float() for m in maps])
        return torch.cat([found["cls_logits"], found["bbox_regression"]], 2)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The pyramid's maps, finest first."""
        inner = self.body(self.normalise(pixels))
        pyramid: Maps = self.pyramid({str(i): m for i, m in enumerate(inner)})
        return [*pyramid.values()][: len(self.anchors.strides)]

    def placed(self, height: int, width: int) -> Tensor:
        """(A, 4) corners of the anchors for an input of this size."""
        sizes = tuple((-(-height // s), -(-width // s)) for s in self.anchors.strides)
        if sizes not in self._placed:
            self._placed[sizes] = self.anchors.boxes(sizes)
        return self._placed[sizes]

    def per_map(self, height: int, width: int) -> list[int]:
        """Anchors on each map."""
        strides, each = self.anchors.strides, self.anchors.each
        return [-(-height // s) * -(-width // s) * each for s in strides]


def detector(
    row: CatalogRow,
    spec: InputSpec,
    classes: int,
    anchors: Anchors,
    *,
    width: int = 64,
    depth: int = 2,
    seed: int = 0,
    network: FrozenNetwork | None = None,
) -> Detector:
    """A detector with a pretrained backbone and a new head, drawn by the seed.

    network  the backbone; None: the row's, with its weights

    Raises UsageError where the family of the network is not for detection.
    """
    if reason := unfit(row):
        raise UsageError(reason)
    network = network or load_network(row, row.spec)
    family = families()[row.family]
    blocks = tapped(network.module, family)
    sample = network.normalise(network.sample)
    body = Body(network.module, blocks, sample).requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Detector(body, spec, classes, anchors, width, depth)
        nn.init.constant_(
            made.head.classification_head.cls_logits.bias,
            -float(torch.logit(1 - torch.tensor(PRIOR))),
        )
    return made.eval()


def unfit(row: CatalogRow) -> str:
    """Why a network cannot be the backbone of a detector; empty where it can."""
    if OPERATION in families()[row.family].operations:
        return ""
    fit = [name for name, family in families().items() if OPERATION in family.operations]
    return (
        f"backbone: {row.name} is of the family {row.family}, which has no maps for detection; "
        f"choose one of the families {', '.join(fit)}"
    )
