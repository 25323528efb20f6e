"""Reading the configuration of a checkpoint, which is data from outside.

Keys that could run code, load further files or reach the network are refused before any library
sees them.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regraft.errors import BackboneError

Record = dict[str, Any]

# Keys of a config.json that are refused, wherever they stand in it, and why.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "auto_map": "it names code in the repository, and remote code is never run",
        "quantization_config": "quantized checkpoints are not read",
        "use_pretrained_backbone": "it would load further weights",
        "backbone": "it names another network whose weights would be loaded",
        "custom_pipelines": "it names code in the repository, and remote code is never run",
    }
)
ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
KNOWN_ATTENTION = (None, "eager", "sdpa")


def read_config(path: Path) -> Record:
    """A JSON object from a checkpoint, refused where it could run code or load other files.

    Raises BackboneError with every reason at once.
    """
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BackboneError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise BackboneError(f"{path}: expected a JSON object")
    refuse_config(config, str(path))
    return config


def refuse_config(config: Mapping[str, Any], where: str) -> None:
    """Raise BackboneError, with every reason, where a configuration could run or load anything."""
    if reasons := sorted(set(_refusals(config))):
        raise BackboneError(f"{where}: refused: {'; '.join(reasons)}")


def _refusals(value: object) -> Iterable[str]:
    if isinstance(value, list):
        for item in value:
            yield from _refusals(item)
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        if key in REFUSED and item not in (None, False):
            yield f"{key}: {REFUSED[key]}"
        if key in ATTENTION and item not in KNOWN_ATTENTION:
            yield f"{key}: {item!r} is not one of eager, sdpa: it could name code to download"
        yield from _refusals(item)
