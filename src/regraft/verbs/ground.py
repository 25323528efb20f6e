"""What the upper rungs stand on, and which examples are held back to judge them by."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from regraft.backbones.store import Store
from regraft.modalities.base import Modality
from regraft.progress import Progress
from regraft.recipe import Recipe
from regraft.verbs.rungs import Learning, Numbers, Rung


@dataclass(frozen=True)
class Ground:
    """What the upper rungs stand on.

    files, shas  of all examples of the dataset, in its order
    learning     the learning part
    measured     (h,) places of the examples that are measured at the end
    probe        the best rung so far, and `single` the best that has one network only
    until        of time.monotonic(): when everything should be over
    folder       of the run, for plans and checkpoints; None: nothing is kept
    """

    recipe: Recipe
    store: Store
    progress: Progress
    kind: Modality
    files: Sequence[str]
    shas: Sequence[str]
    learning: Learning
    measured: Numbers
    probe: Rung
    single: Rung
    until: float
    folder: Path | None = None

    @cached_property
    def key(self) -> str:
        """Short name of what is asked, of which examples and network; not of the time it may take.

        A run goes on with what was noted under the same key.
        """
        asked = {k: v for k, v in self.recipe.to_dict().items() if k not in ("budget", "source")}
        learned = sorted(self.shas[int(i)] for i in self.learning.place)
        taught = [] if self.learning.teaching is None else [self.learning.teaching.key]
        network = self.single.extractors[0].fingerprint
        text = json.dumps([asked, network, learned, *taught], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def divided(learning: Learning, seed: int) -> tuple[Numbers, Numbers]:
    """Rows to train on and rows to hold back: stratified, groups kept together.

    Only rows that can be judged by are held back; others that belong to these are neither.
    """
    judging = learning.judging
    own = learning.some(judging)
    train, held = _divided(own, seed)
    more = np.setdiff1d(np.arange(len(learning.labels)), judging)
    free = more[~np.isin(learning.groups[more], own.groups[held])]
    return np.sort(np.append(judging[train], free)), judging[held]


def _divided(learning: Learning, seed: int) -> tuple[Numbers, Numbers]:
    """`divided` where every row has a label of its own.

    A tenth is held back of 1,000 or more, a fifth of 200 or more, else a quarter. A class with
    nothing to train on gets its rows back, with their groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    strata = learning.strata
    n = len(strata)
    commonest = int(np.bincount(strata).max(initial=0))
    wanted = 10 if n >= 1000 else 5 if n >= 200 else 4
    folds = min(wanted, len(np.unique(learning.groups)), commonest)
    if folds < 2:
        return np.arange(n), np.arange(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer examples than folds: see below
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        train, held = next(split.split(strata, strata, learning.groups))
    missing = ~np.isin(strata[held], np.unique(strata[train]))
    lost = np.isin(learning.groups[held], np.unique(learning.groups[held[missing]]))
    return np.sort(np.append(train, held[lost])), held[~lost]
