"""Networks of TensorFlow: the features that TensorFlow gives, and no graph reaches a file."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regraft
from regraft.backbones import installed
from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import CatalogRow, Weights, find
from regraft.backbones.engines import open_engine
from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.network import load_network
from regraft.backbones.savedmodel_operations import CONTAINED, LOADED, refused, why_refused
from regraft.backbones.scales import SCALES, named_scale
from regraft.errors import BackboneError, MissingExtra, UsageError
from regraft.modalities.spec import InputSpec
from regraft.model.carried import refusals

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="TensorFlow is not installed (extra: savedmodel)",
)
# A process with TensorFlow alone writes them, and tells what the model gives.
WRITE = """
import sys
import numpy as np
import tensorflow as tf

out, anything = sys.argv[1], tf.TensorSpec((None, None, None, 3), tf.float32, name="x")
rng = np.random.default_rng(0)


class Network(tf.Module):
    def __init__(self):
        self.a = tf.Variable(rng.normal(size=(3, 3, 3, 8)).astype("f4") * 0.3)
        self.b = tf.Variable(rng.normal(size=(3, 3, 8, 16)).astype("f4") * 0.2)

    @tf.function(input_signature=[anything])
    def serve(self, x):
        y = tf.nn.relu(tf.nn.conv2d(x - 0.5, self.a, 2, "SAME"))
        z = tf.nn.relu(tf.nn.conv2d(y, self.b, 2, "SAME"))
        return {"features_2": y, "features_10": tf.reduce_mean(z, (1, 2))}


class Writes(Network):
    @tf.function(input_signature=[anything])
    def serve(self, x):
        tf.io.write_file(out + "/written", "x")
        return {"features": tf.reduce_mean(x, (1, 2))}


class Fixed(Network):
    @tf.function(input_signature=[tf.TensorSpec((4, 32, 32, 3), tf.uint8, name="x")])
    def serve(self, x):
        return {"tokens": tf.reshape(tf.cast(x, tf.float32), (4, 64, 48))}


class Sounds(Network):
    @tf.function(input_signature=[tf.TensorSpec((None, 16000), tf.float32, name="x")])
    def serve(self, x):
        return {"features": x[:, :8]}


for kind in (Network, Writes, Fixed, Sounds):
    made = kind()
    tf.saved_model.save(made, f"{out}/{kind.__name__}", signatures=made.serve)
    if kind is Network:
        pixels = rng.integers(0, 256, (3, 48, 48, 3), np.uint8)
        found = made.serve(tf.constant(pixels / np.float32(255)))
        first = tf.reduce_mean(found["features_2"], (1, 2))
        features = np.concatenate([first, found["features_10"]], 1)
        np.savez(out + "/truth.npz", pixels=pixels, features=features)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a SavedModel by the name of each class above."""
    out = tmp_path_factory.mktemp("saved")
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", WRITE, str(out)], check=True, env=quiet)
    return out


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_features_are_those_of_tensorflow_and_bundles_need_no_folder(
    saved: Path, write_photos: Callable[..., Path], tmp_path: Path
) -> None:
    row = find(f"savedmodel:{saved / 'Network'}")
    assert row.options == {"outputs": ["features_2", "features_10"], "order": "rgb"}
    assert (row.parameters, row.spec.size) == (3 * 9 * 8 + 8 * 9 * 16, 224)
    assert row.gflops is not None
    # Multiply-adds count as two; the rest of the network is a tenth of them.
    assert row.gflops * 1e9 == pytest.approx(2 * 27 * 8 * 112**2 + 2 * 72 * 16 * 56**2, rel=0.15)
    one, truth = extractor(row, row.spec.at(48)), np.load(saved / "truth.npz")
    assert (one.engine_name, one.widths) == ("tensorflow", (8, 16))
    found = np.stack([one.engine.run(pixels) for pixels in truth["pixels"]])
    np.testing.assert_allclose(found, truth["features"], atol=1e-4)
    for _ in range(one.engine.lanes):  # each lane answers the next one
        with pytest.raises(BackboneError, match="TensorFlow: "):
            one.engine.run(truth["pixels"][0][..., :2])
    np.testing.assert_array_equal(one.engine.run(truth["pixels"][1]), found[1])
    photos = write_photos(tmp_path / "photos", {"disc": range(20), "stripes": range(20)})
    model = regraft.fit(photos, backbone=row.name, size=48, resamples=100)
    assert model.record["chosen"]["pixels"].startswith("unit (0 to 1)")
    some = sorted(photos.rglob("*.png"))[::9]
    first = [answer.probability for answer in model.predict(some)]
    path = model.save(tmp_path / "model.regraft")
    (saved / "Network").rename(saved / "elsewhere")
    assert [a.probability for a in regraft.Model.load(path).predict(some)] == first
    find_again = f"savedmodel:{saved / 'elsewhere'}"
    with pytest.raises(UsageError, match=r"lp-ft.*savedmodel"):
        regraft.fit(photos, backbone=find_again, size=48, strategy=("lp-ft",), resamples=100)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_cannot_be_used_is_named(saved: Path) -> None:
    with pytest.raises(BackboneError, match="WriteFile, which can reach files"):
        find(f"savedmodel:{saved / 'Writes'}")
    assert not (saved / "written").exists()
    with pytest.raises(BackboneError, match=r"reads x: float32 \(None, 16000\); expected pictures"):
        find(f"savedmodel:{saved / 'Sounds'}")
    row = find(f"savedmodel:{saved / 'Fixed'}")  # four bytes at once, of one size
    assert (row.min_size, row.max_size, row.spec.mean) == (32, 32, SCALES["raw"].mean)
    one = extractor(row, row.spec)
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    theirs = pixels.astype(np.float32).reshape(64, 48).mean(0)
    np.testing.assert_allclose(one.engine.run(pixels), theirs, rtol=1e-5)


# What needs no TensorFlow ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "RestoreV2", "PyFunc", "EagerPyFunc",
     "ImmutableConst", "DebugIdentity", "GenerateVocabRemapping", "DecodeProtoV2", "_Send"],
)  # fmt: skip
def test_operations_that_reach_out_are_refused_though_stateless(name: str) -> None:
    assert why_refused(name, False, LOADED) == f"{name}, {REACHES}"


REACHES = "which can reach files, other programs or the network"


def test_only_known_states_are_kept_and_unknown_operations_are_none() -> None:
    assert why_refused("VarHandleOp", True, LOADED) == ""
    assert "keeps a state" in why_refused("VarHandleOp", True, CONTAINED)
    assert "keeps a state" in why_refused("PrintV2", True, LOADED)
    assert "does not have" in why_refused("SomebodysOwn", None, LOADED)
    operations = [("Conv2D", False), ("WriteFile", True), ("Conv2D", False), ("PyFunc", True)]
    assert refused(operations, LOADED) == [f"PyFunc, {REACHES}", f"WriteFile, {REACHES}"]


def test_a_scale_follows_the_name() -> None:
    assert named_scale("models/a@2@tf") == ("models/a@2", "tf")
    assert named_scale("models/a@2") == ("models/a@2", "")


def test_a_folder_must_be_one_and_hold_its_own_files(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"expected a folder with saved_model\.pb"):
        find(f"savedmodel:{tmp_path}")
    (tmp_path / "outside").write_bytes(b"x")
    (inner := tmp_path / "model").mkdir()
    (inner / "saved_model.pb").symlink_to(tmp_path / "outside")
    with pytest.raises(BackboneError, match=r"saved_model\.pb.*leads out"):
        find(f"savedmodel:{inner}")


def test_without_tensorflow_the_command_that_installs_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forget(monkeypatch)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(MissingExtra, match=r"pip install 'regraft\[savedmodel\]'"):
        find(f"savedmodel:{tmp_path}")


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    own = installed.version

    def version(name: str) -> str:
        if name.startswith("tensorflow"):
            raise PackageNotFoundError(name)
        return own(name)

    monkeypatch.setattr(installed, "version", version)


@pytest.fixture
def row() -> CatalogRow:
    """As a SavedModel gives one, over a graph that is none."""
    from safetensors.numpy import save

    data = save({"widths": np.array([4], np.int64)})
    folder = cache_folder("savedmodel")
    (folder / "network.safetensors").write_bytes(data)
    weights = Weights(
        "folder", str(folder), "network.safetensors", hashlib.sha256(data).hexdigest()
    )
    return CatalogRow(
        *("savedmodel:network", "savedmodel", "serving_default", "savedmodel", weights),
        InputSpec(32),
        gflops=0.1,
        graph="tensorflow",
    )


def test_its_row_is_for_its_engine_alone(row: CatalogRow) -> None:
    assert Extractor(row, row.spec, "tensorflow").widths == (4,)
    with pytest.raises(BackboneError, match=r"a graph for tensorflow.*nothing to look into"):
        load_network(row)
    with pytest.raises(BackboneError, match="runs by no other engine, nor by openvino"):
        open_engine("openvino", row, row.spec, lambda: pytest.fail("loaded"))


def test_nothing_in_it_is_trained(row: CatalogRow) -> None:
    from regraft.training.strategies import refusal, strategies

    able = [name for name, one in strategies().items() if refusal(one, row) is None]
    assert able == ["probe"]
    told = "lp-ft: savedmodel:network is a frozen graph for tensorflow: nothing in it can learn"
    assert refusal(strategies()["lp-ft"], row) == told


def test_other_networks_do_not_run_by_it(row: CatalogRow, monkeypatch: Any) -> None:
    from regraft.transfer.inputs import _no_engine

    assert "openvino cannot run it" in _no_engine(row, regraft.Recipe(engine="openvino"))
    other = replace(row, graph="", name="another")
    told = _no_engine(other, regraft.Recipe(engine="tensorflow"))
    assert told == "tensorflow runs graphs of its own, not another"
    assert _no_engine(row, regraft.Recipe(engine="tensorflow")) == ""


def test_a_bundle_of_one_is_read_at_any_size_and_by_its_engine(row: CatalogRow) -> None:
    told = {"row": row.to_dict(), "spec": row.spec.at(64).to_dict(), "engine": "tensorflow"}
    told = json.loads(json.dumps(told))
    assert list(refusals(told, ("centre",), ("picture",))) == []
    found = list(refusals({**told, "engine": "openvino"}, ("centre",), ("picture",)))
    assert found == ["row.graph: 'tensorflow' is not the engine, or runs no graphs"]
