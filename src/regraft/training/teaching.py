"""Teaching: what a larger model says of examples, for a smaller one to learn from.

Distillation, Hinton et al. 2015 (arXiv 1503.02531): the student learns from the teacher's
probabilities, softened by a temperature, beside the labels. Examples without a label are learned
from in the same way. A teacher that looks at the very same augmented picture as the student teaches
consistently: Beyer et al. 2022 (arXiv 2106.05237).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.evaluation.calibration import softmax

Matrix = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
See = Callable[[Any], Any]  # augmented pixels (n, size, size, 3) → the teacher's logits (n, c)


@dataclass(frozen=True, eq=False)
class Teaching:
    """A teacher's answers to n examples, and how much they count.

    logits       (n, c) calibrated
    known        (n,) whether the example has a label of its own
    clean        (n,) of these, whether it has not taught the teacher: only by such a student can
                 be judged, since through the teacher's answers it knows the others' labels
    temperature  that softens the answers in training: higher tells more of the unlikely classes
    hard         share of the label beside the teacher, where there is one
    see          the teacher itself, where it answers to each augmented picture anew
    """

    logits: Matrix
    known: npt.NDArray[np.bool_]
    clean: npt.NDArray[np.bool_]
    temperature: float = 2.0
    hard: float = 0.3
    see: See | None = None

    def some(self, rows: Numbers) -> "Teaching":
        """That of some examples."""
        some = {name: getattr(self, name)[rows] for name in ("logits", "known", "clean")}
        return replace(self, **some)

    def shares(self) -> Matrix:
        """(n,) of the label in what is learned: none where there is no label."""
        return np.asarray(self.hard * self.known, dtype=np.float64)

    def targets(self, labels: Numbers) -> Matrix:
        """(n, c) what a closed-form head learns: label and teacher, by their shares."""
        share = self.shares()[:, None]
        own = np.eye(self.logits.shape[1])[labels]
        return np.asarray(share * own + (1 - share) * softmax(self.logits), dtype=np.float64)

    @property
    def key(self) -> str:
        """Short name of all that decides what is learned."""
        settings = [self.temperature, self.hard, self.see is not None]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for array in (self.logits, self.known, self.clean):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]
