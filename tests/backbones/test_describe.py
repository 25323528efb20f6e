"""Rows from folders: what is read, and what is refused before any library sees it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.catalog import find
from regraft.backbones.configs import read_config
from regraft.errors import BackboneError

TIMM: dict[str, Any] = {
    "architecture": "resnet18",
    "num_classes": 3,
    "label_names": ["a", "b", "c"],
    "model_args": {"layers": [1, 1, 1, 1]},
    "pretrained_cfg": {
        "input_size": [3, 96, 96],
        "crop_pct": 0.9,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "license": "mit",
    },
}
VIT: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "patch_size": 8,
    "id2label": {"0": "cat", "10": "newt", "2": "dog"},
}
PROCESSOR: dict[str, Any] = {
    "size": {"height": 32, "width": 32},
    "resample": 3,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.2, 0.2, 0.2],
}


def written(folder: Path, **files: object) -> str:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return str(folder)


def test_a_timm_folder_is_described(tmp_path: Path) -> None:
    row = find(f"folder:{written(tmp_path, config=TIMM)}")
    assert (row.source, row.architecture, row.family) == ("timm", "resnet18", "resnet")
    assert (row.num_classes, row.labels, row.classes) == (3, ("a", "b", "c"), "own")
    assert row.options == {"layers": [1, 1, 1, 1]}
    assert row.licence_weights == "mit"
    spec = row.spec
    assert (spec.size, spec.fit, spec.crop_fraction) == (96, "squash", 0.9)
    assert (spec.interpolation, spec.mean, spec.std) == (
        "bilinear",
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
    )


def test_an_older_timm_folder_has_its_settings_at_the_top(tmp_path: Path) -> None:
    older = {**TIMM, **TIMM["pretrained_cfg"]}
    del older["pretrained_cfg"]
    rows = []
    for name, config in (("new", TIMM), ("old", older)):
        (tmp_path / name).mkdir()
        rows.append(find(f"folder:{written(tmp_path / name, config=config)}"))
    assert rows[0].spec == rows[1].spec


def test_a_transformers_folder_is_described(tmp_path: Path) -> None:
    folder = written(tmp_path, config=VIT, preprocessor_config=PROCESSOR)
    row = find(f"folder:{folder}")
    assert (row.source, row.family) == ("transformers", "transformers-vit")
    assert row.labels == ("cat", "dog", "newt")
    assert (row.num_classes, row.size_multiple, row.config) == (3, 8, "config.json")
    assert (row.spec.size, row.spec.fit, row.spec.interpolation) == (32, "squash", "bicubic")
    assert find(f"transformers:{folder}").spec == row.spec


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": 224}, (224, "squash", 1.0)),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (224, "crop", 0.875)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, (384, "squash", 1.0)),
        (
            {
                "size": {"shortest_edge": 256},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            (224, "crop", 0.875),
        ),
    ],
)
def test_a_processor_becomes_a_spec(
    settings: dict[str, Any], expected: tuple[int, str, float], tmp_path: Path
) -> None:
    folder = written(tmp_path, config=VIT, preprocessor_config=PROCESSOR | settings)
    spec = find(f"folder:{folder}").spec
    assert (spec.size, spec.fit, spec.crop_fraction) == expected


def test_a_processor_without_normalisation_has_none(tmp_path: Path) -> None:
    folder = written(tmp_path, config=VIT, preprocessor_config=PROCESSOR | {"do_normalize": False})
    spec = find(f"folder:{folder}").spec
    assert (spec.mean, spec.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"do_rescale": False}, "rescale by 1/255"),
        ({"image_mean": None}, "image_mean"),
        ({"size": {"longest_edge": 9}}, "must have size"),
    ],
)
def test_a_processor_that_says_too_little_is_refused(
    settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    folder = written(tmp_path, config=VIT, preprocessor_config=PROCESSOR | settings)
    with pytest.raises(BackboneError, match=told):
        find(f"folder:{folder}")


def test_a_torchvision_folder_says_so(tmp_path: Path) -> None:
    config = {
        "source": "torchvision",
        "architecture": "resnet18",
        "num_classes": 7,
        "input": {"size": 64, "crop_fraction": 1.0},
    }
    row = find(f"folder:{written(tmp_path, config=config)}")
    assert (row.source, row.family, row.num_classes, row.spec.size) == (
        "torchvision",
        "resnet",
        7,
        64,
    )


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (VIT | {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map: .*remote code is never run"),
        (VIT | {"vision": [{"auto_map": {"A": "b"}}]}, "auto_map"),
        (
            VIT | {"attn_implementation": "someone/kernels"},
            "attn_implementation: 'someone/kernels'",
        ),
        (VIT | {"_attn_implementation": "flash_attention_2"}, "not one of eager, sdpa"),
        (VIT | {"backbone": "resnet50", "use_pretrained_backbone": True}, "backbone: .*; use_pre"),
        (VIT | {"quantization_config": {"bits": 4}}, "quantized"),
        (TIMM | {"model_args": {"checkpoint_path": "/etc/passwd"}}, "not allowed.*checkpoint_path"),
        (TIMM | {"model_args": {"pretrained": True}}, "not allowed here: pretrained"),
        (TIMM | {"architecture": "hf-hub:someone/net"}, "has no architecture 'hf-hub:someone/net'"),
        (TIMM | {"source": "pickle"}, "'pickle' is not one of timm, torchvision"),
        ({"weights": 1}, "expected a configuration of transformers"),
        ([], "expected a JSON object"),
        (TIMM | {"pretrained_cfg": {"input_size": [1, 28, 28]}}, "reads 1 channels of 28×28"),
    ],
)
def test_a_hostile_or_unfit_configuration_is_refused(
    config: Any, told: str, tmp_path: Path
) -> None:
    from regraft.backbones.sources import source

    folder = written(tmp_path, config=config, preprocessor_config=PROCESSOR)
    with pytest.raises(BackboneError, match=told):
        source((row := find(f"folder:{folder}")).source).build(row)


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auto_map": {"A": "b"}, "x": {"quantization_config": {"a": 1}}}))
    with pytest.raises(BackboneError, match=r"auto_map: .*; quantization_config: "):
        read_config(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"3"])
def test_what_is_no_json_object_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(BackboneError, match=r"config\.json: (cannot be read|expected)"):
        find(f"folder:{tmp_path}")


def test_a_folder_without_a_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"expected a folder with config\.json"):
        find(f"folder:{tmp_path / 'absent'}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(JSON, st.lists(st.text(max_size=3) | st.none(), max_size=4))
def test_auto_map_is_found_at_any_depth(
    tmp_path_factory: pytest.TempPathFactory, value: Any, way: list[str | None]
) -> None:
    config: Any = {"auto_map": {"AutoModel": "x.Y"}}
    for step in way:
        config = [value, config] if step is None else {"other": value, step: config}
    path = tmp_path_factory.mktemp("c") / "config.json"
    path.write_text(json.dumps({"model_type": "vit", "inner": config}))
    with pytest.raises(BackboneError, match="auto_map"):
        read_config(path)
