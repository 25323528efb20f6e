"""Recipe: everything that was asked for, as plain data, so that a run repeats.

A field that is empty or None was left to Regraft; what it chose stands in the model's record.
"""

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from regraft.errors import UsageError
from regraft.modalities.windows import window_mistake

UNITS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
}
TRAINING_TEXTS = (
    *("optimiser", "schedule", "loss", "augment", "attack", "sampling", "weights", "norm"),
    "precision",
)
TEXTS = (
    *("source", "root", "label", "path_column", "text", "group", "split", "engine"),
    *("at", "positive", "modality", "task", "separator", "detector", "start"),
    *TRAINING_TEXTS,
)
LISTS = ("backbone", "views", "licence", "strategy", "log", "labels")
# Numbers of training: the least and the most.
TRAINING_NUMBERS = {
    "epochs": (0.01, 10_000),
    "rate": (1e-9, 100),
    "weight_decay": (0, 10),
    "average": (0, 1),
    "clip": (0, 1e9),
    "warmup": (0, 1),
    "frozen": (0, 1),
    "reinit": (0, 1),
    "wish": (0, 1),
}
WHOLE_NUMBERS = {
    "steps": 1,
    "batch": 1,
    "micro_batch": 1,
    "workers": 0,
    "patience": 0,
    "tiles": 1,
}  # the least
SHARED = "shared"  # patients
TRANSCRIBE, HEADS = "transcribe", ("brought", "fresh")
FIND = "find"  # a rate that a sweep finds


@dataclass(frozen=True)
class Recipe:
    """What a `fit` is asked to do.

    source       what the examples were loaded from, as the user named it
    root         folder that a manifest's files are in; None: the manifest's own
    label, path_column, text, group, split  names of a manifest's columns
    backbone     names of pretrained networks; several make an ensemble of probes; empty: chosen
    size         of the input: pixels, tokens or seconds; None: chosen
    views        views of a picture whose features are averaged; empty: chosen
    engine       what runs the network; None: the fastest here
    repair       whether boxes with a fault that can be mended are; else they are left out
    licence      licences that weights may have, such as ``apache-2.0``; empty: any
    parts        shares of train, validation and test where the split is made here
    seed         of everything random
    budget       seconds of wall-clock time that may be used
    strategy     how to train beyond the probe, by name, one after the other; empty: chosen
    epochs, steps  how long to train, one of them; None: as long as the budget allows
    batch, rate, optimiser, schedule, loss, augment, attack, sampling, weights, norm, weight_decay,
    average, precision, clip, warmup, frozen, reinit  of training, see `training.plan.Plan`; None:
                 the strategy's own; the rate may be ``find``: the one that a sweep suggests
    wish         how much robust accuracy counts where a strategy is for robustness, clean accuracy
                 the rest; None: 0.5, both alike
    micro_batch  examples in memory at once, whose gradients add up to the batch; None: the batch
    workers      processes that decode and augment; None: none beside a CPU, several beside a GPU
    patience     looks at the held-back examples without a lower loss that end a run; 0: never
    compile      whether the network is compiled by torch.compile
    log          where the curve of training is written beside JSON lines: tensorboard, mlflow
    coverage     share of conformal sets that hold the truth
    resamples    of the bootstrap
    at           operating point, such as ``sensitivity>=0.95``; None: the most probable class
    window       of medical and 16-bit pictures: which values become black and white, ``file``,
                 ``percentile``, ``full`` or a centre and a width, ``40,400``; None: file
    modality     kind of data, such as ``volume``; None: that of most files, by their endings
    patients     ``shared``: a given split may tear a patient's medical files apart; None: refused
    positive     class that the operating point and the decision curve are about; None: of two
                 classes the second
    task         what the examples are for: ``classification``, ``tags`` (any number of labels
                 each), ``regression`` (numbers), ``transcribe`` (recordings are written down) ...;
                 None: as the source tells, of a manifest guessed
    labels       several columns of a manifest: tags as 0 or 1, or numbers
    separator    between the tags in a cell of the label column, such as ``;``
    detector     kind of detector for boxes, such as ``fcos``; None: retinanet
    head         of a transcriber: ``brought``, the one that came with the network, or ``fresh``;
                 None: brought, where there is one that has an idea of what is said
    tiles        parts of a picture in each direction that a detector looks at beside the whole
    start        whole detector that training begins with: a file .safetensors of torchvision's, or
                 a folder or hub repository of transformers (RT-DETR, RT-DETR v2, D-FINE)
    """

    source: str = ""
    root: str | None = None
    label: str | None = None
    path_column: str | None = None
    text: str | None = None
    group: str | None = None
    split: str | None = None
    backbone: tuple[str, ...] = ()
    size: int | None = None
    views: tuple[str, ...] = ()
    engine: str | None = None
    repair: bool = False
    licence: tuple[str, ...] = ()
    parts: tuple[float, ...] = (0.7, 0.15, 0.15)
    seed: int = 0
    budget: float = 60.0
    strategy: tuple[str, ...] = ()
    epochs: float | None = None
    steps: int | None = None
    batch: int | None = None
    rate: float | str | None = None
    optimiser: str | None = None
    schedule: str | None = None
    loss: str | None = None
    augment: str | None = None
    attack: str | None = None
    sampling: str | None = None
    weights: str | None = None
    norm: str | None = None
    weight_decay: float | None = None
    average: float | None = None
    precision: str | None = None
    clip: float | None = None
    warmup: float | None = None
    frozen: float | None = None
    reinit: float | None = None
    wish: float | None = None
    micro_batch: int | None = None
    workers: int | None = None
    patience: int | None = None
    compile: bool = False
    log: tuple[str, ...] = ()
    coverage: float = 0.9
    resamples: int = 1000
    window: str | None = None
    modality: str | None = None
    patients: str | None = None
    at: str | None = None
    positive: str | None = None
    task: str | None = None
    labels: tuple[str, ...] = ()
    separator: str | None = None
    detector: str | None = None
    head: str | None = None
    start: str | None = None
    tiles: int | None = None

    def __post_init__(self) -> None:
        asked: Any = self  # from TOML or a command line the fields have other types
        for name in LISTS:
            object.__setattr__(self, name, _as_tuple(getattr(self, name)))
        if isinstance(asked.parts, list):
            object.__setattr__(self, "parts", tuple(asked.parts))
        if isinstance(asked.budget, str):
            with suppress(UsageError):  # told below, with everything else that is wrong
                object.__setattr__(self, "budget", seconds(asked.budget))
        if mistakes := list(self._mistakes()):
            raise UsageError(*mistakes)

    def _mistakes(self) -> Iterator[str]:
        yield from self._wrong_texts()
        if self.size is not None and not (_is_whole(self.size) and 1 <= self.size <= 2048):
            yield f"size: expected 1 to 2048 (px, tokens or s), got {self.size!r}"
        if not _is_whole(self.seed) or self.seed < 0:
            yield f"seed: expected a whole number of 0 or more, got {self.seed!r}"
        if not _is_number(self.budget) or self.budget <= 0:
            yield f"budget: expected a time above 0 such as 90s or 10min, got {self.budget!r}"
        if not _is_number(self.coverage) or not 0 < self.coverage < 1:
            yield f"coverage: expected a share between 0 and 1, got {self.coverage!r}"
        if not _is_whole(self.resamples) or self.resamples < 100:
            yield f"resamples: expected 100 or more, got {self.resamples!r}"
        if self.window is not None and (wrong := window_mistake(self.window)):
            yield wrong
        if self.patients not in (None, SHARED):
            yield f"patients: expected {SHARED!r} or nothing, got {self.patients!r}"
        if self.head is not None and self.head not in HEADS:
            yield f"head: expected one of {', '.join(HEADS)}, got {self.head!r}"
        elif self.head is not None and self.task != TRANSCRIBE:
            yield f"head: expected none but for task {TRANSCRIBE}, got {self.head!r}"
        yield from self._wrong_parts()
        yield from self._wrong_training()

    def _wrong_training(self) -> Iterator[str]:
        for name, fewest in WHOLE_NUMBERS.items():
            value = getattr(self, name)
            if value is not None and not (_is_whole(value) and value >= fewest):
                yield f"{name}: expected a whole number of {fewest} or more, got {value!r}"
        for name, (least, most) in TRAINING_NUMBERS.items():
            value, words = getattr(self, name), f" or {FIND}" if name == "rate" else ""
            if value is None or (words and value == FIND):
                continue
            if not (_is_number(value) and least <= value <= most):
                yield f"{name}: expected a number from {least:g} to {most:g}{words}, got {value!r}"
        for name in ("compile", "repair"):
            if not isinstance(value := getattr(self, name), bool):
                yield f"{name}: expected true or false, got {value!r}"
        if self.steps is not None and self.epochs is not None and self._both_lengths_are_right():
            yield "steps, epochs: give one of them"

    def _both_lengths_are_right(self) -> bool:
        return all(_is_number(n) and n > 0 for n in (self.steps, self.epochs) if n is not None)

    def _wrong_texts(self) -> Iterator[str]:
        for name in TEXTS:
            value, may_be_none = getattr(self, name), name != "source"
            if not _is_text(value) and not (value is None and may_be_none):
                yield f"{name}: expected text in UTF-8, got {value!r}"
        for name in LISTS:
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(_is_text(v) and v for v in value):
                yield f"{name}: expected one name or several, got {value!r}"

    def _wrong_parts(self) -> Iterator[str]:
        numbers = isinstance(self.parts, tuple) and all(map(_is_number, self.parts))
        good = numbers and len(self.parts) == 3 and abs(sum(self.parts) - 1) < 1e-6
        if not good or min(self.parts) < 0 or self.parts[0] <= 0:
            yield f"parts: expected three shares that add up to 1, got {self.parts!r}"

    def changed(self, /, **settings: Any) -> Self:
        """The same recipe with some fields set.

        Raises UsageError naming every unknown field and every wrong value.
        """
        unknown = [_unknown(name) for name in settings if name not in _names()]
        try:
            made = replace(self, **{k: v for k, v in settings.items() if k in _names()})
        except UsageError as error:
            raise UsageError(*unknown, *error.mistakes) from None
        if unknown:
            raise UsageError(*unknown)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read `to_dict` back. Raises UsageError naming everything that is wrong."""
        if not isinstance(record, Mapping):
            raise UsageError(f"recipe: expected settings by their names, got {record!r:.80}")
        return cls().changed(**record)

    def to_toml(self) -> str:
        """As TOML; fields that were left to Regraft are absent."""
        left = {k: v for k, v in type(self)().to_dict().items() if v in (None, [], "")}
        asked = {k: v for k, v in self.to_dict().items() if k not in left or v != left[k]}
        return "".join(f"{name} = {_toml(value)}\n" for name, value in asked.items())

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read `to_toml` back, or what a person wrote. Raises UsageError."""
        try:
            return cls.from_dict(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(f"recipe: not valid TOML: {error}") from None


def seconds(text: str) -> float:
    """``90s``, ``10min``, ``1.5h`` or a plain number of seconds → seconds. Raises UsageError."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([a-z]*)", text.strip().lower())
    if not found or found[2] not in UNITS:
        raise UsageError(f"budget: expected a time such as 90s, 10min or 1h, got {text!r}")
    return float(found[1]) * UNITS[found[2]]


def _as_tuple(value: Any) -> Any:
    """Names as a tuple, from a list or from text with commas; what is neither stays as it is."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(","))
    return tuple(value) if isinstance(value, list) else value


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(value.encode() or True)
    except UnicodeEncodeError:  # a file name that is no text: neither TOML nor a page can say it
        return False


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _toml(value: Any) -> str:
    """JSON is TOML but for two things: halves of a character, and DEL as it is."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _names() -> list[str]:
    return [f.name for f in fields(Recipe)]


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _names(), 1)
    hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(_names())}"
    return f"{name}: no such setting{hint}"
