"""Sources: state dicts fit wholly or are refused with all that does not fit; plugins."""

import importlib
import re
import sys
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from regraft.backbones import sources
from regraft.backbones.catalog import DEFAULT, find
from regraft.backbones.sources import Source, load_strictly, plugins, source
from regraft.backbones.weights import read_state, weight_file
from regraft.errors import BackboneError, UsageError


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_a_whole_state_is_loaded() -> None:
    given, module = small().state_dict(), small()
    loaded = load_strictly(module, dict(given))
    assert all(torch.equal(given[name], t) for name, t in loaded.state_dict().items())


def test_counters_of_batchnorm_may_be_absent() -> None:
    state = {k: t for k, t in small().state_dict().items() if "num_batches" not in k}
    assert torch.equal(load_strictly(small(), state).state_dict()["0.weight"], state["0.weight"])


@given(st.data())
def test_whatever_does_not_fit_is_listed(data: st.DataObject) -> None:
    state = dict(small().state_dict())
    names = st.sampled_from([k for k in state if "num_batches" not in k])
    gone = data.draw(st.sets(names, max_size=2))
    bent = data.draw(st.sets(names, max_size=2)) - gone
    extra = data.draw(st.sets(st.sampled_from(["x.weight", "y"])))
    state = {k: t for k, t in state.items() if k not in gone}
    state |= {k: torch.zeros(9, 9) for k in bent} | {k: torch.zeros(1) for k in extra}
    if not gone | bent | extra:
        load_strictly(small(), state)
        return
    with pytest.raises(BackboneError) as caught:
        load_strictly(small(), state)
    told = str(caught.value)
    assert all(f"{name}" in told for name in gone | bent | extra)
    assert ("missing: " in told, "unexpected: " in told) == (bool(gone), bool(extra))
    assert ("(9, 9) for " in told) == bool(bent)


def lite0() -> tuple[nn.Module, "OrderedDict[str, torch.Tensor]"]:
    row = find(DEFAULT)
    return source("package").build(row), OrderedDict(read_state(weight_file(row)))


def test_a_package_is_matched_by_position() -> None:
    module, state = lite0()
    loaded = source("package").load(module, dict(state)).state_dict()
    kept = [t for name, t in loaded.items() if not name.endswith("num_batches_tracked")]
    given = [t for name, t in state.items() if not name.endswith("num_batches_tracked")]
    assert len(kept) == len(given) > 200
    assert all(torch.equal(a, b) for a, b in zip(kept, given, strict=True))
    names = set(state) ^ set(loaded)
    assert names  # the names truly differ: matching by name would have failed


def test_a_wrong_shape_is_refused_by_position() -> None:
    module, state = lite0()
    name = list(state)[-2]
    state[name] = state[name].T.contiguous()
    with pytest.raises(BackboneError, match=r"_fc\S* \(1280, 1000\) for classifier.weight"):
        source("package").load(module, state)


def test_swapped_entries_of_one_shape_are_refused_by_position() -> None:
    module, state = lite0()
    items = list(state.items())
    at = next(i for i, (name, _) in enumerate(items) if name.endswith(".bias"))
    items[at - 1], items[at] = items[at], items[at - 1]
    with pytest.raises(BackboneError, match="do not fit in order"):
        source("package").load(module, dict(items))


def test_a_missing_entry_is_refused_by_position() -> None:
    module, state = lite0()
    state.popitem()
    with pytest.raises(BackboneError, match="expected 247 entries in order, the file has 246"):
        source("package").load(module, state)


def test_timm_translates_the_names_of_an_original_release() -> None:
    """ConvNeXt as Meta published it has other names than timm's."""
    row = replace(
        find("convnext-atto"),
        options={"dims": [4, 8, 8, 8], "depths": [1, 1, 1, 1], "conv_mlp": False},
        num_classes=3,
    )
    module = source("timm").build(row)
    original = {
        name.replace("stem.", "downsample_layers.0.")
        .replace("stages.", "stages_", 1)
        .replace(".blocks.", ".")
        .replace("stages_", "stages.")
        .replace("conv_dw", "dwconv")
        .replace("mlp.fc", "pwconv")
        .replace("head.fc", "head")
        .replace("head.norm", "norm"): torch.randn_like(t)
        for name, t in module.state_dict().items()
    }
    original = {
        re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name): t
        for name, t in original.items()
    }
    assert set(original) != set(module.state_dict())
    loaded = source("timm").load(module, original)
    assert torch.equal(loaded.state_dict()["head.norm.weight"], original["norm.weight"])


def test_names_that_timm_cannot_translate_are_told() -> None:
    row = replace(find("vit-tiny"), options={"depth": 1, "embed_dim": 12, "num_heads": 2})
    with pytest.raises(BackboneError, match=r"missing: .*cls_token.*unexpected: nonsense"):
        source("timm").load(source("timm").build(row), {"nonsense": torch.zeros(1)})


@pytest.mark.parametrize("row", ["resnet18", "vgg11"])
def test_an_architecture_that_a_library_lacks_is_told(row: str) -> None:
    missing = replace(find(row), architecture="no_such_net")
    with pytest.raises(BackboneError, match="has no architecture 'no_such_net'"):
        source(missing.source).build(missing)


def test_options_that_timm_refuses_are_told() -> None:
    with pytest.raises(BackboneError, match=r"resnet18: timm refuses \{'colour': 3\}"):
        source("timm").build(replace(find("resnet18"), options={"colour": 3}))


def test_an_unknown_source_is_told() -> None:
    with pytest.raises(UsageError, match="'flax' is not one of timm, package"):
        source("flax")


# --- plugins: a real entry point of a distribution on the path -----------------------------------

PLUGIN = """
from torch import nn
from regraft.backbones.catalog import CatalogRow, Weights
from regraft.backbones.sources import Source
from regraft.modalities.spec import InputSpec

def describe(name):
    return CatalogRow(f"mine:{name}", "mine", name, "resnet", Weights("folder", "x"), InputSpec())

SOURCE = Source(lambda row: nn.Linear(2, 2), lambda module, state: module, describe)
BROKEN = 3
"""


@pytest.fixture
def with_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "regraft_mine.py").write_text(PLUGIN)
    info = tmp_path / "regraft_mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: regraft-mine\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "regraft_mine", raising=False)
    importlib.invalidate_caches()
    plugins.cache_clear()
    yield info / "entry_points.txt"
    plugins.cache_clear()


def test_a_plugin_brings_its_prefix_and_builds(with_plugin: Path) -> None:
    with_plugin.write_text(f"[{sources.GROUP}]\nmine = regraft_mine:SOURCE\n")
    row = find("mine:net")
    assert (row.source, row.architecture) == ("mine", "net")
    assert isinstance(source("mine").build(row), nn.Linear)


@pytest.mark.parametrize(
    ("value", "told"), [("BROKEN", "expected a .*Source"), ("ABSENT", "fails: .*ABSENT")]
)
def test_a_broken_plugin_is_named(with_plugin: Path, value: str, told: str) -> None:
    with_plugin.write_text(f"[{sources.GROUP}]\nmine = regraft_mine:{value}\n")
    with pytest.raises(BackboneError, match=f"plugin mine .*{told}"):
        find("mine:net")


def test_a_plugin_cannot_replace_a_built_in_source(with_plugin: Path) -> None:
    with_plugin.write_text(f"[{sources.GROUP}]\ntimm = regraft_mine:SOURCE\n")
    assert isinstance(source("timm"), Source)
    assert source("timm") is sources.SOURCES["timm"]
