"""A model that looks at batches of pictures as training augments them, for consistent teaching."""

import torch
from torch import Tensor, nn

from regraft.errors import UsageError
from regraft.model.model import Model
from regraft.robustness.whitebox import TorchHead


class Seeing:
    """(n, size, size, 3) uint8 pictures, as a student sees them → the model's logits (n, c).

    Each network of the model sees the same picture at its own size. Raises UsageError where a
    network reads no pictures.
    """

    def __init__(self, model: Model) -> None:
        odd = [one.row.name for one in model.extractors if one.spec.reads != "picture"]
        if odd:
            raise UsageError(f"consistent: the teacher's {', '.join(odd)} reads no pictures")
        self.model = model
        self.head = TorchHead(model.head)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Tensor:
        sides = []
        for one in self.model.extractors:
            network = one.network.to(pixels.device)
            sides.append(network(_at(pixels, one.spec.size)))
        features = torch.cat(sides, 1).float()
        logits = self.head.to(pixels.device)(features) / self.model.temperature
        return torch.as_tensor(logits)


def _at(pixels: Tensor, size: int) -> Tensor:
    """The pictures at another size, in whole numbers as networks read them."""
    if pixels.shape[1] == size:
        return pixels
    planes = pixels.permute(0, 3, 1, 2).float()
    scaled = nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
