"""Records as plain data: what JSON can hold, told where it cannot."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from regraft.errors import UsageError


def plain_copy(
    record: Mapping[str, Any], required: Iterable[str], mistakes: Iterable[str] = ()
) -> dict[str, Any]:
    """A record as JSON gives it back, NaN and infinite numbers as None.

    Raises UsageError with `mistakes`, the keys that are missing and all that is not plain data.
    """
    missing = (f"record: {key!r} is missing" for key in required if key not in record)
    if wrong := [*missing, *mistakes, *_not_plain(record, "record")]:
        raise UsageError(*wrong)
    # Only the three constants are no JSON: NaN, Infinity, -Infinity.
    plain: dict[str, Any] = json.loads(json.dumps(record), parse_constant=lambda constant: None)
    return plain


def _not_plain(value: object, where: str) -> Iterator[str]:
    """Where a record holds what JSON cannot."""
    try:
        json.dumps(value)  # at the speed of C, and nearly always all there is to do
    except TypeError:
        yield from _not_plain_inside(value, where)
    except (ValueError, RecursionError):
        yield f"{where}: expected data that ends, but it holds itself or is too deep"


def _not_plain_inside(value: object, where: str) -> Iterator[str]:
    match value:
        case dict():
            for key, item in value.items():
                if not isinstance(key, str):
                    yield f"{where}: expected keys of text, got {key!r}"
                yield from _not_plain(item, f"{where}[{key!r}]")
        case list() | tuple():
            for place, item in enumerate(value):
                yield from _not_plain(item, f"{where}[{place}]")
        case _:
            kind = type(value).__name__
            yield f"{where}: expected text, a number, a list or a dict of these, got {kind}"
