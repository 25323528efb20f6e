"""Where a run computes: one CPU, one GPU, or several processes that torchrun has started."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric
    from torch import Tensor

# What running some examples costs beside them, in numbers that are read, such as a text's tokens:
# measured on a small transformer. Where it is not told, padding costs less than a second start.
BEGIN: Mapping[str, float] = MappingProxyType({"cpu": 48.0})
PRECISION: Mapping[str, Any] = MappingProxyType({"float32": "32-true", "bfloat16": "bf16-mixed"})


def fabric_for(precision: str = "float32") -> "Fabric":
    """Fabric on the GPU if there is one, else on the CPU; several processes under torchrun."""
    import torch
    from lightning_fabric import Fabric

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    made = Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=here,
        num_nodes=processes // here,
        # What stands still at first has no gradient, and the others wait for none of it.
        strategy="ddp_find_unused_parameters_true" if processes > 1 else "auto",
        precision=PRECISION[precision],
    )
    made.launch()
    return made


def begin_cost(device: "torch.device") -> float:
    """Of a piece of a batch, see `padding.by_length`."""
    return BEGIN.get(device.type, 1e9)


def usual_workers() -> int:
    """Processes that decode and augment: none beside a CPU, which the network keeps busy itself."""
    import torch

    return min(8, max(1, len(os.sched_getaffinity(0)) - 1)) if torch.cuda.is_available() else 0


def usual_precision() -> str:
    """bfloat16 where there are units for its products, on a GPU or in a CPU; else it gains nothing.

    On two cores without them it was slower than float32 (158 against 194 GFLOP/s).
    """
    import torch

    gpu, cpu = torch.cuda.is_available(), torch.cpu._is_amx_tile_supported
    offered = torch.cuda.is_bf16_supported() if gpu else cpu()
    return "bfloat16" if offered else "float32"


def is_first() -> bool:
    """Whether this process is the only one or the first of several: it writes for all."""
    return int(os.environ.get("RANK", "0")) == 0


def agreed(value: Any) -> Any:
    """Plain data that the first of several processes has decided on."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return value
    return fabric_for().broadcast(value)


def total(fabric: "Fabric", value: "Tensor") -> float:
    """Of a number that each process has its own of, the sum."""
    return float(_of_all(fabric, value, "sum"))


def largest(fabric: "Fabric", *values: int) -> list[int]:
    """Of some numbers that each process has its own of, the largest: what one knows, all do."""
    import torch

    found: list[int] = _of_all(fabric, torch.tensor(values), "max").tolist()
    return found


def _of_all(fabric: "Fabric", values: "Tensor", how: str) -> "Tensor":
    if fabric.world_size == 1:
        return values
    found = fabric.all_reduce(values.to(fabric.device), reduce_op=how)
    return cast("Tensor", found)
