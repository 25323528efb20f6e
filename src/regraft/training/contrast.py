"""Contrast: examples of one class drawn together, those of others pushed apart.

Khosla et al. 2020, "Supervised contrastive learning", arXiv 2004.11362, the form that is outside
the logarithm; beside cross-entropy as in Gunel et al. 2021, arXiv 2011.01403, so that the head
learns as well. With few labels what it learns from are pairs, of which there are many (SetFit,
Tunstall et al. 2022, arXiv 2209.11055).
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def supervised_contrast(embeddings: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """What each example costs, (n,), by the others of a batch; nothing where none is of its class.

    embeddings  (n, d) of any length
    targets     (n, c) one-hot or soft: a pair counts by the share of the class that both have

    -Σ_p log( exp(z·z_p / t) / Σ_a exp(z·z_a / t) ) over all others a and the mean of the alike p.
    """
    unit = F.normalize(embeddings, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    near = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
    logs = near.log_softmax(1).masked_fill(itself, 0.0)
    alike = (targets @ targets.T).masked_fill(itself, 0.0)
    return -(alike * logs).sum(1) / alike.sum(1).clamp(min=torch.finfo(alike.dtype).eps)
