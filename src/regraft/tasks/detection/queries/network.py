"""A whole detector of transformers: pixels → (n, queries, classes + 4), losses by its own matching.

Objects are matched with queries inside of the forward pass, where noisy copies of the objects are
asked for as well (Zhang et al. 2022, arXiv 2203.03605), so that losses need the truths there.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.network import Normalise
from regraft.evaluation.detection import Detections
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.decoding import USUAL, Decoding, surest_queries
from regraft.tasks.detection.detecting import Detecting
from regraft.tasks.detection.queries.rows import QueryRow
from regraft.tasks.detection.targets import Truth

BODY = "module.model.backbone."  # how names of its backbone begin
COPIES = "denoising_class_embed"
BATCH_NORMS = nn.modules.batchnorm._BatchNorm
DEGENERATE = "corner"  # what transformers says of boxes, of which NaN are no corners


class QueryDetector(Detecting):
    """See `Detecting`; with truths it gives losses instead.

    module  of transformers
    row     its architecture, with its whole configuration
    """

    def __init__(self, module: nn.Module, kind: QueryRow, row: CatalogRow, spec: InputSpec) -> None:
        super().__init__()
        self.kind, self.row, self.spec = kind, row, spec
        self.classes = len(row.options["id2label"])
        self.normalise, self.module = Normalise(spec), module
        self.learnable = frozenset(n for n, p in self.named_parameters() if p.requires_grad)
        self.eval()

    def forward(self, pixels: Tensor, truths: Sequence[Truth] | None = None) -> Tensor:
        """Logits, then middles and sizes as shares of the input; with truths (n,) losses."""
        given = self.normalise(pixels).contiguous()
        if truths is not None:
            return self._losses(given, truths)
        out = self.module(pixel_values=given)
        return torch.cat([out.logits.float(), out.pred_boxes.float()], 2)

    def _losses(self, given: Tensor, truths: Sequence[Truth]) -> Tensor:
        """The sum of transformers' losses, which are of all pictures together, for each of them."""
        labels = [_labels(truth, self.spec.rectangle) for truth in truths]
        with _learning(self.module):
            try:
                loss = self.module(pixel_values=given, labels=labels).loss
            except ValueError as error:
                if DEGENERATE not in str(error):
                    raise
                loss = torch.full((), torch.nan, device=given.device, requires_grad=True)
        return (loss.float() + self._nothing()).expand(len(given))

    def _nothing(self) -> Tensor:
        """0, of the table of noisy copies: several processes wait for gradients of all that learns,
        and where no picture has an object it is not asked.
        """
        own = [p for name, p in self.module.named_parameters() if COPIES in name]
        return sum((0 * p.sum() for p in own), torch.zeros((), device=self.normalise.mean.device))

    def told(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (..., queries, classes) in [0, 1] and corners in pixels of the input."""
        logits, middle, size = outputs.split([self.classes, 2, 2], -1)
        rows, columns = self.spec.rectangle
        corners = torch.cat([middle - size / 2, middle + size / 2], -1)
        return torch.sigmoid(logits), corners * corners.new_tensor([columns, rows] * 2)

    def found(self, outputs: Tensor, how: Decoding = USUAL) -> list[Detections]:
        pairs = zip(*self.told(outputs), strict=True)
        return [surest_queries(scores, boxes, (), how) for scores, boxes in pairs]

    def deployed(self) -> Any:
        from regraft.tasks.detection.deployed import DeployedQueries

        return DeployedQueries(self)

    def sizes(self) -> dict[str, Any]:
        return {"detector": self.kind.name}

    @property
    def key(self) -> object:
        return self.row.architecture, sorted(self.row.options.items(), key=lambda item: item[0])


def _labels(truth: Truth, size: tuple[int, int]) -> dict[str, Tensor]:
    """As transformers asks for them; what is ignored it takes for background."""
    rows, columns = size
    boxes = truth.boxes / truth.boxes.new_tensor([columns, rows] * 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    return {
        "class_labels": truth.labels.long(),
        "boxes": torch.cat([(low + high) / 2, high - low], 1),
    }


@contextmanager
def _learning(module: nn.Module) -> Iterator[None]:
    """While it is entered, noisy copies are asked for and every layer answers; BatchNorm stays."""
    before = [(part, part.training) for part in module.modules()]
    for part, _ in before:
        part.training = part.training or not isinstance(part, BATCH_NORMS)
    try:
        yield
    finally:
        for part, was in before:
            part.training = was


def in_full_precision(loss: Callable[..., Any]) -> Callable[..., Any]:
    """A loss on float32, whatever the network computes in: matching knows nothing less."""

    def computed(logits: Tensor, *about: Any, **more: Any) -> Any:
        with torch.autocast(logits.device.type, enabled=False):
            given = {name: _float(value) for name, value in more.items()}
            return loss(_float(logits), *map(_float, about), **given)

    return computed


def _float(value: Any) -> Any:
    is_number = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if is_number else value
