"""What a client sent → the examples in it, or what is wrong with it, in plain words.

raw    image/*, audio/*, text/plain ... or application/octet-stream: the bytes of one file
JSON   {"text": "..."}, {"base64": "..."}: one example
       {"texts": ["...", ...]}, {"examples": [{"base64": "..."}, {"text": "..."}, ...]}: several
       beside it "top" and "model"
"""

import base64
import binascii
import json
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from regraft.serve.answering import Answering, Models, Served

JSON = "application/json"
ANYTHING = "application/octet-stream"
MORE_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"image": ("application/dicom",), "audio": ("application/ogg", "video/ogg")}
)  # modality → types of its files that do not begin with its name

TOP, MOST_TOP = 5, 1000
PASSED_BY = 4  # times as large as a body may be
UTF_8 = ("utf-8", "utf8", "us-ascii", "ascii")


class Refused(Exception):
    """A request that cannot be answered: the status, a word for programs, plain words."""

    def __init__(self, status: int, kind: str, *messages: str, **headers: str) -> None:
        self.status, self.kind, self.messages, self.headers = status, kind, messages, headers
        super().__init__(kind, *messages)


@dataclass(frozen=True)
class Asked:
    """What a request asks.

    several  whether it asked for a list, which is answered by one
    """

    served: Served
    examples: tuple[bytes, ...]
    top: int
    several: bool


async def body_of(request: Request, most: int, hold: Callable[[int], None]) -> bytes:
    """The whole body; `hold` is told of its bytes as they come.

    Raises Refused above `most` bytes, as soon as that is known. A body that is a little too large
    is let pass by unread, so that its sender hears the answer; else the connection is closed.
    """
    told = request.headers.get("content-length", "")
    size = int(told[:20]) if told.isdecimal() else 0
    if size > most:
        raise _too_large(most, close=size > PASSED_BY * most)
    pieces, size = [], 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise _too_large(most, close=True)
            hold(len(piece))
            pieces.append(piece)
    except ClientDisconnect:
        raise Refused(400, "disconnected", "the body ended too early") from None
    return b"".join(pieces)


def _too_large(most: int, close: bool) -> Refused:
    reason = f"the body has more than {most:,} bytes, the most that is read here"
    return Refused(413, "too-large", reason, **({"connection": "close"} if close else {}))


def _content_type(request: Request) -> tuple[str, str]:
    whole = request.headers.get("content-type", ANYTHING).lower()
    kind, *settings = (part.strip() for part in whole.split(";"))
    named = dict(part.split("=", 1) for part in settings if "=" in part)
    return kind, named.get("charset", "utf-8").strip('"')


def types_of(now: Answering) -> tuple[str, ...]:
    """What the raw body of a request may be, for a model."""
    return (f"{now.modality}/*", *MORE_TYPES.get(now.modality, ()), ANYTHING)


def _refuse_type(now: Answering, kind: str, charset: str) -> None:
    types = types_of(now)
    if kind not in types and f"{kind.partition('/')[0]}/*" not in types:
        raise Refused(
            415, "content-type",
            f"Content-Type: {kind[:80]!r} is not read by this model; send {', '.join(types)} "
            f"or {JSON}",
        )  # fmt: skip
    if kind.startswith("text/") and charset not in UTF_8:
        raise Refused(415, "content-type", f"charset: {charset[:40]!r} is not read; send UTF-8")


def _filled(body: bytes) -> bytes:
    if not body:
        raise Refused(422, "empty", "the body is empty; expected one example")
    return body


def _named(models: Models, name: object) -> Served:
    if name is None and models:
        return models.first
    if not isinstance(name, str) or name not in models:
        served = ", ".join(models) or "none yet"
        told = f"model: {reprlib.repr(name)} is not served here; served: {served}"
        raise Refused(404, "model", told)
    return models[name]


def _top(served: Served, value: object) -> int:
    if value is None:
        return TOP
    if not served.now.ranked:
        told = f"top: {served.name} does not rank classes; leave it out"
        raise Refused(400, "usage", told)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if type(value) is not int or not 1 <= value <= MOST_TOP:
        raise Refused(
            400,
            "usage",
            f"top: expected a whole number from 1 to {MOST_TOP}, got {reprlib.repr(value)}",
        )
    return value


# --- JSON ----------------------------------------------------------------------------------------


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, "json", f"the body is not JSON in UTF-8: {reason:.200}") from None
    if not isinstance(found, dict):
        raise Refused(422, "usage", f"the body: expected an object, got {reprlib.repr(found)}")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _one(text_or_bytes: Callable[[Any, str], bytes]) -> Callable[[Any, str], tuple[bytes, ...]]:
    return lambda value, where: (text_or_bytes(value, where),)


def _text(value: Any, where: str) -> bytes:
    if not isinstance(value, str):
        raise Refused(422, "usage", f"{where}: expected text, got {reprlib.repr(value)}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Refused(
            422, "encoding", f"{where}: character {error.start} is half of one (a lone surrogate)"
        ) from None


def _base64(value: Any, where: str) -> bytes:
    if not isinstance(value, str):
        raise Refused(422, "usage", f"{where}: expected text in base64, got {reprlib.repr(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(422, "base64", f"{where}: is not base64: {error}") from None


def _texts(values: Any, where: str) -> tuple[bytes, ...]:
    return tuple(_text(value, f"{where}[{i}]") for i, value in enumerate(_list(values, where)))


def _examples(values: Any, where: str) -> tuple[bytes, ...]:
    return tuple(_example(value, f"{where}[{i}]") for i, value in enumerate(_list(values, where)))


def _example(value: Any, where: str) -> bytes:
    if isinstance(value, dict) and len(value) == 1 and (name := next(iter(value))) in KINDS:
        return KINDS[name](value[name], f"{where}.{name}")
    raise Refused(
        422,
        "usage",
        f"{where}: expected an object with {' or '.join(KINDS)}, got {reprlib.repr(value)}",
    )


def _list(values: Any, where: str) -> Iterable[Any]:
    if not isinstance(values, list) or not values:
        raise Refused(
            422, "usage", f"{where}: expected a list of examples, got {reprlib.repr(values)}"
        )
    return values


KINDS: Mapping[str, Callable[[Any, str], bytes]] = MappingProxyType(
    {"text": _text, "base64": _base64}
)
# What a JSON body may hold examples in → how they are read, and whether it is a list.
FIELDS: Mapping[str, tuple[Callable[[Any, str], tuple[bytes, ...]], bool]] = MappingProxyType(
    {
        "text": (_one(_text), False),
        "base64": (_one(_base64), False),
        "texts": (_texts, True),
        "examples": (_examples, True),
    }
)
SETTINGS = ("model", "top")
OF_ONE = tuple(name for name, (_, several) in FIELDS.items() if not several)


def _of_json(
    found: dict[str, Any],
    query: dict[str, str],
    models: Models,
    most: int,
    fields: Sequence[str],
) -> Asked:
    given = [name for name in fields if name in found]
    if len(given) != 1:
        told = " and ".join(given) or "none"
        raise Refused(422, "usage", f"expected one of {', '.join(fields)}, got {told}")
    served = _named(models, found.get("model", query.get("model")))
    top = _top(served, found.get("top", query.get("top")))
    read, several = FIELDS[given[0]]
    values = found[given[0]]
    if several and isinstance(values, list) and len(values) > most:
        raise Refused(
            413, "too-many", f"{given[0]}: {len(values)} examples; at most {most} are answered at "
            "once: send several requests",
        )  # fmt: skip
    examples = read(values, given[0])
    if "text" in given[0] and not served.now.sayable:
        raise Refused(
            422, "usage", f"{given[0]}: {served.name} reads {served.now.modality}, not text; "
            "send the bytes of a file, or base64",
        )  # fmt: skip
    return Asked(served, examples, top, several)


# --- a whole request ------------------------------------------------------------------------------


def asked_of(
    request: Request,
    body: bytes,
    models: Models,
    most: int,
    settings: Sequence[str] = SETTINGS,
    fields: Sequence[str] = tuple(FIELDS),
) -> Asked:
    """What a request asks; `most` examples at once. Raises Refused.

    settings  that the address has a use for
    fields    of a JSON body that it reads examples in
    """
    query = dict(request.query_params)
    if unknown := sorted(query.keys() - set(settings)):
        told = f"{', '.join(unknown)[:60]}: not known here; known: {', '.join(settings)}"
        raise Refused(400, "usage", told)
    kind, charset = _content_type(request)
    if kind == JSON:
        document = _parsed(body)
        _refuse_unknown(document, (*fields, *settings))
        return _of_json(document, query, models, most, fields)
    served = _named(models, query.get("model"))
    _refuse_type(served.now, kind, charset)
    return Asked(served, (_filled(body),), _top(served, query.get("top")), several=False)


def _refuse_unknown(found: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(found.keys() - set(known)):
        told = f"{', '.join(unknown)[:80]}: not known here; known: {', '.join(known)}"
        raise Refused(422, "usage", told)
