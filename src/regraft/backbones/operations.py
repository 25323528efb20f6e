"""How many multiply-adds a network takes for one example."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork


def multiply_adds(network: "FrozenNetwork") -> int:
    """Of convolutions, linear layers and attention, for the network's sample.

    The sample is a picture at its size, a text of about a question's length, a second of sound.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(network.sample)
    return int(counter.get_total_flops()) // 2
