"""The table of augmentations: what each does, how strongly, and to what kind of data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.modalities import mixing, paints, policies, sounds, warps, words
from regraft.modalities.warps import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.modalities.audio import Sound


@dataclass(frozen=True)
class Row:
    """One augmentation.

    told             what it does, in a plain sentence
    default          strength where none is given
    lowest, highest  strengths that are allowed
    unit             of the strength
    source           paper that it is from
    """

    name: str
    told: str
    default: float
    lowest: float
    highest: float
    unit: str
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for tables and JSON."""
        return {name: getattr(self, name) for name in Row.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True)
class PictureRow(Row):
    """An augmentation of one picture: `plan` adds to what will be done with it."""

    plan: Callable[[Plan, float, np.random.Generator], Plan]


@dataclass(frozen=True, kw_only=True)
class SoundRow(Row):
    """An augmentation of one recording."""

    change: Callable[["Sound", float, np.random.Generator], "Sound"]


@dataclass(frozen=True, kw_only=True)
class TextRow(Row):
    """An augmentation of one text: of its words."""

    change: Callable[[Sequence[str], float, np.random.Generator], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class BatchRow(Row):
    """An augmentation of a batch: `mix` gives its pixels and targets, mixed."""

    mix: Callable[["Tensor", "Tensor", float, np.random.Generator], "tuple[Tensor, Tensor]"]


ROWS: tuple[Row, ...] = (
    PictureRow(
        "crop",
        "shows a random part of the picture, enlarged",
        *(0.35, 0.01, 1, "least share of the area that is kept"),
        "Szegedy et al. 2015, arXiv 1409.4842",
        plan=warps.crop,
    ),
    PictureRow("flip", "mirrors left and right", 0.5, 0, 1, "probability", plan=warps.flip),
    PictureRow(
        "flip-vertical",
        "mirrors top and bottom",
        *(0.5, 0, 1, "probability"),
        plan=warps.flip_vertical,
    ),
    PictureRow("rotate", "turns the picture", 15, 0, 180, "degrees, either way", plan=warps.rotate),
    PictureRow(
        "perspective",
        "tilts the picture, as if it were seen from aside",
        *(0.3, 0, 0.6, "how far corners move, in shares of half the side"),
        plan=warps.perspective,
    ),
    PictureRow(
        "randaugment",
        "does two operations from a list of fourteen (shifts, tones, sharpness ...)",
        *(9, 0, policies.MOST, "magnitude"),
        "Cubuk et al. 2019, arXiv 1909.13719",
        plan=policies.randaugment,
    ),
    PictureRow(
        "trivialaugment",
        "does one operation from a list of fourteen, weak or strong",
        *(policies.MOST, 0, policies.MOST, "largest magnitude"),
        "Müller and Hutter 2021, arXiv 2103.10158",
        plan=policies.trivialaugment,
    ),
    PictureRow(
        "colour",
        "changes brightness, contrast, saturation and hue",
        *(0.3, 0, 1, "largest change"),
        plan=paints.colour,
    ),
    PictureRow("grey", "takes the colour away", 0.1, 0, 1, "probability", plan=paints.grey),
    PictureRow(
        "blur",
        "blurs the picture",
        *(0.01, 0, 0.1, "largest sigma, in shares of the side"),
        plan=paints.blur,
    ),
    PictureRow(
        "noise",
        "adds noise to each pixel",
        *(0.05, 0, 0.5, "largest sigma, in shares of the range of values"),
        plan=paints.noise,
    ),
    PictureRow(
        "erasing",
        "covers a rectangle with the mean colour",
        *(0.25, 0, 1, "probability"),
        "Zhong et al. 2017, arXiv 1708.04896",
        plan=paints.erasing,
    ),
    SoundRow(
        "shift",
        "begins earlier or later",
        *(0.1, 0, 0.5, "largest, in shares of the recording"),
        change=sounds.shift,
    ),
    SoundRow(
        "tempo",
        "plays faster or slower, higher or lower with it",
        *(0.1, 0, 1, "largest change of speed"),
        change=sounds.tempo,
    ),
    SoundRow(
        "hiss",
        "adds white noise",
        *(0.1, 0, 2, "largest, in shares of the recording's level"),
        change=sounds.hiss,
    ),
    SoundRow(
        "gain",
        "plays louder or softer",
        *(6, 0, 40, "largest change, decibels"),
        change=sounds.gain,
    ),
    SoundRow(
        "time-mask",
        "is silent for a while",
        *(0.15, 0, 0.5, "largest share of the time"),
        "Park et al. 2019, arXiv 1904.08779",
        change=sounds.time_mask,
    ),
    SoundRow(
        "frequency-mask",
        "silences neighbouring frequencies",
        *(0.15, 0, 0.5, "largest share of the bands"),
        "Park et al. 2019, arXiv 1904.08779",
        change=sounds.frequency_mask,
    ),
    TextRow(
        "word-drop",
        "leaves words out",
        *(0.1, 0, 0.9, "probability"),
        "Wei and Zou 2019, arXiv 1901.11196",
        change=words.drop,
    ),
    TextRow(
        "word-swap",
        "exchanges neighbouring words",
        *(0.1, 0, 1, "probability"),
        "Wei and Zou 2019, arXiv 1901.11196",
        change=words.swap,
    ),
    BatchRow(
        "mixup",
        "fades two examples and their labels into each other",
        *(0.2, 0.01, 10, "alpha: 0.2 mixes little, 1 anything from none to half"),
        "Zhang et al. 2017, arXiv 1710.09412",
        mix=mixing.mixup,
    ),
    BatchRow(
        "cutmix",
        "pastes a part of one example (a rectangle, a stretch of time) into another, mixes labels",
        *(1, 0.01, 10, "alpha: 1 pastes rectangles of any size"),
        "Yun et al. 2019, arXiv 1905.04899",
        mix=mixing.cutmix,
    ),
)
