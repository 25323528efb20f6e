"""A loss for labels of which some are wrong: however far off a label is, it costs only so much.

Cross-entropy grows without bound as the network gets surer of another class than the label's, so
that wrong labels pull the most. A distance between probabilities and label does not (Ghosh et al.
2017, arXiv 1712.09482).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def probability_l1(
    outputs: Tensor, targets: Tensor, weights: Tensor | None, parameters: Mapping[str, float]
) -> Tensor:
    """(n, c) logits and labels → (n,): smooth L1 (Girshick 2015, arXiv 1504.08083) between both.

    The logits as probabilities. Each label is one-hot; labels that are mixed cost the mean of what
    each of them would.

    parameters  beta: the distance below which it is squared
    """
    odds, beta = outputs.softmax(1), parameters["beta"]
    near, far = (
        F.smooth_l1_loss(odds, torch.full_like(odds, end), beta=beta, reduction="none")
        for end in (0.0, 1.0)
    )
    costs = targets * (near.sum(1, keepdim=True) - near + far)
    return (costs if weights is None else costs * weights).sum(1)
