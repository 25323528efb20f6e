"""The detector: a pretrained backbone, a neck on three of its blocks, the head of its kind.

What of the backbone is deeper than the last block that is used is taken out. BatchNorm stays as it
was pretrained; the parts that are new have none, so that small batches are no trouble.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.network import FrozenNetwork, Normalise, load_network, tapped
from regraft.errors import UsageError
from regraft.evaluation.detection import Detections
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.anchors import Anchors
from regraft.tasks.detection.decoding import USUAL, Decoding
from regraft.tasks.detection.detecting import Detecting
from regraft.tasks.detection.heads.necks import NECKS
from regraft.tasks.detection.heads.rows import USUAL as RETINANET
from regraft.tasks.detection.heads.rows import HeadRow, head_row
from regraft.tasks.detection.targets import Truth

OPERATION = "detect"


class Body(nn.Module):
    """A backbone up to its last useful block: normalised pictures → maps, one for each stride.

    Raises UsageError where the network has no blocks of these strides.
    """

    def __init__(
        self, module: nn.Module, blocks: Sequence[str], sample: Tensor, strides: Sequence[int]
    ) -> None:
        super().__init__()
        self.module = module
        self._maps: dict[str, Tensor] = {}
        self.names = _last_of_strides(module, blocks, sample, strides)
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
def _last_of_strides(
    module: nn.Module, blocks: Sequence[str], sample: Tensor, strides: Sequence[int]
) -> list[str]:
    """Names of the deepest blocks at each stride, by a trial."""
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
    if missing := [str(s) for s in strides if s not in found]:
        raise UsageError(
            f"backbone: {type(module).__name__} has no block with one value for every "
            f"{' or '.join(missing)} pixels; detection needs {', '.join(map(str, strides))}"
        )
    return [found[stride] for stride in strides]


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


class Detector(Detecting):
    """See `Detecting`: a backbone, and a head that reads what it gives.

    body     its backbone
    kind     of detector
    anchors  their shapes
    width    channels of what is new
    depth    convolutions before each of the head's ends
    """

    def __init__(
        self,
        body: Body,
        kind: HeadRow,
        spec: InputSpec,
        classes: int,
        anchors: Anchors,
        width: int,
        depth: int,
    ) -> None:
        super().__init__()
        self.kind, self.spec, self.classes, self.anchors = kind, spec, classes, anchors
        self.width, self.depth = width, depth
        self.normalise = Normalise(spec)
        self.body = body
        self.pyramid: Any = NECKS[kind.neck](body.widths, width, len(anchors.strides))
        self.head: Any = kind.head(self.pyramid.widths, anchors, classes, depth)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.maps(pixels)
        with torch.autocast(pixels.device.type, enabled=False):
            found: Tensor = self.head([m.float() for m in maps])
        return found

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The neck's maps, finest first."""
        found: list[Tensor] = self.pyramid(self.body(self.normalise(pixels)))
        return found

    def losses(self, outputs: Tensor, truths: Sequence[Truth], box: str) -> Tensor:
        """(n,) losses of its outputs for pictures of its own size; see `Head`."""
        found: Tensor = self.head.losses(outputs, truths, self.spec.rectangle, box)
        return found

    def found(self, outputs: Tensor, how: Decoding = USUAL) -> list[Detections]:
        found: list[Detections] = self.head.found(outputs, self.spec.rectangle, how)
        return found

    def deployed(self) -> Any:
        from regraft.tasks.detection.deployed import DeployedDetector

        return DeployedDetector(self)

    def sizes(self) -> dict[str, Any]:
        about = {"width": self.width, "depth": self.depth, "detector": self.kind.name}
        return {**self.anchors.to_dict(), **about}

    @property
    def key(self) -> object:
        return self.anchors

    def new_parts(self) -> dict[str, nn.Parameter]:
        """Parameters of neck and head, by their names: no pretrained backbone has them."""
        own = self.named_parameters()
        return {name: p for name, p in own if name.startswith(("pyramid.", "head."))}


def detector(
    row: CatalogRow,
    spec: InputSpec,
    classes: int,
    anchors: Anchors,
    *,
    kind: str = RETINANET,
    width: int | None = None,
    depth: int | None = None,
    seed: int = 0,
    network: FrozenNetwork | None = None,
) -> Detector:
    """A detector with a pretrained backbone and a new head, drawn by the seed.

    kind     a name of `heads.rows.HEADS`
    width, depth  of what is new; None: the kind's own
    network  the backbone; None: the row's, with its weights

    Raises UsageError where the family of the network is not for detection.
    """
    if reason := unfit(row):
        raise UsageError(reason)
    network = network or load_network(row, row.spec)
    family = families()[row.family]
    blocks = tapped(network.module, family)
    sample = network.normalise(network.sample)
    own = head_row(kind)
    body = Body(network.module, blocks, sample, own.inner).requires_grad_(True)
    sizes = own.width if width is None else width, own.depth if depth is None else depth
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Detector(body, own, spec, classes, anchors, *sizes)
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
