"""Rows of a table by name, with numbers as parameters: ``focal:gamma=1.5``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple, Protocol, TypeVar

from regraft.errors import UsageError


@dataclass(frozen=True)
class Parameter:
    """A number that a row of a table takes, from `low` to `high`, both allowed."""

    default: float
    low: float
    high: float
    told: str
    whole: bool = False

    def mistake(self, value: object) -> str | None:
        """What is wrong with a value, in words; None where nothing is."""
        kinds: tuple[type, ...] = (int,) if self.whole else (int, float)
        if type(value) in kinds and self.low <= value <= self.high:  # type: ignore[operator]
            return None
        kind = "whole number" if self.whole else "number"
        return f"{value!r} is not a {kind} from {self.low:g} to {self.high:g}"


class Row(Protocol):
    """What a table's row tells of its parameters."""

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...


R = TypeVar("R", bound=Row)


class Setting(NamedTuple):
    """The name of a row and the parameters that were given for it; the others have defaults."""

    name: str
    parameters: dict[str, float]


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """The mistake of a name that is in no row: close names, and all of them."""
    names = list(known)
    close = get_close_matches(str(name).lower(), names, n=3)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{what}: {name!r} is unknown; {guess}Known: {', '.join(names) or 'none'}"


def parse(what: str, text: str, rows: Mapping[str, R]) -> Setting:
    """Read ``name`` or ``name:parameter=number,parameter=number``.

    what  the table's word in messages: loss, schedule
    Raises UsageError with all that is wrong: the name, the parameters, their values.
    """
    name, given, mistakes = _read(what, text)
    if name not in rows:
        raise UsageError(unknown(what, name, rows), *mistakes)
    if mistakes := mistakes + parameter_mistakes(f"{what} {name}", given, rows[name]):
        raise UsageError(*mistakes)
    return Setting(name, given)


def _read(what: str, text: str) -> tuple[str, dict[str, float], list[str]]:
    """Name, parameters and what could not be read."""
    name, colon, rest = (part.strip() for part in text.partition(":"))
    given: dict[str, float] = {}
    mistakes = []
    for part in rest.split(",") if colon else ():
        key, _, value = (piece.strip() for piece in part.partition("="))
        number = _number(value)
        if not key or number is None or key in given:
            mistakes.append(f"{what} {name}: {part!r} is not parameter=number, each once")
        else:
            given[key] = number
    return name, given, mistakes


def _number(text: str) -> float | None:
    """An int where the text is one: some parameters are whole."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def parameter_mistakes(what: str, given: Mapping[str, object], row: Row) -> list[str]:
    """All that is wrong with the parameters that were given for a row, in words."""
    mistakes = []
    for name, value in given.items():
        if name not in row.parameters:
            mistakes.append(unknown(f"parameter of {what}", name, row.parameters))
        elif text := row.parameters[name].mistake(value):
            mistakes.append(f"{what}: {name}: {text}")
    return mistakes


def complete(given: Mapping[str, float], row: Row) -> dict[str, float]:
    """Every parameter of a row: the given ones, the others by default."""
    return {name: p.default for name, p in row.parameters.items()} | dict(given)
