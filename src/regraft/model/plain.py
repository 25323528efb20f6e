"""Plain data against the fields of a dataclass: what in a document from outside is of a wrong type.

Only JSON's types count: a truth value is no number, a float is no whole number, nothing is NaN.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

LARGEST = 2**53  # whole numbers up to here are the same in every JSON reader


def misfits(kind: type, record: object, where: str = "") -> Iterator[str]:
    """What keeps a record from being a `kind`: fields missing, unknown or of a wrong type.

    where  what to put before the names of the fields, such as ``backbones[0].row.``
    """
    if not isinstance(record, Mapping):
        yield f"{where.removesuffix('.') or 'it'}: expected an object, got {record!r:.60}"
        return
    hints, known = get_type_hints(kind), {f.name: f for f in fields(kind)}
    for name, f in known.items():
        if name in record:
            yield from _misfits(hints[name], record[name], f"{where}{name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            yield f"{where}{name}: missing"
    yield from (f"{where}{name}: not known here" for name in record if name not in known)


def _misfits(hint: Any, value: object, where: str) -> Iterator[str]:
    parts = get_args(hint)
    if get_origin(hint) is UnionType and NoneType in parts:
        if value is None:
            return
        (hint,) = (part for part in parts if part is not NoneType)
    if isinstance(hint, type) and is_dataclass(hint):
        yield from misfits(hint, value, f"{where}.")
    elif get_origin(hint) is tuple and isinstance(value, list | tuple):
        yield from _misfits_of_items(get_args(hint), value, where)
    elif not _is(hint, value):
        yield f"{where}: expected {_called(hint)}, got {value!r:.60}"


def _misfits_of_items(hints: tuple[Any, ...], values: Any, where: str) -> Iterator[str]:
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(values)
    if len(hints) != len(values):
        yield f"{where}: expected {len(hints)} values, got {len(values)}"
        return
    for place, (hint, value) in enumerate(zip(hints, values, strict=True)):
        yield from _misfits(hint, value, f"{where}[{place}]")


def _is(hint: Any, value: object) -> bool:
    if get_origin(hint) is Mapping or hint is dict:
        return isinstance(value, Mapping)
    if isinstance(value, float):
        return hint is float and math.isfinite(value)
    if type(value) is int:
        return hint in (int, float) and abs(value) < LARGEST
    return type(value) is hint


def _called(hint: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint) or ("a list" if get_origin(hint) is tuple else "an object")
