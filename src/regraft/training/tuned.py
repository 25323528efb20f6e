"""A tuned network as a row of its own: its weights in the cache, named by their content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow, Weights, families
from regraft.backbones.tunable import Tunable
from regraft.backbones.weights import row_file
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically
from regraft.training.adapters import merge_adapters

FILE = "model.safetensors"


def tuned_row(model: Tunable, row: CatalogRow, spec: InputSpec, how: str) -> CatalogRow:
    """Write the network's weights into the cache; returns the row that reads them.

    how  the strategy, which becomes a part of the name

    Halves of `model` are joined, adapters merged. Raises StorageError.
    """
    model.join()
    merge_adapters(model)
    return written_row(model.body(), _at_size(row, spec), f"{row.name} ({how})")


def written_row(state: Mapping[str, Tensor], row: CatalogRow, name: str) -> CatalogRow:
    """Write a network's state into the cache; returns the row of that name that reads it.

    row  of the network that it is a version of. Raises StorageError.
    """
    state = {key: t.contiguous().cpu() for key, t in state.items()}
    data = save(state, metadata={"order": json.dumps(list(state))})
    sha256 = hashlib.sha256(data).hexdigest()
    folder = cache_folder(f"tuned/{sha256}")
    if not (folder / FILE).is_file():
        write_atomically(folder / FILE, data)
    for file in filter(None, (row.config, row.tokenizer)):
        write_atomically(folder / Path(file).name, row_file(row, file).read_bytes())
    return replace(
        row,
        name=name,
        weights=Weights("folder", str(folder), FILE, sha256=sha256),
        config=Path(row.config).name,
        tokenizer=Path(row.tokenizer).name,
        check=None,
        upstream_score=None,
        score_from="",
    )


def _at_size(row: CatalogRow, spec: InputSpec) -> CatalogRow:
    """Networks that resample their embeddings to another size are kept at that size."""
    if families()[row.family].resize != "set_input_size" or spec.size == row.spec.size:
        return row
    return replace(row, spec=row.spec.at(spec.size), options={**row.options, "img_size": spec.size})
