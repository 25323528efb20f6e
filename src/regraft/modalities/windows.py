"""Windows: which values of a medical or a deep picture become black and white.

file        as the file tells (DICOM: window or table; NIfTI: cal_min, cal_max); where it tells
            none: PERCENTILE for medical files, FULL for 16-bit pictures
percentile  nearly the darkest and the brightest value, SHARE per cent left out at either end
full        16-bit pictures: all that the type can hold; others: the least and the largest value
40,400      centre and width in the file's own units, Hounsfield for CT
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

FILE, PERCENTILE, FULL = "file", "percentile", "full"
NAMED = (FILE, PERCENTILE, FULL)
SHARE = 0.5  # per cent of the values at either end
SAMPLED = 2_000_000  # values of which percentiles are taken

Values = npt.NDArray[Any]
Ends = tuple[float, float]


def window_mistake(window: object) -> str | None:
    """What is wrong with a window as it stands in an input spec, in words."""
    if isinstance(window, str) and (window in NAMED or centre_and_width(window)):
        return None
    expected = f"{', '.join(NAMED)}, or a centre and a width above 0 such as 40,400"
    return f"window: expected {expected}; got {window!r:.60}"


def centre_and_width(window: str) -> Ends | None:
    """``40,400`` → numbers; None for anything else."""
    parts = window.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None
    good = len(numbers) == 2 and all(map(math.isfinite, numbers)) and numbers[1] > 0
    return (numbers[0], numbers[1]) if good else None


def ends(window: str, told: Ends | None, values: Callable[[], Values], full: Ends | None) -> Ends:
    """The values that become black and white.

    told    what the file says
    values  gives a sample of them, any shape
    full    what the type can hold; None: the least and the largest of the values
    """
    if (numbers := centre_and_width(window)) is not None:
        centre, width = numbers
        return centre - width / 2, centre + width / 2
    return ENDS[window](told, values, full)


def _as_told(told: Ends | None, values: Callable[[], Values], full: Ends | None) -> Ends:
    return told or (full if full is not None else _percentiles(told, values, full))


def _percentiles(told: Ends | None, values: Callable[[], Values], full: Ends | None) -> Ends:
    low, high = np.percentile(sampled(values()), [SHARE, 100 - SHARE])
    return float(low), float(high)


def _whole(told: Ends | None, values: Callable[[], Values], full: Ends | None) -> Ends:
    if full is not None:
        return full
    found = values()
    return float(found.min()), float(found.max())


ENDS: Mapping[str, Callable[[Ends | None, Callable[[], Values], Ends | None], Ends]] = {
    FILE: _as_told,
    PERCENTILE: _percentiles,
    FULL: _whole,
}


def sampled(values: Values) -> Values:
    """At most about SAMPLED values, evenly spread."""
    flat = values.reshape(-1) if values.flags.c_contiguous else values
    step = max(1, math.ceil(values.size / SAMPLED))
    if flat.ndim == 1:
        return flat[::step]
    thinned = math.ceil(step ** (1 / flat.ndim))
    return flat[(slice(None, None, thinned),) * flat.ndim].reshape(-1)


def shown(values: Values, between: Ends) -> npt.NDArray[np.uint8]:
    """Values → 0 to 255, clipped at both ends."""
    low, high = between
    scaled = (np.asarray(values, np.float64) - low) / max(high - low, 1e-9)
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
