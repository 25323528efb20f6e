"""What a network takes for one example: multiply-adds, and seconds in its engine."""

import time
from typing import TYPE_CHECKING

import numpy as np

from regraft.backbones.readers import reader
from regraft.modalities.spec import InputSpec

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork
    from regraft.backbones.runtimes import Engine

TIMED = 20  # runs, after two that warm up


def multiply_adds(network: "FrozenNetwork") -> int:
    """Of convolutions, linear layers and attention, for the network's sample.

    The sample is a picture at its size, a text of about a question's length, a second of sound.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(network.sample)
    return int(counter.get_total_flops()) // 2


def seconds_each(engine: "Engine", spec: InputSpec) -> float:
    """Median seconds for one example, of some runs one after the other."""
    example, taken = reader(spec).sample(spec, 0), []
    for _ in range(TIMED + 2):
        begin = time.perf_counter()
        engine.run(example)
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken[2:]))
