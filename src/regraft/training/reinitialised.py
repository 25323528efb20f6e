"""The deepest layers begin anew: what they know of the pretraining's own task can be in the way.

Zhang et al. 2021, Revisiting Few-sample BERT Fine-tuning, arXiv 2006.05987.
"""

import numpy as np
import torch

from regraft.backbones.catalog import CatalogRow
from regraft.backbones.network import FrozenNetwork
from regraft.training.grafted import depths_of


def take_deepest(
    network: FrozenNetwork, fresh: FrozenNetwork, row: CatalogRow, share: float
) -> list[int]:
    """Take the deepest `share` of the groups of depth, one at least, from a network as its library
    initialises it; numbers of the blocks whose features are others then.
    """
    groups = depths_of(network, row)
    before = _features(network)
    count = max(
        1, int(share * len(groups) + 1e-9)
    )  # with those that stand still never more than all
    anew = {name for group in groups[-count:] for name in group}
    modules = {name.rpartition(".")[0] for name in anew}
    own, given = network.module.state_dict(), fresh.module.state_dict()
    # With their buffers: statistics of BatchNorm belong to the weights before it.
    taken = {n: t for n, t in given.items() if n in anew or n.rpartition(".")[0] in modules}
    network.module.load_state_dict({**own, **taken})
    changed = ~np.isclose(before, _features(network), rtol=1e-5, atol=1e-6)
    ends = np.cumsum(network.block_widths)
    begins = ends - network.block_widths
    return [i for i, (a, b) in enumerate(zip(begins, ends, strict=True)) if changed[a:b].any()]


def _features(network: FrozenNetwork) -> np.ndarray:
    """Of the sample by which networks are traced, (d,)."""
    with torch.inference_mode():
        found: np.ndarray = network(network.sample)[0].cpu().numpy().copy()
    return found
