"""What a corruption is: one row of `corruptions.CORRUPTIONS`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SEVERITIES = (1, 2, 3, 4, 5)

Rng = np.random.Generator


@dataclass(frozen=True)
class Corruption:
    """One row of CORRUPTIONS.

    of        the modality of what it changes
    kind      such as noise or weather
    change    example, the row's numbers of a severity, random numbers → example: pictures
              (h, w, 3) from 0 to 1, samples (n,) from -1 to 1, text
    numbers   of each severity
    """

    of: str
    name: str
    kind: str
    change: Callable[[Any, Any, Rng], Any]
    numbers: tuple[Any, ...]
