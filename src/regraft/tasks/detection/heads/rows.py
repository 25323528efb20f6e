"""Which kinds of detectors there are. Loads no torch: the command line reads this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from regraft.errors import UsageError

if TYPE_CHECKING:
    from regraft.tasks.detection.heads.base import Head

HEADS_FOLDER = "regraft.tasks.detection.heads"
COARSEST = 32  # stride of a backbone's last map


@dataclass(frozen=True)
class HeadRow:
    """One kind of detector.

    told     what it is, in a sentence
    source   its paper
    strides  of its maps, in pixels of the input
    anchors  a name of `anchors.ANCHORS`
    neck     a name of `necks.NECKS`
    losses   of the boxes, of those that it can learn by; the first is the usual one
    built    module and name of its class
    width, depth  channels of what is new, and convolutions before its ends, as a rule
    dense    whether its outputs stand for anchors, one each: then other runtimes can give them
    settings  fields of a plan that differ from the usual ones
    """

    name: str
    told: str
    source: str
    strides: tuple[int, ...]
    anchors: str
    neck: str
    losses: tuple[str, ...]
    built: tuple[str, str]
    width: int = 64
    depth: int = 2
    dense: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def inner(self) -> tuple[int, ...]:
        """Strides of the maps that are the backbone's own."""
        return tuple(stride for stride in self.strides if stride <= COARSEST)

    def head(self, *about: Any) -> "Head":
        """A new head; see the classes' own arguments."""
        module, name = self.built
        made: Head = getattr(import_module(f"{HEADS_FOLDER}.{module}"), name)(*about)
        return made


USUAL = "retinanet"
HEADS: Mapping[str, HeadRow] = MappingProxyType(
    {
        row.name: row
        for row in (
            HeadRow(
                "retinanet",
                "Anchors on a feature pyramid, focal loss.",
                "Lin et al. 2017, arXiv 1708.02002",
                (8, 16, 32),
                "fitted",
                "pyramid",
                ("giou", "smooth-l1"),
                ("retina", "RetinaHead"),
            ),
            HeadRow(
                "fcos",
                "No anchors: each place on a feature pyramid tells how far the sides are.",
                "Tian et al. 2019, arXiv 1904.01355",
                (8, 16, 32, 64),
                "points",
                "pyramid",
                ("giou",),
                ("fcos", "FcosHead"),
            ),
            HeadRow(
                "faster-rcnn",
                "Two stages: places that may hold an object, then what is there.",
                "Ren et al. 2015, arXiv 1506.01497",
                (8, 16, 32),
                "fitted",
                "pyramid",
                ("smooth-l1",),
                ("two_stage", "TwoStageHead"),
                dense=False,
            ),
            HeadRow(
                "ssdlite",
                "Light convolutions on the backbone's own maps, for speed.",
                "Sandler et al. 2018, arXiv 1801.04381",
                (8, 16, 32, 64),
                "fitted",
                "extras",
                ("smooth-l1", "giou"),
                ("ssdlite", "SsdliteHead"),
            ),
            HeadRow(
                "torchvision-retinanet",
                "As torchvision builds it: five maps, 256 channels, COCO's anchors.",
                "Lin et al. 2017, arXiv 1708.02002",
                (8, 16, 32, 64, 128),
                "torchvision-retinanet",
                "pyramid",
                ("smooth-l1", "giou"),
                ("retina", "RetinaHead"),
                256,
                4,
            ),
            HeadRow(
                "torchvision-fcos",
                "As torchvision builds it: five maps, 256 channels.",
                "Tian et al. 2019, arXiv 1904.01355",
                (8, 16, 32, 64, 128),
                "torchvision-fcos",
                "pyramid",
                ("giou",),
                ("fcos", "FcosHead"),
                256,
                4,
            ),
            HeadRow(
                "torchvision-faster-rcnn",
                "As torchvision builds it: five maps from a stride of 4, 256 channels.",
                "Ren et al. 2015, arXiv 1506.01497",
                (4, 8, 16, 32, 64),
                "torchvision-faster-rcnn",
                "pyramid",
                ("smooth-l1",),
                ("two_stage", "TwoStageHead"),
                256,
                dense=False,
            ),
        )
    }
)


def head_row(name: str) -> HeadRow:
    """A row by its name. Raises UsageError, naming all."""
    if name not in HEADS:
        raise UsageError(f"detector: {name!r} is not known; choose one of {', '.join(HEADS)}")
    return HEADS[name]
