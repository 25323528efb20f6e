"""Where it looked: heat maps of what raised the score of a class (Grad-CAM).

    maps = where_it_looked(model, files, classes)
    overlay(prepared(model, files[0]), maps[0])  # data URI for the report

Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): each channel of the last block's output counts
as much as the score would rise with it, on average over space; what is left above zero is shown.
Here a channel counts from its mean over the examples learned from, not from zero: a block that does
not end in a ReLU may be all below zero, and zero means nothing there.
"""

import base64
import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from regraft.backbones.catalog import Family, families
from regraft.backbones.network import FrozenNetwork
from regraft.data.inline import contents
from regraft.errors import Unreadable, UsageError
from regraft.modalities import modality
from regraft.model.model import Model
from regraft.transfer.probe import Head

Pixels = npt.NDArray[np.uint8]
Heat = npt.NDArray[np.float32]

SIDE = 192  # pixels of a picture for the report
QUALITY = 75  # of its JPEG
OPACITY = (0.35, 0.65)  # of the colours where nothing and where most raised the score
# Inferno (van der Walt and Smith 2015): lightness rises evenly, also to the colour-blind.
COLOURS = np.array(
    [
        (0, 0, 4),
        (27, 12, 65),
        (74, 12, 107),
        (120, 28, 109),
        (165, 44, 96),
        (207, 68, 70),
        (237, 105, 37),
        (251, 155, 6),
        (247, 209, 61),
        (252, 255, 164),
    ],
    float,
)


def where_it_looked(
    model: Model, files: Sequence[Path], classes: Sequence[int]
) -> list[Heat | None]:
    """For each file a heat map over its prepared picture, as the first network sees it.

    classes  number of the class of each file whose score is asked about

    A map is (size, size) float32 in [0, 1]: 1 where most raised the score, all 0 where nothing did.
    None for a file that can't be read any more, and for all where the network's blocks give no map.

    Raises UsageError where files and classes don't go together.
    """
    _refuse(model, files, classes)
    first = model.extractors[0]
    family = families()[first.row.family]
    maps: list[Heat | None] = []
    for file, number in zip(files, classes, strict=True):
        pixels = prepared(model, file)
        seen = (
            None if pixels is None else _grad_cam(first.network, family, model.head, pixels, number)
        )
        maps.append(seen)
    return maps


def prepared(model: Model, file: str | Path) -> Pixels | None:
    """(size, size, 3) uint8: a file as the model's first network sees it, in the usual view.

    None if it can't be read any more.
    """
    kind, spec = modality(model.modality), model.extractors[0].spec
    try:
        raw = kind.decode(contents(file), str(file), spec).raw
    except (OSError, Unreadable):
        return None
    return kind.prepare(raw, spec, kind.views[0])


def overlay(picture: Pixels, heat: Heat) -> str:
    """A picture (h, w, 3) under the colours of its heat map (any size, [0, 1]) as a data URI."""
    small = _small(picture)
    shown = Image.fromarray(np.asarray(heat, np.float32))
    values = np.asarray(shown.resize(small.size, Image.Resampling.BILINEAR))[..., None]
    opacity = OPACITY[0] + (OPACITY[1] - OPACITY[0]) * values
    mixed = (1 - opacity) * np.asarray(small) + opacity * _coloured(values[..., 0])
    return _uri(Image.fromarray(mixed.round().astype(np.uint8)))


def plain(picture: Pixels) -> str:
    """The same picture (h, w, 3) without a heat map, as a data URI."""
    return _uri(_small(picture))


def _refuse(model: Model, files: Sequence[Path], classes: Sequence[int]) -> None:
    mistakes = []
    if len(files) != len(classes):
        mistakes.append(f"classes: expected one for each of {len(files)} files, got {len(classes)}")
    if wrong := [number for number in classes if not 0 <= number < len(model.classes)]:
        mistakes.append(f"classes: expected 0 to {len(model.classes) - 1}, got {wrong[0]}")
    if mistakes:
        raise UsageError(*mistakes)


def _grad_cam(
    network: FrozenNetwork, family: Family, head: Head, pixels: Pixels, number: int
) -> Heat | None:
    """pixels (size, size, 3), number of a class → (size, size)."""
    block = network.module.get_submodule(network.block_names[-2])  # after it comes `last`
    weights, mean = _of_the_head(network, head, number)
    with torch.inference_mode(False), torch.enable_grad(), _output_of(block) as outputs:
        score = network(torch.tensor(pixels[None]))[0] @ weights
        (gradient,) = torch.autograd.grad(score, outputs[-1])
    fold, prefix = FOLDS[family.pool], _prefix(network.module, family)
    with torch.no_grad():
        channels, slopes = fold(outputs[-1], prefix), fold(gradient, prefix)
        if channels is None or slopes is None:
            return None
        above = channels - mean[-channels.shape[1] :, None, None]  # before it: of the CLS token
        heat = (slopes.mean((2, 3), keepdim=True) * above).sum(1, keepdim=True).relu()
        return _enlarged(heat, network.size)


def _of_the_head(network: FrozenNetwork, head: Head, number: int) -> tuple[Tensor, Tensor]:
    """How much each raw feature of the first network (d,) adds to a score; means of the last block.

    A block's features are means over space, so their means are those of its channels.
    """
    widths = network.block_widths
    end = sum(widths)
    weights = head.scaling.factor[:end] * head.coefficients[:end, number]
    mean = head.scaling.shift[end - sum(widths[-2:]) : end - widths[-1]]
    return torch.tensor(weights, dtype=torch.float32), torch.tensor(mean, dtype=torch.float32)


def _enlarged(heat: Tensor, size: int) -> Heat:
    """(1, 1, h, w) → (size, size), the largest value 1."""
    whole = nn.functional.interpolate(heat.float(), (size, size), mode="bilinear")[0, 0]
    most = float(whole.max())
    out: Heat = (whole / most if most > 0 else whole).numpy()
    return out


@contextmanager
def _output_of(block: nn.Module) -> Iterator[list[Tensor]]:
    """What a block gives in the calls of this thread, with gradients from there on.

    The rest of the network reads a copy: later layers may work in place.
    """
    seen: list[Tensor] = []
    thread = threading.get_ident()

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        if threading.get_ident() != thread:
            return output
        parts = output if isinstance(output, tuple) else (output,)
        seen.append(parts[0].detach().requires_grad_())
        copy = seen[-1].clone()
        return (copy, *parts[1:]) if isinstance(output, tuple) else copy

    # Before the hook that pools: its features then depend on the tensor that was put aside.
    registered = block.register_forward_hook(hook, prepend=True)
    try:
        yield seen
    finally:
        registered.remove()


# --- folding: a block's output → (n, channels, h, w), None where it is no map -------------------


def _as_it_is(x: Tensor, prefix: int) -> Tensor | None:
    return x if x.ndim == 4 else None


def _channels_first(x: Tensor, prefix: int) -> Tensor | None:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else None


def _patches(x: Tensor, prefix: int) -> Tensor | None:
    """(n, tokens, d) → the grid of patches, which is square as the input is; no CLS, registers."""
    if x.ndim != 3:
        return None
    patches = x[:, prefix:].transpose(1, 2)
    side = round(patches.shape[2] ** 0.5)
    return patches.unflatten(2, (side, side)) if side**2 == patches.shape[2] > 0 else None


def _by_shape(x: Tensor, prefix: int) -> Tensor | None:
    """As `network.POOLS` takes it for networks that no family knows."""
    if x.ndim != 4:
        return _patches(x, prefix)
    return x if x.shape[2] == x.shape[3] else _channels_first(x, prefix)


FOLDS: Mapping[str, Callable[[Tensor, int], Tensor | None]] = MappingProxyType(
    {"map": _as_it_is, "nhwc": _channels_first, "tokens": _patches, "auto": _by_shape}
)


def _prefix(module: nn.Module, family: Family) -> int:
    given = family.prefix_tokens
    return given if isinstance(given, int) else int(getattr(module, given, 0))


# --- pictures ------------------------------------------------------------------------------------


def _small(picture: Pixels) -> Image.Image:
    small = Image.fromarray(picture)
    small.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return small


def _coloured(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(h, w) in [0, 1] → (h, w, 3) in [0, 255]."""
    places = np.linspace(0, 1, len(COLOURS))
    return np.stack([np.interp(values, places, channel) for channel in COLOURS.T], -1)


def _uri(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
