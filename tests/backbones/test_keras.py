"""Networks of Keras: the same features as Keras gives, and nothing in a file is run."""

import json
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regraft
from regraft.backbones.catalog import CatalogRow, find, row_from
from regraft.backbones.keras_files import CONFIG, checked, keras, read_model
from regraft.backbones.keras_source import SCALE_OF, _scale
from regraft.backbones.network import load_network
from regraft.backbones.scales import SCALES, Scale
from regraft.errors import BackboneError, UsageError

SIDE = 32


def convolutions(side: int | None = SIDE, **more: Any) -> Any:
    """A residual network of Keras with BatchNorm, for three classes."""
    k = keras()
    layers = k.layers
    inputs = k.Input((side, side, 3))
    x = layers.Conv2D(8, 3, 2, "same", activation="relu", name="stem")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Add(name="sum")([x, y])
    x = layers.MaxPooling2D(name="halved")(x)
    x = more.get("pool", layers.GlobalAveragePooling2D)(name="pooled")(x)
    outputs = layers.Dense(3, activation="softmax", name="answer")(x)
    model = k.Model(inputs, outputs, name=more.get("name", "mobilenet_like"))
    rng = np.random.default_rng(0)
    model.get_layer("norm").set_weights([rng.uniform(0.5, 1.5, 8) for _ in range(4)])
    return model


def scaled() -> Any:
    """As many make it: a layer that scales, then a network as one layer, then a head."""
    k = keras()
    return k.Sequential(
        [
            k.Input((SIDE, SIDE, 3)),
            k.layers.Rescaling(1 / 255),
            convolutions(),
            k.layers.Dropout(0.5),
            k.layers.Dense(2),
        ]
    )


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    """(model, ending) → the name of its row."""

    def save(model: Any, ending: str = "keras") -> str:
        model.save(path := tmp_path / f"network.{ending}")
        return f"keras:{path}"

    return save


def pictures(row: CatalogRow, count: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(1)
    side = row.spec.size
    return torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def last(row: CatalogRow, pixels: torch.Tensor) -> Any:
    network = load_network(row)
    return network.features(pixels)[-1].numpy()


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_features_are_those_that_keras_predicts(saved: Callable[..., str], ending: str) -> None:
    model = convolutions(None)
    row = find(saved(model, ending))
    pixels = pictures(row)
    features = keras().Model(model.inputs, model.get_layer("pooled").output)
    theirs = features.predict(pixels.numpy() / 127.5 - 1, verbose=0)  # mobilenet's scale
    np.testing.assert_allclose(last(row, pixels), theirs, atol=1e-4)
    widths = load_network(row).block_widths
    assert widths == (8, 8, 8)  # the sum, what is halved, and what is pooled


def test_a_network_within_another_is_seen_inside(saved: Callable[..., str]) -> None:
    model = scaled()
    row = find(saved(model))
    assert (row.spec.mean, row.spec.std) == (SCALES["raw"].mean, SCALES["raw"].std)
    assert row.spec.size == 224  # layers that read any size are not held to the one that was told
    network = load_network(row, row.spec.at(SIDE))
    assert len(network.block_widths) == 3
    pixels = pictures(row)[:, :SIDE, :SIDE]
    inner = model.layers[1]  # its answers are what the outer head reads
    theirs = inner.predict(pixels.numpy() / 255.0, verbose=0)
    np.testing.assert_allclose(network.features(pixels)[-1].numpy(), theirs, atol=1e-4)


def test_what_flattens_a_map_reads_one_size(saved: Callable[..., str]) -> None:
    row = find(saved(convolutions(pool=keras().layers.Flatten)))
    assert (row.spec.size, row.min_size, row.max_size) == (SIDE, SIDE, SIDE)
    assert not row.reads_size(2 * SIDE)


def test_a_row_is_plain_data_that_needs_no_file_of_keras(saved: Callable[..., str]) -> None:
    row = find(name := saved(convolutions()))
    again = row_from(json.loads(json.dumps(row.to_dict())))
    Path(name.removeprefix("keras:")).unlink()
    pixels = pictures(row)
    np.testing.assert_array_equal(last(again, pixels), last(row, pixels))


def test_it_is_probed_tuned_and_saved(
    saved: Callable[..., str], write_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "photos", {"disc": range(20), "stripes": range(20)})
    settings = {"backbone": saved(convolutions()), "size": SIDE, "resamples": 100}
    model = regraft.fit(photos, strategy=("lp-ft",), steps=2, engine="torch", **settings)
    kinds = [one["kind"] for one in model.record["tried"]]
    assert {"probe", "lp-ft"} <= set(kinds)
    again = regraft.Model.load(model.save(tmp_path / "model.regraft"))
    some = sorted(photos.rglob("*.png"))[::9]
    assert [one.probability for one in again.predict(some)] == [
        one.probability for one in model.predict(some)
    ]


def test_statistics_stay_and_weights_move() -> None:
    from regraft.backbones.keras_source import KerasNetwork

    k = keras()
    config = json.loads(json.dumps(k.saving.serialize_keras_object(convolutions())))
    network = KerasNetwork(config, (1,), -1, "rgb")
    learning = {name for name, _ in network.named_parameters()}
    assert not any("moving" in name for name in learning)
    assert sum("moving" in name for name, _ in network.named_buffers()) == 2
    network(torch.rand(1, 3, SIDE, SIDE)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


# Scales ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["mobilenet_v2", "resnet", "resnet_v2", "vgg16", "densenet",
                                    "efficientnet", "mobilenet_v3", "convnext", "xception",
                                    "inception_v3", "nasnet", "efficientnet_v2"])  # fmt: skip
def test_pixels_are_scaled_as_keras_applications_does(module: str) -> None:
    named = {"resnet": "resnet50", "resnet_v2": "resnet50v2"}.get(module, module)
    plain = named.replace("_", "")
    told = next(SCALES[scale] for begin, scale in SCALE_OF.items() if plain.startswith(begin))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype("float32")
    theirs = import_module(f"keras.applications.{module}").preprocess_input(pixels.copy())
    ours = (pixels / 255 - told.mean) / told.std
    ours = ours[..., ::-1] if told.order == "bgr" else ours
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_scale_that_nothing_tells_must_be_said(saved: Callable[..., str]) -> None:
    name = saved(convolutions(name="mine"))
    with pytest.raises(BackboneError, match="add @ and one of: raw"):
        find(name)
    assert find(f"{name}@caffe").options["order"] == "bgr"
    assert isinstance(SCALES["unit"], Scale)
    assert _scale(scaled(), "scaled") == "raw"


# What is refused ---------------------------------------------------------------------------------


def test_a_lambda_is_never_read(tmp_path: Path) -> None:
    k = keras()
    model = k.Sequential([k.Input((8, 8, 3)), k.layers.Lambda(lambda x: x), k.layers.Dense(2)])
    for ending in ("keras", "h5"):
        model.save(path := tmp_path / f"model.{ending}")
        with pytest.raises(BackboneError, match="Lambda"):
            read_model(path)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"module": "os", "class_name": "system", "config": {}}, "os"),
        ({"class_name": "Popen", "config": {}}, "Popen"),
        ({"module": "keras.layers", "class_name": "TFSMLayer", "config": {}}, "TFSMLayer"),
        ({"module": "keras.layers", "class_name": "Dense", "registered_name": "a>B"}, "a>B"),
        ({"module": "kerasx", "class_name": "Dense"}, "kerasx"),
        ({"class_name": "function", "config": "print"}, "function"),
    ],
)
def test_classes_of_others_are_refused_wherever_they_stand(part: Any, reason: str) -> None:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [{"a": [part]}]}}
    with pytest.raises(BackboneError, match=reason):
        checked(config, "a file")


def test_a_changed_configuration_is_refused_before_it_is_built(tmp_path: Path) -> None:
    convolutions().save(path := tmp_path / "model.keras")
    other = tmp_path / "forged.keras"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as forged:
        for name in archive.namelist():
            content = archive.read(name)
            if name == CONFIG:
                content = content.replace(b'"keras.layers"', b'"subprocess"', 1)
            forged.writestr(name, content)
    with pytest.raises(BackboneError, match="subprocess"):
        read_model(other)


def test_weights_in_other_files_are_not_followed(tmp_path: Path) -> None:
    import h5py

    convolutions().save(path := tmp_path / "model.h5")
    with h5py.File(path, "a") as file:
        file["elsewhere"] = h5py.ExternalLink("secret.h5", "/a")
    with pytest.raises(BackboneError, match="elsewhere is a link"):
        read_model(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no file of Keras at all"])
def test_damaged_files_are_named(content: bytes, tmp_path: Path) -> None:
    for ending in ("keras", "h5"):
        (path := tmp_path / f"broken.{ending}").write_bytes(content)
        with pytest.raises(BackboneError, match="broken"):
            read_model(path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="no such file"):
        find(f"keras:{tmp_path}/none.keras")
    with pytest.raises(UsageError, match="MobileNetV2"):
        find("keras:MobileNet2")
    with pytest.raises(BackboneError, match="nothing is fetched"):
        find("keras:MobileNetV2")
