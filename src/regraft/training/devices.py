"""Where a run computes: one CPU, one GPU, or several processes that torchrun has started."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_fabric import Fabric

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
        strategy="ddp" if processes > 1 else "auto",
        precision=PRECISION[precision],
    )
    made.launch()
    return made


def usual_workers() -> int:
    """Processes that decode and augment: none beside a CPU, which the network keeps busy itself."""
    import torch

    return min(8, max(1, len(os.sched_getaffinity(0)) - 1)) if torch.cuda.is_available() else 0


def half_is_offered() -> bool:
    """Whether bfloat16 may be faster here: on a GPU, or a CPU with units for its products."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_amx_tile_supported())
