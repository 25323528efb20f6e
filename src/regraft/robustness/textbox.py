"""TextBox: a model of texts as one differentiable function of the vectors of its word pieces.

    box = TextBox.of(model)
    logits = box(box.read(model, files))

An attack moves these vectors, as adversarial training of texts does (Miyato et al. 2017, arXiv
1605.07725; Zhu et al. 2020, arXiv 1909.11764). No text belongs to what it finds: this says how far
an answer is from its border, and not what somebody can write.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

from regraft.backbones.embedded import embedded, in_place_of, numbers_of
from regraft.backbones.network import FrozenNetwork
from regraft.data.inline import contents
from regraft.errors import UsageError
from regraft.modalities import modality
from regraft.model.model import Model
from regraft.robustness.whitebox import TorchHead


def refuse_several(model: Model) -> None:
    """Raise UsageError for a model whose networks take texts apart in their own ways."""
    if len(model.extractors) != 1:
        raise UsageError(
            f"robust: this is an ensemble of {len(model.extractors)} networks, each with word "
            "pieces of its own, so that no change of one vector fits all; give a model of one"
        )


class TextBox(nn.Module):
    """(n, length, d + 1) → (n, c) logits.

    Of each word piece its vector, in units of the mean length of those of the vocabulary, and its
    number + 1; 0 behind the end of a shorter text.
    """

    def __init__(self, network: FrozenNetwork, head: TorchHead, temperature: float) -> None:
        super().__init__()
        self.network, self.head, self.temperature = network, head, temperature
        self.eval()

    @classmethod
    def of(cls, model: Model) -> Self:
        """Of a fitted model. Raises UsageError where it cannot be attacked as it answers."""
        refuse_several(model)
        made = cls(model.extractors[0].network, TorchHead(model.head), model.temperature)
        return deepcopy(made).cuda() if torch.cuda.is_available() else made

    @property
    def device(self) -> torch.device:
        """Where it computes, and texts have to be."""
        return next(self.head.buffers()).device

    def features(self, x: Tensor) -> Tensor:
        """(n, D) raw features: texts of equal length go together."""
        numbers = numbers_of(x)
        lengths = (numbers >= 0).sum(1).tolist()
        found: dict[int, Tensor] = {}
        for length in dict.fromkeys(lengths):
            places = [i for i, own in enumerate(lengths) if own == length]
            some, tokens = x[places, :length, :-1], numbers[places, :length]
            with in_place_of(self.network.module, some):
                found |= dict(zip(places, self.network(tokens), strict=True))
        return torch.stack([found[i] for i in range(len(x))]).float()

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.features(x)) / self.temperature)

    def read(self, model: Model, files: Sequence[str]) -> Tensor:
        """Of files. Raises Unreadable naming the file."""
        one, kind = model.extractors[0], modality(model.modality)
        raws = [kind.decode(contents(file), file, one.spec).raw for file in files]
        lines = [one.read(kind.prepare(raw, one.spec, one.spec.views[0])) for raw in raws]
        return embedded(self.network.module, lines)
