"""Tuned networks: kept by their content, and read back to the last bit."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from regraft.backbones.cache import cache_root
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.network import load_network
from regraft.errors import StorageError
from regraft.training.loop import Training
from regraft.training.tuned import FILE, tuned_row

Setting, Tiny = Any, Any  # of conftest.py

RUNS = [
    ("resnet", "lp-ft", 32),
    ("resnet", "copy", 32),
    ("resnet", "partial", 32),
    ("resnet", "lp-ft", 64),
    ("vit", "lora", 32),
    ("vit", "lp-ft", 48),
    ("transformers-vit", "lora", 32),
    ("transformers-vit", "lp-ft", 48),
]


def trained(small: Setting, name: str) -> Training:
    ready = small.ready(name, steps=2, rate=0.02, views=1)
    run: Training = ready.training()
    run.run()
    return run


def kept_in(row: CatalogRow) -> Path:
    return Path(row.weights.origin) / FILE


@pytest.mark.parametrize(("network", "strategy", "size"), RUNS)
def test_it_reads_back_bit_for_bit(tiny: Tiny, network: str, strategy: str, size: int) -> None:
    small = tiny(network, size)
    run = trained(small, strategy)
    row = tuned_row(run.model, small.row, small.spec, strategy)
    again = load_network(row, small.spec).eval()
    ours, theirs = run.model.body(), again.module.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with torch.no_grad():
        features = run.model.network.eval()(small.held.pixels)
        assert torch.equal(again(small.held.pixels), features)
    plain = load_network(small.row, small.spec).module.state_dict()
    assert any(not torch.equal(theirs[name], plain[name]) for name in theirs)


def test_the_row_says_where_it_comes_from(tiny: Tiny) -> None:
    small = tiny("resnet")
    row = tuned_row(trained(small, "lp-ft").model, small.row, small.spec, "lp-ft")
    assert row.name == f"{small.row.name} (lp-ft)"
    assert (row.family, row.spec, row.labels) == (
        small.row.family,
        small.row.spec,
        small.row.labels,
    )
    assert (row.check, row.upstream_score, row.score_from) == (None, None, "")
    assert row.weights.sha256 == hashlib.sha256(kept_in(row).read_bytes()).hexdigest()
    assert kept_in(row).is_relative_to(cache_root() / "tuned" / row.weights.sha256)


def test_the_same_weights_are_written_once(tiny: Tiny) -> None:
    small = tiny("resnet")
    model = trained(small, "lp-ft").model
    first = tuned_row(model, small.row, small.spec, "lp-ft")
    written = kept_in(first).stat().st_mtime_ns
    assert tuned_row(model, small.row, small.spec, "lp-ft") == first
    assert kept_in(first).stat().st_mtime_ns == written
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    other = tuned_row(model, small.row, small.spec, "lp-ft")
    assert kept_in(other) != kept_in(first)


def test_the_file_keeps_the_order_of_the_names(tiny: Tiny) -> None:
    small = tiny("vit")
    model = trained(small, "lp-ft").model
    row = tuned_row(model, small.row, small.spec, "lp-ft")
    with safe_open(kept_in(row), "pt") as file:
        assert set(file.keys()) == set(model.body())
        assert "order" in file.metadata()


def test_a_cache_that_cannot_be_written_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tiny("resnet")
    model = small.ready("lp-ft").model
    (tmp_path / "file").touch()
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set REGRAFT_CACHE to a folder that can"):
        tuned_row(model, small.row, small.spec, "lp-ft")
