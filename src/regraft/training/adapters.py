"""Low-rank adapters by the PEFT library: added before training, merged into the weights after."""

import re

import torch
from torch import nn

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.tunable import Tunable
from regraft.errors import MissingExtra, UsageError

RANK = 8
SCALE = 16  # alpha; the update is multiplied by SCALE / RANK


def add_adapters(model: Tunable, row: CatalogRow, seed: int) -> None:
    """On every linear layer of the body. Raises MissingExtra, UsageError where there is none."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtra("peft", "lora") from None
    module, family = model.network.module, families()[row.family]
    names = [
        name
        for name, part in module.named_modules()
        if type(part) is nn.Linear and not family.is_head(f"{name}.weight")
    ]
    if not names:
        raise UsageError(f"lora: {row.name} has no linear layers but its classifier")
    target = "|".join(map(re.escape, names))
    config = LoraConfig(r=RANK, lora_alpha=SCALE, target_modules=target, lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, module)


def merge_adapters(model: Tunable) -> None:
    """Add what the adapters have learned to the weights, and take them out again."""
    module = model.network.module
    for name, part in list(module.named_modules()):
        if hasattr(part, "lora_A") and hasattr(part, "get_base_layer"):
            part.merge()
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, part.get_base_layer())
