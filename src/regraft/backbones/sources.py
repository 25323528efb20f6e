"""Backbone sources: which library builds a row's module, and how its state dict fits in.

A source is a `Source`: two functions. Other packages add theirs through the entry-point group
``regraft.backbone_sources``: the entry's name is the prefix users write, its value a `Source`.

No source runs code from a checkpoint. Mismatches between weights and module are refused with the
full list of names.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from regraft.backbones.catalog import CatalogRow, families
from regraft.backbones.configs import read_config, refuse_config
from regraft.backbones.weights import row_file
from regraft.errors import BackboneError, UsageError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    State = dict[str, Tensor]

GROUP = "regraft.backbone_sources"
COUNTER = "num_batches_tracked"  # of BatchNorm: not used by a frozen network, absent in old files


@dataclass(frozen=True)
class Source:
    """One library of networks.

    build     row → module with random weights
    load      (module, state dict) → a module with these weights; BackboneError unless every name
              and shape fits
    describe  the name after the prefix → row, for plugins; built-in sources have ``describe.py``
    """

    build: "Callable[[CatalogRow], Module]"
    load: "Callable[[Module, State], Module]"
    describe: Callable[[str], CatalogRow] | None = None


def source(name: str) -> Source:
    """A source by its name. Raises UsageError for an unknown one."""
    known = {**plugins(), **SOURCES}
    if name not in known:
        raise UsageError(f"backbone source: {name!r} is not one of {', '.join(known)}")
    return known[name]


@cache
def plugins() -> Mapping[str, Source]:
    """Sources of other packages by their prefix. Raises BackboneError where one fails to load."""
    from importlib.metadata import entry_points

    found = {}
    for entry in entry_points(group=GROUP):
        try:
            plugin = entry.load()
        except Exception as error:  # whatever a foreign module raises
            raise BackboneError(f"plugin {entry.name} ({entry.value}) fails: {error}") from error
        if not isinstance(plugin, Source):
            raise BackboneError(f"plugin {entry.name} ({entry.value}): expected a {Source}")
        found[entry.name] = plugin
    return MappingProxyType(found)


def load_strictly(module: "Module", state: "State") -> "Module":
    """Put the state into the module. Raises BackboneError unless every name and shape fits."""
    own = module.state_dict()
    missing = {name for name in own.keys() - state.keys() if not name.endswith(COUNTER)}
    shapes = [
        f"{name}: {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    refuse_mismatch(module, missing, state.keys() - own.keys(), shapes)
    module.load_state_dict({name: state.get(name, own[name]) for name in own}, strict=True)
    return module


def refuse_mismatch(
    module: "Module", missing: set[str], unexpected: set[str], shapes: list[str]
) -> None:
    """Raise BackboneError that lists all that does not fit; nothing where everything does."""
    lists = {
        "missing": missing,
        "unexpected": unexpected,
        "wrong shape (given for expected)": shapes,
    }
    told = [f"{what}: {', '.join(sorted(names))}" for what, names in lists.items() if names]
    if told:
        raise BackboneError(
            f"these weights are not those of {type(module).__name__} as described; "
            f"{'; '.join(told)}"
        )


# --- timm ----------------------------------------------------------------------------------------


def _build_timm(row: CatalogRow) -> "Module":
    import timm

    if not timm.is_model(row.architecture):
        raise BackboneError(
            f"{row.name}: timm {timm.__version__} has no architecture {row.architecture!r}"
        )
    try:
        return timm.create_model(
            row.architecture, pretrained=False, num_classes=row.num_classes, **row.options
        )
    except (TypeError, ValueError) as error:
        raise BackboneError(f"{row.name}: timm refuses {dict(row.options)}: {error}") from error


def _load_timm(module: "Module", state: "State") -> "Module":
    """Where the names are those of an original release, timm's own conversion is tried first."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is not None and state.keys() - module.state_dict().keys():
        with suppress(KeyError, AttributeError, RuntimeError):  # then the names are told below
            state = convert(dict(state), module)
    return load_strictly(module, state)


def _load_by_position(module: "Module", state: "State") -> "Module":
    """For packages whose entries stand in timm's order under other names.

    Counters are dropped on both sides; kind (``weight``, ``bias``, ``running_mean`` ...) and shape
    of every entry must fit.
    """
    own = {k: t for k, t in module.state_dict().items() if not k.endswith(COUNTER)}
    given = {k: t for k, t in state.items() if not k.endswith(COUNTER)}
    if len(own) != len(given):
        raise BackboneError(f"expected {len(own)} entries in order, the file has {len(given)}")
    misfits = [
        f"{theirs} {tuple(given[theirs].shape)} for {ours} {tuple(own[ours].shape)}"
        for ours, theirs in zip(own, given, strict=True)
        if own[ours].shape != given[theirs].shape or _kind(ours) != _kind(theirs)
    ]
    if misfits:
        raise BackboneError(f"entries that do not fit in order: {'; '.join(misfits)}")
    return load_strictly(module, dict(zip(own, given.values(), strict=True)))


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


# --- torchvision ---------------------------------------------------------------------------------


def _build_torchvision(row: CatalogRow) -> "Module":
    from torchvision import models

    if row.architecture not in models.list_models(module=models):
        raise BackboneError(f"{row.name}: torchvision has no architecture {row.architecture!r}")
    return models.get_model(row.architecture, weights=None, num_classes=row.num_classes)


# --- transformers --------------------------------------------------------------------------------


# What an architecture is for → what builds it with its head; others are built without one.
WITH_HEAD: Mapping[str, str] = MappingProxyType(
    {
        "ForImageClassification": "AutoModelForImageClassification",
        "ForObjectDetection": "AutoModelForObjectDetection",
    }
)


def _build_transformers(row: CatalogRow) -> "Module":
    import transformers
    from transformers import AutoConfig

    purpose = re.search(r"For[A-Z]\w+$", row.architecture)
    kind = getattr(transformers, WITH_HEAD.get(purpose[0] if purpose else "", "AutoModel"))
    path = row_file(row, row.config) if row.config else None
    if path is None:
        refuse_config(row.options, row.name)
    else:
        read_config(path)
    try:
        with _quiet_transformers():
            config = (
                AutoConfig.for_model(**row.options)
                if path is None
                else AutoConfig.from_pretrained(
                    path.parent, local_files_only=True, trust_remote_code=False
                )
            )
            made = kind.from_config(config, trust_remote_code=False)
            return PARTS[families()[row.family].reads](made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        where = path or row.name
        raise BackboneError(f"{where}: transformers cannot build this network: {error}") from error


def _whole(module: Any) -> Any:
    return module


NO_POOLER = {"add_pooling_layer": False}  # of a text's first token: many checkpoints have none


def without_pooler(module: Any) -> Any:
    """The same network, with random weights, without what a text's first token goes through."""
    if getattr(module, "pooler", None) is None:
        return module
    return type(module)(module.config, **NO_POOLER)


AT_RANDOM = ("apply_spec_augment", "layerdrop", "encoder_layerdrop")


def encoder_only(module: Any) -> Any:
    """The same network, with random weights, without a decoder.

    Nor does it mask or leave out at random in training mode: the library draws masks from numpy's
    generator, which is everybody's, and features of all blocks are wanted.
    """
    for name in AT_RANDOM:
        if hasattr(module.config, name):
            setattr(module.config, name, type(getattr(module.config, name))(0))
    if not getattr(module.config, "is_encoder_decoder", False):
        return module
    from transformers import WhisperModel

    from regraft.backbones.whisper import WhisperHearing

    if type(module) is not WhisperModel:
        raise ValueError(f"of networks with a decoder only Whisper is read, not {type(module)}")
    return WhisperHearing(module.config)


# What a network reads → the part of it that does.
PARTS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"picture": _whole, "text": without_pooler, "sound": encoder_only}
)


def _load_transformers(module: Any, state: "State") -> "Module":
    """Through the library, whose releases rename modules and translate the names of older files."""
    import torch
    from transformers import PreTrainedModel

    with _quiet_transformers():
        loaded, told = type(module).from_pretrained(
            None,
            config=module.config,
            state_dict=state,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with all the others
            dtype=torch.float32,
            **(NO_POOLER if getattr(module, "pooler", module) is None else {}),
        )
    shapes = [
        f"{n}: {tuple(theirs)} for {tuple(ours)}" for n, theirs, ours in told["mismatched_keys"]
    ]
    refuse_mismatch(module, set(told["missing_keys"]), set(told["unexpected_keys"]), shapes)
    for part in loaded.modules():
        if isinstance(part, PreTrainedModel):
            part.loss_function = None  # tracing reads it, and would warn that there is none
    return loaded


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bar and no report on the terminal: what does not fit is raised."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _build_keras(row: CatalogRow) -> "Module":
    from regraft.backbones.keras_source import build

    return build(row)


def _build_savedmodel(row: CatalogRow) -> "Module":
    from regraft.backbones.savedmodel_source import build

    module: Module = build(row)
    return module


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "timm": Source(_build_timm, _load_timm),
        "package": Source(_build_timm, _load_by_position),
        "torchvision": Source(_build_torchvision, load_strictly),
        "transformers": Source(_build_transformers, _load_transformers),
        "keras": Source(_build_keras, load_strictly),
        "savedmodel": Source(_build_savedmodel, load_strictly),
    }
)
