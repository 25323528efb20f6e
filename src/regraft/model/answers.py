"""Answers in the order of the examples, as JSON; what else they can be put into is their task's."""

import json
from typing import Any, Protocol, TypeVar


class Told(Protocol):
    """An answer that can be told as plain data."""

    def to_dict(self) -> dict[str, Any]: ...


Answer = TypeVar("Answer", bound=Told)


class AnswerList(list[Answer]):
    """Answers in the order of the examples."""

    def to_json(self) -> str:
        """One JSON array."""
        return json.dumps([one.to_dict() for one in self], ensure_ascii=False)

    def to_json_lines(self) -> str:
        """One JSON object a line."""
        return "".join(json.dumps(one.to_dict(), ensure_ascii=False) + "\n" for one in self)
