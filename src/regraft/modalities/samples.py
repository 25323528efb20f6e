"""What a recording is in memory: samples, mono, at one rate."""

import numpy as np
import numpy.typing as npt

from regraft.modalities.spec import UNITS

RATE = 16_000  # samples per second, whatever the file has
MOST_SECONDS = UNITS["sound"].most  # of the middle of a recording that are heard
MOST_MINUTES = 10  # of the middle of a recording that segments are taken from

Samples = npt.NDArray[np.float32]


def samples_of(prepared: npt.NDArray[np.uint8]) -> Samples:
    """(n,) float32 of what `Modality.prepare` gives of a sound."""
    return prepared.view("<f4")
