"""Heads are kept as features are: the same examples, labels and settings are not solved twice."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from regraft import __version__
from regraft.backbones.store import Store
from regraft.transfer.probe import Head, HeadFit, fit_head, fit_wide_head
from regraft.transfer.targets import CLASSES, Target

FORMAT = 4  # raised when the same input would give another head than before
SPACE = f"heads {FORMAT} {__version__}"


def kept_head(
    store: Store,
    features: Any,
    labels: Any,
    *,
    classes: int,
    widths: Sequence[int],
    groups: Any = None,
    seed: int,
    weigh: bool = True,
    lasts: Sequence[int] = (),
    targets: Any = None,
    target: Target = CLASSES,
) -> HeadFit:
    """As `fit_head`, or with `lasts` as `fit_wide_head`; from the store where the very same was
    solved before.

    labels  what is right, as the target has it; its scores and its head are as `Target` says
    """
    settings = [classes, list(widths), seed, weigh, list(lasts), target.name]
    given = () if targets is None else (targets,)
    key = _key(features, labels, groups, *given, settings=settings)
    if known := store.blobs(SPACE, [key]):
        return _from_bytes(known[key])
    asked: dict[str, Any] = {"widths": widths, "groups": groups, "seed": seed}
    asked |= {"targets": targets} | target.asked(labels, classes)
    if lasts:
        found = fit_wide_head(features, lasts=lasts, **asked)
    else:
        found = fit_head(features, weigh=weigh, **asked)
    found = target.finished(found, labels)
    store.keep_blobs(SPACE, {"what": "heads"}, {key: _to_bytes(found)})
    return found


def _key(*arrays: Any, settings: Any) -> str:
    """SHA-256 of all that decides the head: the arrays' content and the settings."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for array in (np.zeros(0) if a is None else a for a in arrays):
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _to_bytes(fit: HeadFit) -> bytes:
    head = {f"head.{name}": np.ascontiguousarray(a) for name, a in fit.head.tensors().items()}
    return save(
        {**head, "left_out": np.ascontiguousarray(fit.left_out), "error": np.array([fit.error])}
    )


def _from_bytes(blob: bytes) -> HeadFit:
    found = load(blob)
    head = {name[5:]: array for name, array in found.items() if name.startswith("head.")}
    return HeadFit(Head.from_tensors(head), found["left_out"], float(found["error"][0]))
