"""FrozenNetwork: examples in, the pooled features of all blocks out, for every family alike.

The features follow Head2Toe (Evci et al. 2022, arXiv 2201.03529): every block of the frozen
network, averaged over space, beside the usual feature before the classifier.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regraft.backbones.catalog import CatalogRow, Family, families
from regraft.backbones.masks import MASKS, Tokens
from regraft.backbones.narrowing import narrow
from regraft.backbones.readers import reader
from regraft.backbones.resizing import RESIZE
from regraft.backbones.sources import source
from regraft.backbones.weights import read_state, row_file, weight_file
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import InputSpec

LAST = "last"  # name of the feature before the classifier

Hook = Callable[..., None]


class Normalise(nn.Module):
    """(n, size, size, 3) uint8 RGB → (n, 3, size, size) float32, channels-last in memory:
    (x/255 - mean)/std. Nothing else in Regraft does this.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(spec.std).view(3, 1, 1) * 255))

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) * self.scale


FIRST: Mapping[str, Callable[[InputSpec], nn.Module]] = MappingProxyType(
    {
        "picture": Normalise,
        "text": lambda spec: Tokens(),
        "sound": lambda spec: nn.Identity(),
    }
)  # what a network reads → its first layer


# --- pooling: a block's output → one vector per example ------------------------------------------

_running = threading.local()  # .kept, .mask: the features of the call in this thread, what counts


def _mean_of_map(x: Tensor, prefix: int) -> Tensor:
    return x.mean((2, 3))


def _mean_of_nhwc(x: Tensor, prefix: int) -> Tensor:
    return x.mean((1, 2))


def _mean_of_tokens(x: Tensor, prefix: int) -> Tensor:
    """(n, tokens, d) → the CLS token, where there is one, beside the mean of the patches."""
    mean = x[:, prefix:].mean(1)
    return torch.cat([x[:, 0], mean], 1) if prefix else mean


def _mean_of_text(x: Tensor, prefix: int) -> Tensor:
    """(n, tokens, d) → the mean of all but padding."""
    if (mask := getattr(_running, "mask", None)) is None:
        return x.mean(1)
    counts = mask.unsqueeze(2).to(x)
    return (x * counts).sum(1) / counts.sum(1)


def _mean_of_sound(x: Tensor, prefix: int) -> Tensor:
    """(n, moments, d), or (n, d, moments) of a convolution → the mean over time."""
    return x.mean(1)


def _moments(x: Tensor, prefix: int) -> Tensor:
    """(n, moments, d) → (n, d, moments): every moment counts by itself."""
    return x.transpose(1, 2)


def _by_shape(x: Tensor, prefix: int) -> Tensor:
    """For networks that no family knows: three axes are tokens; of four, two equal are space."""
    if x.ndim == 3:
        return _mean_of_tokens(x, prefix)
    return _mean_of_map(x, prefix) if x.shape[2] == x.shape[3] else _mean_of_nhwc(x, prefix)


POOLS: Mapping[str, Callable[[Tensor, int], Tensor]] = MappingProxyType(
    {
        "map": _mean_of_map,
        "nhwc": _mean_of_nhwc,
        "tokens": _mean_of_tokens,
        "text": _mean_of_text,
        "sound": _mean_of_sound,
        "moments": _moments,
        "auto": _by_shape,
    }
)


# --- capturing what modules give -----------------------------------------------------------------


@contextmanager
def _capture(mask: Tensor | None) -> Iterator[dict[str, Tensor]]:
    """What the hooks see during one call; a call inside a call keeps its own.

    mask  which places count, where not all do
    """
    outer = getattr(_running, "kept", None), getattr(_running, "mask", None)
    kept: dict[str, Tensor] = {}
    _running.kept, _running.mask = kept, mask
    try:
        yield kept
    finally:
        _running.kept, _running.mask = outer


def _keep(name: str, pool: Callable[[Tensor, int], Tensor], prefix: int) -> Hook:
    """A hook that pools at once: later layers may work in place, and the map need not be kept."""

    def hook(module: nn.Module, inputs: Any, output: Any = None) -> None:
        if (kept := getattr(_running, "kept", None)) is not None:
            x = _first(inputs if output is None else output).float()
            kept[name] = x if x.ndim == 2 else pool(x, prefix)

    return hook


def _first(value: Any) -> Tensor:
    return value[0] if isinstance(value, tuple) else value


class FrozenNetwork(nn.Module):
    """A pretrained network that gives features, in evaluation mode for good, without gradients.

    module   from a source, with its weights
    family   where its blocks are
    spec     size, mean and std of the input
    native   size in pixels that the weights are for; None: ``spec.size``
    classes  number of logits; 0: the network has no classifier

    ``block_names`` and ``block_widths`` tell the columns of what `forward` returns: every block in
    order, then ``last``.

    Raises BackboneError where the family does not fit the module, UsageError where it cannot read
    ``spec.size``.
    """

    def __init__(
        self,
        module: nn.Module,
        family: Family,
        spec: InputSpec,
        *,
        native: int | None = None,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.size, self.classes, self.spec = spec.size, classes, spec
        self.normalise = FIRST[spec.reads](spec)
        self.extra = RESIZE[family.resize](module, native or spec.size, spec.size)
        self.module = module.requires_grad_(False)
        self.eval().to(memory_format=torch.channels_last)
        last = _last_module(module, family)
        taps = [name for name in tapped(module, family) if ("output", name) != last]  # once
        self.block_names: tuple[str, ...] = (*taps, LAST)
        self._call = _attach(module, family, taps)
        self.block_widths: tuple[int, ...] = self._widths(family)

    @property
    def sample(self) -> Tensor:
        """(1, ...): an example, for tracing."""
        return torch.from_numpy(reader(self.spec).sample(self.spec, 0))[None]

    def _widths(self, family: Family) -> tuple[int, ...]:
        try:
            return tuple(x.shape[1] for x in self.features(self.sample))
        except KeyError as error:
            raise BackboneError(f"family {family.name}: {error} gives nothing in a call") from error
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            raise BackboneError(
                f"family {family.name}: the network cannot read {self.spec.told}: {error}"
            ) from error

    def train(self, mode: bool = True) -> "FrozenNetwork":
        """Stays in evaluation mode: a frozen network's normalisation must not move."""
        return super().train(False)

    def features(self, pixels: Tensor) -> list[Tensor]:
        """(n, size, size, 3) uint8 RGB, tokens (n, length) int64 of texts, with PADDING behind the
        ends of shorter ones, or a sound as `fronts` has it → one (n, width) float32 tensor per
        block, then the last.
        """
        kept = self.captured(pixels)
        return [kept[name] for name in self.block_names]

    def captured(self, pixels: Tensor) -> dict[str, Tensor]:
        """The features of the blocks that one call goes through, by their names."""
        mask = MASKS[self.spec.reads](pixels)
        more = {} if mask is None else {"attention_mask": mask.long()}
        with _capture(mask) as kept:
            self._call(self.module, self.normalise(pixels), self.extra | more)
        return kept

    def forward(self, pixels: Tensor) -> Tensor:
        """What `features` reads → (n, D) float32, D = sum(block_widths). Can be traced."""
        return torch.cat(self.features(pixels), 1)

    def logits(self, pixels: Tensor) -> Tensor:
        """(n, size, size, 3) uint8 RGB → (n, classes) float32.

        Raises BackboneError for a network without a classifier.
        """
        if not self.classes:
            raise BackboneError("this network was trained without classes: it has no logits")
        return _logits(self.module, self.normalise(pixels), self.extra)


def _logits(module: nn.Module, x: Tensor, extra: dict[str, Any]) -> Tensor:
    output = module(x, **extra)
    logits: Tensor = output if isinstance(output, Tensor) else output.logits
    return logits.float()


def tapped(module: nn.Module, family: Family) -> list[str]:
    """Names of the blocks of a module, in order. Raises BackboneError where there are none."""
    names = dict(module.named_modules())
    if family.taps == "@feature_info":
        found = [stage["module"] for stage in getattr(module, "feature_info", ())]
    else:
        found = [
            name
            for name, part in names.items()
            if re.fullmatch(family.taps, name)
            and re.fullmatch(family.tap_type, type(part).__name__)
        ]
    if not found or not names.keys() >= set(found):
        raise BackboneError(
            f"family {family.name}: {type(module).__name__} has no modules as in {family.taps!r}"
        )
    return found


def _attach(
    module: nn.Module, family: Family, taps: list[str]
) -> Callable[[nn.Module, Tensor, dict[str, Any]], object]:
    """Put hooks on the blocks and on the last feature; returns what runs the network."""
    pool, prefix = POOLS[family.pool], family.prefix_tokens
    tokens = prefix if isinstance(prefix, int) else int(getattr(module, prefix, 0))
    for name in taps:
        module.get_submodule(name).register_forward_hook(_keep(name, pool, tokens))
    keep_last = _keep(LAST, pool, tokens)
    if family.last == "forward_head":
        return partial(_up_to_the_head, keep_last)
    _hook_last(module, family, keep_last)
    return _whole


def _up_to_the_head(keep: Hook, module: Any, x: Tensor, extra: dict[str, Any]) -> None:
    keep(module, (module.forward_head(module.forward_features(x), pre_logits=True),))


def _whole(module: nn.Module, x: Tensor, extra: dict[str, Any]) -> None:
    module(x, **extra)


def _last_module(module: nn.Module, family: Family) -> tuple[str, str]:
    """Side and name of the module that the last feature is seen at; no name where there is none."""
    side, _, pattern = family.last.partition(":")
    found = [name for name, _ in module.named_modules() if re.fullmatch(pattern, name)]
    return side, found[-1] if found else ""


def _hook_last(module: nn.Module, family: Family, keep: Hook) -> None:
    side, name = _last_module(module, family)
    if not name:
        pattern = family.last.partition(":")[2]
        raise BackboneError(
            f"family {family.name}: {type(module).__name__} has no module as in {pattern!r}"
        )
    part = module.get_submodule(name)
    attach: dict[str, Callable[[Hook], object]] = {
        "input": part.register_forward_pre_hook,
        "output": part.register_forward_hook,
    }
    attach[side](keep)


# --- loading -------------------------------------------------------------------------------------


def load_network(
    row: CatalogRow,
    spec: InputSpec | None = None,
    *,
    offline: bool | None = None,
    pool: str | None = None,
) -> FrozenNetwork:
    """A catalog row as a network on the CPU: weights checked, loaded strictly and, where the row
    has known activations, self-checked.

    spec     size, mean and std; None: the row's own
    offline  True: download nothing; None: as the environment says
    pool     a key of POOLS; None: the family's own

    Raises BackboneError where weights are missing, differ or fail the self-check, UsageError where
    the network cannot read ``spec.size``.
    """
    spec = spec or row.spec
    if row.graph:
        raise BackboneError(
            f"{row.name}: is a graph for {row.graph}, which gives answers and nothing to look into "
            "or to train; for that use the model that it was made from"
        )
    _refuse_size(row, spec.size)
    maker = source(row.source)
    for name in filter(None, [row.config, row.tokenizer]):
        row_file(row, name, offline=offline)
    family = families()[row.family]
    state = _used(read_state(weight_file(row, offline=offline)), family)
    try:
        built = maker.build(row)
        if row.narrow:
            narrow(built, state)
        module = maker.load(built, state).eval()
    except BackboneError as error:
        raise BackboneError(f"{row.name}: {error}") from error
    _self_check(row, module)
    family = replace(family, pool=pool or family.pool)
    return FrozenNetwork(module, family, spec, native=row.spec.size, classes=row.num_classes)


def _used(state: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Without the heads that the family has no use for."""
    return {name: t for name, t in state.items() if not re.fullmatch(family.unused, name)}


def _refuse_size(row: CatalogRow, size: int) -> None:
    if not row.reads_size(size):
        raise UsageError(f"size: {row.sizes_told}; got {size}")


def synthetic_picture(size: int) -> Tensor:
    """(1, size, size, 3) uint8: the synthetic picture of the self-check: ramps and a chequer."""
    i, j, c = np.ogrid[:size, :size, :3]
    card = (i * (c + 2) + j * (3 - c) + (i // 16) * (j // 16) * 37) % 256
    return torch.from_numpy(card.astype(np.uint8))[None]


@torch.no_grad()
def _self_check(row: CatalogRow, module: nn.Module) -> None:
    """Known logits: a wrong variant of an architecture can take the weights without an error."""
    if row.check is None:
        return
    logits = _logits(module, Normalise(row.spec)(synthetic_picture(row.spec.size)), {})[0]
    expected = torch.tensor(row.check.logits)
    error = float((logits[: len(expected)] - expected).abs().max())
    if not error <= row.check.tolerance:
        raise BackboneError(
            f"{row.name}: fails its self-check: known logits differ by {error:.3g}, at most "
            f"{row.check.tolerance:g} is allowed; {row.source} builds another variant of "
            f"{row.architecture} than these weights were trained for"
        )


def class_names(row: CatalogRow) -> list[str]:
    """Names of the classes in the order of the logits.

    Raises BackboneError where the network has no classes or nobody told their names.
    """
    if row.labels:
        return list(row.labels)
    if row.classes in ("none", "own"):
        raise BackboneError(f"{row.name}: no class names are known for it")
    from timm.data.imagenet_info import ImageNetInfo

    table = ImageNetInfo(row.classes)
    return [table.index_to_description(index) for index in range(row.num_classes)]
