"""Rows made on the fly: what a name such as ``timm:NAME`` or ``folder:PATH`` stands for."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regraft.backbones.cache import cache_folder
from regraft.backbones.catalog import (
    CLASS_TABLES,
    CatalogRow,
    Family,
    Weights,
    family_of,
    row_from,
)
from regraft.backbones.configs import Record, read_config
from regraft.backbones.hearing import spec_of_sounds
from regraft.backbones.weights import FORMAT, row_file
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import InputSpec
from regraft.storage import write_atomically

# Arguments of timm.create_model that a checkpoint's model_args may not set: they load files.
RESERVED_ARGS = frozenset(
    {
        "model_name",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_strict",
        "checkpoint_path",
        "cache_dir",
        "scriptable",
        "exportable",
        "no_jit",
        "features_only",
        "num_classes",
        "in_chans",
        "device",
        "dtype",
    }
)

FIT_OF_CROP_MODE = {"center": "crop", "squash": "squash", "border": "pad"}
TOKENIZER = "tokenizer.json"
LONGEST = 512  # tokens that are read of a text, where the network could read more
LEAST = {
    "picture": 32,
    "text": 8,
    "sound": 1,
}  # sizes that can be asked for, by what a network reads
RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers


def describe(name: str) -> CatalogRow:
    """The row of ``PREFIX:NAME`` or, from a hub, ``PREFIX:NAME@REVISION``.

    Raises UsageError for an unknown prefix or name, BackboneError for a checkpoint that cannot be
    used as it is.
    """
    from regraft.backbones.sources import plugins

    prefix, rest = name.split(":", 1)
    if prefix in DESCRIBERS:
        return DESCRIBERS[prefix](rest)
    describers = {name: plugin.describe for name, plugin in plugins().items() if plugin.describe}
    if prefix in describers:
        return describers[prefix](rest)
    known = ", ".join([*DESCRIBERS, *describers])
    raise UsageError(f"backbone: {name!r}: no source {prefix!r}; there are: {known}")


def _classes(count: int, labels: tuple[str, ...] = ()) -> str:
    if labels or count not in CLASS_TABLES.values():
        return "own"
    return next(name for name, size in CLASS_TABLES.items() if size == count)


# --- timm ----------------------------------------------------------------------------------------


def _timm(rest: str) -> CatalogRow:
    name, _, revision = rest.partition("@")
    return _remembered("timm", rest, lambda: _timm_row(name, revision))


def _timm_row(name: str, revision: str) -> CatalogRow:
    import timm

    known = timm.list_models(pretrained=True)
    if name not in known and name not in {n.split(".")[0] for n in known}:
        close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
        hint = f"; close: {', '.join(close)}" if close else ""
        raise UsageError(f"backbone: timm {timm.__version__} has no weights for {name!r}{hint}")
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id or not config.architecture:
        raise UsageError(f"backbone: timm:{name} has no hub repository with safetensors weights")
    weights = Weights("hub", config.hf_hub_id, revision=revision)
    return _from_timm_config(f"timm:{name}", weights, config.architecture, config.to_dict())


def _from_timm_config(
    name: str, weights: Weights, architecture: str, config: Record, **columns: Any
) -> CatalogRow:
    count = int(columns.pop("num_classes", config.get("num_classes") or 0))
    columns.setdefault("classes", _classes(count, columns.get("labels", ())))
    spec, patch = _spec_of_timm(name, config), _patch(architecture, columns.get("options", {}))
    return CatalogRow(
        name=name,
        source="timm",
        architecture=architecture,
        family=family_of("timm", architecture).name,
        weights=weights,
        spec=spec,
        licence_code="Apache-2.0",
        licence_weights=config.get("license") or "not stated",
        num_classes=count,
        min_size=min(spec.size, math.ceil(32 / patch) * patch),
        size_multiple=patch,
        **columns,
    )


def _patch(architecture: str, options: Record) -> int:
    """Side of a transformer's patches in pixels; 1 for networks without."""
    found = re.search(r"patch(\d+)_", f"{architecture}_")
    told = options.get("patch_size", found and found[1])
    return int(told) if isinstance(told, int | str) else 1


def _spec_of_timm(name: str, config: Record) -> InputSpec:
    channels, height, width = config.get("input_size", (0, 0, 0))
    if channels != 3 or height != width:
        raise BackboneError(
            f"{name}: reads {channels} channels of {height}×{width}; only square colour pictures "
            "are used"
        )
    return InputSpec(
        size=height,
        fit=FIT_OF_CROP_MODE[config.get("crop_mode") or "center"],
        crop_fraction=config.get("crop_pct") or 0.875,
        interpolation=config.get("interpolation") or "bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


# --- torchvision ---------------------------------------------------------------------------------


def _torchvision(rest: str) -> CatalogRow:
    return _remembered("torchvision", rest, lambda: _torchvision_row(rest))


def _torchvision_row(rest: str) -> CatalogRow:
    from torchvision import models

    name, _, version = rest.partition(".")
    known = [n for n in models.list_models(module=models) if n in models.__dict__]
    if name not in known:
        close = ", ".join(difflib.get_close_matches(name, known, n=4)) or ", ".join(known)
        raise UsageError(f"backbone: torchvision has no image classifier {name!r}; close: {close}")
    enum = models.get_model_weights(name)
    if version and version not in enum.__members__:
        raise UsageError(
            f"backbone: torchvision:{rest}: no weights {version!r}; there are: "
            f"{', '.join(enum.__members__)}"
        )
    weights = enum[version] if version else enum.DEFAULT
    return CatalogRow(
        name=f"torchvision:{rest}",
        source="torchvision",
        architecture=name,
        family=family_of("torchvision", name).name,
        weights=Weights("torchvision", str(weights), weights.url.rsplit("/", 1)[-1]),
        spec=_spec_of_torchvision(weights.transforms()),
        licence_code="BSD-3-Clause",
        parameters=weights.meta["num_params"],
        upstream_score=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
        score_from="torchvision's weights enum",
        classes="imagenet-1k",
        num_classes=1000,
        min_size=max(32, *weights.meta["min_size"]),
    )


def _spec_of_torchvision(preset: Any) -> InputSpec:
    return InputSpec(
        size=preset.crop_size[0],
        crop_fraction=preset.crop_size[0] / preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


# --- transformers --------------------------------------------------------------------------------


def _transformers(rest: str) -> CatalogRow:
    return _transformers_row(f"transformers:{rest}", Weights.at(rest))


def _transformers_row(name: str, weights: Weights) -> CatalogRow:
    blank = CatalogRow(name, "transformers", "", "", weights, InputSpec())
    config = read_config(row_file(blank, "config.json"))
    architecture = (config.get("architectures") or ["the base model"])[0]
    family = family_of("transformers", architecture)
    spec = SPECS[family.reads](blank, family, config)
    labels = _labels(config) if architecture.endswith("ForImageClassification") else ()
    patch = config.get("patch_size") if family.reads == "picture" else 1
    return CatalogRow(
        name=name,
        source="transformers",
        architecture=architecture,
        family=family.name,
        weights=weights,
        spec=spec,
        licence_code="Apache-2.0",
        tokenizer=TOKENIZER if family.reads == "text" else "",
        classes="own" if labels else "none",
        num_classes=len(labels),
        labels=labels,
        min_size=min(LEAST[family.reads], spec.size),
        size_multiple=patch if isinstance(patch, int) else 1,
        max_size=spec.size if family.reads == "sound" else 0,
        config="config.json",
    )


def _of_texts(blank: CatalogRow, family: Family, config: Record) -> InputSpec:
    """As long as the positions that were learned, up to LONGEST tokens."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 8:
        raise BackboneError(f"{blank.name}: config.json tells no max_position_embeddings")
    row_file(blank, TOKENIZER)  # without it the network cannot be used
    return InputSpec(size=min(LONGEST, positions - family.lost_positions), reads="text")


def _labels(config: Record) -> tuple[str, ...]:
    """Class names by index; transformers writes none for its default of two classes."""
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(str(names[index]) for index in sorted(names, key=int))


def _of_pictures(blank: CatalogRow, family: Family, config: Record) -> InputSpec:
    return _spec_of_preprocessor(
        blank.name, read_config(row_file(blank, "preprocessor_config.json"))
    )


# What a network reads → its spec, from its configuration and what lies beside it.
SPECS: Mapping[str, Callable[[CatalogRow, Family, Record], InputSpec]] = MappingProxyType(
    {"picture": _of_pictures, "text": _of_texts, "sound": spec_of_sounds}
)


def _spec_of_preprocessor(name: str, config: Record) -> InputSpec:
    """The settings of a transformers image processor as an InputSpec."""
    size, crop = _side(config.get("size")), _side(config.get("crop_size"))
    crops = bool(config.get("do_center_crop")) and crop is not None
    # ConvNeXt's processor crops below 384 pixels and squashes from there on.
    by_share = config.get("crop_pct") is not None and size is not None and size < 384
    if size is None or config.get("do_rescale") is False or not config.get("image_mean"):
        raise BackboneError(
            f"{name}: preprocessor_config.json must have size, image_mean and image_std, and "
            "rescale by 1/255; write a folder with config.json and model.safetensors that has them"
        )
    target = crop if crops and crop else size
    return InputSpec(
        size=target,
        fit="crop" if crops or by_share else "squash",
        crop_fraction=min(1.0, target / size) if crops else config["crop_pct"] if by_share else 1.0,
        interpolation=RESAMPLE[config.get("resample", 2)],
        mean=tuple(config["image_mean"]) if config.get("do_normalize", True) else (0.0, 0.0, 0.0),
        std=tuple(config["image_std"]) if config.get("do_normalize", True) else (1.0, 1.0, 1.0),
    )


def _side(size: object) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge", size.get("height"))
    return size if isinstance(size, int) else None


# --- folders -------------------------------------------------------------------------------------


def _folder(rest: str) -> CatalogRow:
    """A checkpoint as transformers or timm save it, or with ``"source"`` in its config.json."""
    weights = Weights("folder", rest)
    path = Path(rest) / "config.json"
    if not path.is_file():
        raise BackboneError(f"{rest}: expected a folder with config.json and model.safetensors")
    config = read_config(path)
    if "model_type" in config:
        return _transformers_row(f"folder:{rest}", weights)
    if not isinstance(config.get("architecture"), str):
        raise BackboneError(
            f"{path}: expected a configuration of transformers (model_type) or timm (architecture)"
        )
    source = config.get("source", "timm")
    if source not in FOLDER_SOURCES:
        raise BackboneError(f"{path}: source: {source!r} is not one of {', '.join(FOLDER_SOURCES)}")
    return FOLDER_SOURCES[source](f"folder:{rest}", weights, config)


def _timm_folder(name: str, weights: Weights, config: Record) -> CatalogRow:
    """As ``timm.models.save_for_hf`` writes it; older ones have the settings at the top level."""
    labels = _label_names(config)
    count = config.get("num_classes", len(labels))
    stated = {"num_classes": count, "in_chans": 3}  # said elsewhere too; anything else is refused
    arguments = config.get("model_args") or {}
    arguments = {k: v for k, v in arguments.items() if k not in stated or v != stated[k]}
    if reserved := RESERVED_ARGS & set(arguments):
        raise BackboneError(f"{name}: model_args: not allowed here: {', '.join(sorted(reserved))}")
    return _from_timm_config(
        name,
        weights,
        config["architecture"],
        config.get("pretrained_cfg") or config,
        num_classes=count,
        labels=labels,
        options=arguments,
    )


def _label_names(config: Record) -> tuple[str, ...]:
    names = config.get("label_names") or ()
    if isinstance(names, Mapping):
        names = [names[index] for index in sorted(names, key=int)]
    return tuple(str(name) for name in names)


def _torchvision_folder(name: str, weights: Weights, config: Record) -> CatalogRow:
    """``{"source": "torchvision", "architecture": ..., "num_classes": ..., "input": {...}}``."""
    labels = _label_names(config)
    count = int(config.get("num_classes", len(labels)))
    return CatalogRow(
        name=name,
        source="torchvision",
        architecture=config["architecture"],
        family=family_of("torchvision", config["architecture"]).name,
        weights=weights,
        spec=InputSpec.from_dict(config.get("input", {})),
        licence_code="BSD-3-Clause",
        classes=_classes(count, labels),
        num_classes=count,
        labels=labels,
    )


FOLDER_SOURCES: Mapping[str, Callable[[str, Weights, Record], CatalogRow]] = MappingProxyType(
    {"timm": _timm_folder, "torchvision": _torchvision_folder}
)


def _keras(rest: str) -> CatalogRow:
    from regraft.backbones.keras_source import describe as described

    return described(rest)


def _savedmodel(rest: str) -> CatalogRow:
    from regraft.backbones.savedmodel_source import describe as described

    return described(rest)


DESCRIBERS: Mapping[str, Callable[[str], CatalogRow]] = MappingProxyType(
    {
        "timm": _timm,
        "torchvision": _torchvision,
        "transformers": _transformers,
        "folder": _folder,
        "keras": _keras,
        "savedmodel": _savedmodel,
    }
)


def _remembered(library: str, name: str, make: Callable[[], CatalogRow]) -> CatalogRow:
    """Rows that need a heavy import are kept by library version: asking again needs no torch."""
    from importlib.metadata import version

    key = f"{FORMAT}\n{library} {version(library)}\n{name}"
    path = cache_folder("rows") / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    if path.is_file():
        return row_from(json.loads(path.read_bytes()))
    row = make()
    write_atomically(path, json.dumps(row.to_dict()).encode())
    return row
