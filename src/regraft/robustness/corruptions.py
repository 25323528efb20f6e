"""Common corruptions of pictures, recordings and texts, each at 5 severities.

    changed = corrupted(picture, "fog", severity=3, rng=rng)

What each does stands in `worse_pictures`, `worse_sounds` and `worse_texts`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from regraft.robustness import worse_pictures, worse_sounds, worse_texts
from regraft.robustness.corruption import SEVERITIES, Corruption, Rng

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "corrupted", "rows_of"]

ROWS = (*worse_pictures.ROWS, *worse_sounds.ROWS, *worse_texts.ROWS)
CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType({row.name: row for row in ROWS})

# Modality → what makes of an example as it is at hand what its corruptions change, and back.
APPLIED: Mapping[str, Callable[[Corruption, Any, int, Rng], Any]] = MappingProxyType(
    {
        "image": worse_pictures.applied,
        "audio": worse_sounds.applied,
        "text": worse_texts.applied,
    }
)


def rows_of(modality: str) -> tuple[Corruption, ...]:
    """The corruptions of a kind of data; none where there are none for it yet."""
    return tuple(row for row in CORRUPTIONS.values() if row.of == modality)


def corrupted(example: Any, name: str, severity: int, rng: Rng) -> Any:
    """An example, corrupted; severity from 1 to 5.

    example  a picture (h, w, 3) uint8, a `Sound`, or a text; the same comes back
    """
    row = CORRUPTIONS[name]
    return APPLIED[row.of](row, example, severity, rng)
