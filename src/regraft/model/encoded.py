"""Features of examples in memory: the bytes of files, decoded and seen by frozen networks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.backbones.extractor import Extractor
from regraft.errors import Unreadable
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec

MEMORY = "<memory>"  # what an example without a file is called

Views = list[Any]  # an example as `Modality.prepare` gives it, once for each view of the spec
Features = tuple[npt.NDArray[np.float32], dict[int, str]]


def encoded_features(
    extractors: Sequence[Extractor], kind: str, examples: Sequence[bytes]
) -> Features:
    """(m, d) features of the examples that can be decoded, and why the others cannot.

    The same to the last bit as of each alone, whatever is beside it.
    """
    errors: dict[int, str] = {}
    prepared = [prepared_views(one.spec, kind, examples, errors) for one in extractors]
    there = [i for i in range(len(examples)) if i not in errors]
    if not there:
        return np.zeros((0, 0), np.float32), errors
    pairs = zip(extractors, prepared, strict=True)
    return np.hstack([vectors(one, [views[i] for i in there]) for one, views in pairs]), errors


def prepared_views(
    spec: InputSpec, kind: str, examples: Sequence[bytes], errors: dict[int, str]
) -> list[Views]:
    """The views of each example; what cannot be decoded has none, and its reason in `errors`."""
    made, found = modality(kind), []
    for i, data in enumerate(examples):
        views: Views = []
        if i not in errors:
            try:
                raw = made.decode(data, MEMORY, spec).raw
                views = [made.prepare(raw, spec, view) for view in spec.views]
            except Unreadable as error:
                errors[i] = error.reason
        found.append(views)
    return found


def vectors(one: Extractor, examples: Sequence[Views]) -> npt.NDArray[np.float32]:
    """(n, d): the mean over the views of each example."""
    found = one.vectors([view for views in examples for view in views])
    some = [[next(found) for _ in views] for views in examples]
    return np.stack([v[0] if len(v) == 1 else np.mean(v, axis=0) for v in some])
