"""Graphs that engines have made of networks, kept in the cache whole or not at all."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.cache import file_hash

if TYPE_CHECKING:
    from regraft.backbones.network import FrozenNetwork

DIGESTS = "sha256.json"  # of a graph's files; written last


def make_graph(
    write: Callable[["FrozenNetwork", Path], None], network: "FrozenNetwork", folder: Path
) -> None:
    """Write beside the place and rename: another run sees the whole graph or none."""
    beside = folder.with_name(f"{folder.name}.tmp")
    for left in (beside, folder):  # by a kill, or damaged
        shutil.rmtree(left, ignore_errors=True)
    beside.mkdir()
    try:
        with warnings.catch_warnings():  # those of converters are not the user's concern
            warnings.simplefilter("ignore")
            write(network, beside)
        digests = {path.name: file_hash(path) for path in beside.iterdir()}
        (beside / DIGESTS).write_text(json.dumps(digests))
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Whether all files of a graph are there as they were written."""
    digests = read_object(folder / DIGESTS)
    try:
        return bool(digests) and all(file_hash(folder / n) == d for n, d in digests.items())
    except OSError:
        return False


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
