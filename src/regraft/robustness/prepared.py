"""Pictures as a model's networks read them, and its own answers to such pictures.

A plane is one way in which a picture is prepared; networks that read it alike share one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.data.inline import contents
from regraft.errors import UsageError
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.model.model import Model

PICTURES = ("image",)  # modalities whose pixels a person sees

Pixels = npt.NDArray[np.uint8]  # (n, planes, size, size, 3)
Plane = tuple[InputSpec, str]  # spec as far as it decides the pixels, and the view


def planes_of(model: Model) -> list[Plane]:
    """The planes of a model's networks. Raises UsageError where no change of pixels fits all."""
    mistakes = []
    if model.modality not in PICTURES:
        mistakes.append(
            f"robust: pixels are changed, and this model reads {model.modality}; there is nothing "
            "of that kind for it yet"
        )
    sizes = sorted({one.spec.size for one in model.extractors})
    if len(sizes) > 1:
        mistakes.append(
            f"robust: its networks read pictures of {' and '.join(map(str, sizes))} pixels, so "
            "that no change of one picture fits all; fit the model with one --size"
        )
    if mistakes:
        raise UsageError(*mistakes)
    every = [plane_of(one.spec, view) for one in model.extractors for view in one.spec.views]
    return list(dict.fromkeys(every))


def plane_of(spec: InputSpec, view: str) -> Plane:
    """Networks that differ in mean and std only read the same picture, if it is not padded."""
    plain = replace(spec, views=(view,))
    if spec.fit == "pad" or view != "centre":
        return plain, view
    return replace(plain, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), view


def prepared(model: Model, planes: Sequence[Plane], files: Sequence[str]) -> Pixels:
    """(n, planes, size, size, 3) of files. Raises Unreadable naming the file."""
    kind, found = modality(model.modality), []
    for file in files:
        raw = kind.decode(contents(file), file, planes[0][0]).raw
        found.append(np.stack([kind.prepare(raw, spec, view) for spec, view in planes]))
    return np.stack(found)


def answers(model: Model, planes: Sequence[Plane], pixels: Pixels) -> npt.NDArray[np.int64]:
    """(n,) class numbers, by the engines that answer for users."""
    sides: list[Any] = []
    for one in model.extractors:
        views = [planes.index(plane_of(one.spec, view)) for view in one.spec.views]
        vectors = [np.stack([*one.vectors(list(pixels[:, view]))]) for view in views]
        sides.append(vectors[0] if len(vectors) == 1 else np.mean(vectors, axis=0))
    return np.asarray(model.head.scores(np.hstack(sides)).argmax(1))
