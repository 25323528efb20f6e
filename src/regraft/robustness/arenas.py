"""Arenas: what is attacked of each kind of data, by which changes and attacks.

arena = arena_of(model)
box = arena.box(model)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from regraft.errors import UsageError
from regraft.robustness.attacks import L2, LINF, SAMPLES, VECTORS, Norm
from regraft.robustness.sanity import RANDOM_SEARCH, SQUARE, AnswersAlone

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from regraft.model.model import Model


class Box(Protocol):
    """A model as one differentiable function (n, ...) → (n, c), see `whitebox`."""

    @property
    def device(self) -> "torch.device": ...

    def __call__(self, x: "Tensor") -> "Tensor": ...

    def features(self, x: "Tensor") -> "Tensor":
        """(n, d) raw features of all networks."""
        ...

    def read(self, model: "Model", files: "Sequence[str]") -> "Tensor":
        """(n, ...) of files. Raises Unreadable naming the file."""
        ...


@dataclass(frozen=True)
class Change:
    """One norm of an arena: usual sizes, as they are written, and the largest that has a use."""

    norm: Norm
    usual: tuple[str, ...]
    most: float


@dataclass(frozen=True)
class Arena:
    """One row of ARENAS.

    noun     what is attacked, in the plural
    changes  by the names of their norms, the usual one first
    attacks  keys of `measuring.ATTACKS`, the usual one first
    refuse   raises UsageError for a model that cannot be attacked as it answers
    box      of a model
    share    what ε is a share of, and how it is written
    limits   what the figures do not say
    filed    (model, box, changed) → the model's own answers to changed examples as files keep them;
             None where no file belongs to a change
    shown    (box, before, after) → what is shown of a change: pictures and sounds as data URIs
    told     (before, after) → what else is told of the changes at an ε
    answers_alone  the black box of the checks
    """

    noun: str
    changes: Mapping[str, Change]
    attacks: tuple[str, ...]
    refuse: Callable[["Model"], Any]
    box: Callable[["Model"], Any]
    share: str
    limits: tuple[str, ...]
    filed: "Callable[[Model, Any, Tensor], npt.NDArray[np.int64]] | None" = None
    shown: "Callable[[Tensor, Tensor], dict[str, Any]] | None" = None
    told: "Callable[[Tensor, Tensor], dict[str, Any]]" = lambda before, after: {}
    answers_alone: AnswersAlone = RANDOM_SEARCH

    def change(self, norm: str | None) -> Change:
        """By the name of a norm; None: the usual one. Raises UsageError."""
        name = norm or next(iter(self.changes))
        if name not in self.changes:
            known = ", ".join(self.changes)
            raise UsageError(
                f"norm: {name!r} is not one of {known}, which there are of {self.noun}"
            )
        return self.changes[name]


def arena_of(model: "Model") -> Arena:
    """The row for a model. Raises UsageError where nothing of it can be attacked."""
    if (row := ARENAS.get(model.modality)) is None:
        raise UsageError(
            f"robust: there is no attack on {model.modality} yet, only on {', '.join(ARENAS)}"
        )
    row.refuse(model)
    return row


EMPIRICAL = (
    "Empirical: no attack of those run found more. That is no proof, and a better attack may."
)


# --- pictures ------------------------------------------------------------------------------------


def _refuse_sizes(model: "Model") -> None:
    from regraft.robustness.prepared import planes_of

    planes_of(model)


def _picture_box(model: "Model") -> Any:
    from regraft.robustness.whitebox import WhiteBox

    return WhiteBox.of(model)


def _picture_filed(model: "Model", box: Any, x: "Tensor") -> "npt.NDArray[np.int64]":
    from regraft.robustness.whitebox import as_files

    return as_files(model, box, x)


def _picture_shown(before: "Tensor", after: "Tensor") -> dict[str, Any]:
    from regraft.model.looking import plain

    before, after = before[:3].float(), after[:3].cpu()
    change = after - before
    most = change.abs().max().clamp(min=1e-6)
    return {
        "times": float(127.5 / most),
        "thumbnail": plain(_pixels(before)),
        "change": plain(_pixels(127.5 + 127.5 * change / most)),
        "changed": plain(_pixels(after)),
    }


def _pixels(x: "Tensor") -> Any:
    import numpy as np

    return np.asarray(x.round().clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8))


# --- recordings ----------------------------------------------------------------------------------


def _nothing(model: "Model") -> None:
    """Any model can be attacked."""


def _sound_box(model: "Model") -> Any:
    from regraft.robustness.soundbox import SoundBox

    return SoundBox.of(model)


def _sound_filed(model: "Model", box: Any, x: "Tensor") -> "npt.NDArray[np.int64]":
    found: npt.NDArray[np.int64] = box.answers(model, box.filed(x))
    return found


def _sound_shown(before: "Tensor", after: "Tensor") -> dict[str, Any]:
    """The log-mel pictures of the recording, of the change alone and of both, and both to hear."""
    from regraft.modalities.audio import played
    from regraft.modalities.mel import picture
    from regraft.model.looking import plain
    from regraft.robustness.soundbox import own

    waves = [own(x[0]) for x in (before, after)]
    change = waves[1] - waves[0]
    seen = {"thumbnail": waves[0], "change": change, "changed": waves[1]}
    loudest = max(float(abs(change).max()), 1e-9)
    return {
        **{name: plain(picture(wave, 160)) for name, wave in seen.items()},
        "times": float(1 / loudest),
        "clip": played(waves[1]),
    }


def _decibels(before: "Tensor", after: "Tensor") -> dict[str, Any]:
    from regraft.robustness.soundbox import ratio

    found = ratio(before, after)
    return {"snr": found if found < float("inf") else None}


# --- texts ---------------------------------------------------------------------------------------


def _refuse_several(model: "Model") -> None:
    from regraft.robustness.textbox import refuse_several

    refuse_several(model)


def _text_box(model: "Model") -> Any:
    from regraft.robustness.textbox import TextBox

    return TextBox.of(model)


ARENAS: Mapping[str, Arena] = MappingProxyType(
    {
        "image": Arena(
            "pictures",
            {
                "linf": Change(LINF, ("1/255", "2/255", "4/255"), 1.0),
                "l2": Change(L2, ("0.25", "0.5", "1"), float("inf")),
            },
            ("autoattack", "pgd"),
            _refuse_sizes,
            _picture_box,
            "of the range from black to white such as 2/255 or 0.01",
            (
                EMPIRICAL,
                "Only small changes in the norm named: other changes (a sticker, another light, a "
                "rotation, another camera) are not covered.",
                "Pictures were changed after they were resized for the network, which is the "
                "stronger attacker than one who changes the file.",
            ),
            _picture_filed,
            _picture_shown,
            answers_alone=SQUARE,
        ),
        "audio": Arena(
            "recordings",
            {"linf": Change(SAMPLES, ("0.0005", "0.001", "0.002"), 1.0)},
            ("pgd",),
            _nothing,
            _sound_box,
            "of full scale such as 0.001",
            (
                EMPIRICAL,
                "Only small changes of the samples: noise, rooms, other voices and other "
                "microphones are not covered, nor what is left of a change after a loudspeaker.",
                "Each part of a recording that is heard was changed on its own, at 16 kHz, which "
                "is the stronger attacker than one who changes the file.",
            ),
            _sound_filed,
            _sound_shown,
            _decibels,
        ),
        "text": Arena(
            "texts",
            {"l2": Change(VECTORS, ("0.05", "0.1", "0.2"), float("inf"))},
            ("pgd",),
            _refuse_several,
            _text_box,
            "of the mean length of a word piece's vector such as 0.1",
            (
                EMPIRICAL,
                "The vectors of word pieces were moved: no text belongs to what was found. It says "
                "how far answers are from the border, not what somebody can write; for typing "
                "mistakes and the like measure --corruptions.",
                "Changes of words (synonyms, insertions) are not covered.",
            ),
        ),
    }
)
