"""A finding: something about the examples that a person should know, by name and with a reason."""

from dataclasses import asdict, dataclass
from typing import Any

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing found in the data.

    kind      a stable word for scripts: ``unreadable``, ``exact-duplicate``, ``near-duplicate``,
              ``conflicting-labels``, ``leak``, ``group-leak``, ``tiny-class``, ``empty-class``,
              ``imbalance``, ``odd-size``, ``odd-mode``, ``label-suspect`` ...
    files     the files concerned, as the user named them (may be empty: a finding on the whole set)
    reason    a plain sentence: what it is and what to do
    severity  ``error`` (left out or wrong), ``warning`` (look at it), ``note`` (good to know)
    score     how sure, in [0, 1], where a method gives one
    """

    kind: str
    files: tuple[str, ...]
    reason: str
    severity: str = "warning"
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"files": list(self.files)}
