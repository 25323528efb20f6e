"""What keeping freed memory between the steps of training is worth on a CPU, in pairs.

    OMP_NUM_THREADS=2 python benchmarks/memory.py --json out.json [--sizes 128,192,224] [--pairs 5]

A step (forwards, backwards, gradients dropped) of a network with its BatchNorm folded, on a batch
that lies ready, once as the C library has it and once within `kept_memory`; they take turns. Told
are the examples per second of each, the ratio (the median over the pairs), and how many pages of
memory a step asks the system for. Weights are random: they do not change the time.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import portions

STEPS = 4
WAYS = ("given back", "kept")


def timed(step: Callable[[], object], way: AbstractContextManager[None], batch: int) -> Any:
    """Examples per second and pages a step, after a step that warms up."""
    with way:
        step()
        pages, begin = faults(), time.perf_counter()
        for _ in range(STEPS):
            step()
        seconds = time.perf_counter() - begin
        return STEPS * batch / seconds, (faults() - pages) // STEPS


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measured(size: int, asked: argparse.Namespace) -> dict[str, Any]:
    import timm
    import torch

    from regraft.training.folding import folded
    from regraft.training.memory import kept_memory

    net = timm.create_model(asked.network, num_classes=10).eval()
    net.to(memory_format=torch.channels_last)
    pixels = torch.randn(asked.batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(asked.batch) % 10

    def step() -> None:
        torch.nn.functional.cross_entropy(net(pixels), labels).backward()
        net.zero_grad(set_to_none=True)

    found: dict[str, list[Any]] = {way: [] for way in WAYS}
    with folded(net, pixels[:1]):
        for _ in range(asked.pairs):
            for way, made in zip(WAYS, (nullcontext, kept_memory), strict=True):
                found[way].append(timed(step, made(), asked.batch))
    ratios = [k[0] / g[0] for g, k in zip(found[WAYS[0]], found[WAYS[1]], strict=True)]
    told = {
        way: {
            "examples_per_second": round(median(rate for rate, _ in runs), 1),
            "pages_a_step": int(median(pages for _, pages in runs)),
        }
        for way, runs in found.items()
    }
    return {"size": size, **told, "times_faster": round(median(ratios), 2)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=portions.several(int), default=[128, 192, 224])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--network", default="tf_efficientnet_lite0", help="of timm")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    settings = {"network": asked.network, "batch": asked.batch, "pairs": asked.pairs}
    rows = [measured(size, asked) for size in asked.sizes]
    found = {"machine": portions.machine(), "settings": settings, "rows": rows}
    return portions.finish(found, asked.json)


if __name__ == "__main__":
    sys.exit(main())
