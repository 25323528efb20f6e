"""Usual: a part of what augmentation consists of where nobody named any."""

from typing import NamedTuple


class Usual(NamedTuple):
    """A part of what is usual, the strongest of several that leaves the answers as they are.

    alternatives  (as it is tried on known examples, as it is used then), the strongest first
    least         share of the right answers that must remain
    """

    alternatives: tuple[tuple[str, str], ...]
    least: float
