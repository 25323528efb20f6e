"""Lines of progress that a verb writes → what a page draws of them."""

import json
from typing import Any

STAGES = 40  # of the last ones
SAID = 20
RUNGS = 100
LONGEST = 500  # characters of a sentence
UNREAD = 65_536  # bytes of a line that does not end


class Watching:
    """What a verb told so far; see `regraft.progress.Lines`.

    What is no line of progress, such as a library's remark, is passed by.
    """

    def __init__(self) -> None:
        self.stages: dict[int, dict[str, Any]] = {}
        self.rungs: list[dict[str, Any]] = []
        self.said: list[str] = []
        self._rest = b""

    def read(self, some: bytes) -> None:
        """Take in bytes as they come; a line that is not whole yet waits for its end."""
        *lines, self._rest = (self._rest + some).split(b"\n")
        self._rest = self._rest[-UNREAD:]
        for line in lines:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "stage", "stage": int(n), "name": str(name), "total": total}:
                total = total if isinstance(total, int) else None
                began = {"name": name[:LONGEST], "total": total, "done": 0}
                self.stages[n] = began | {"begun": event.get("at"), "seconds": None}
                while len(self.stages) > STAGES:
                    del self.stages[next(iter(self.stages))]
            case {"event": "step", "stage": int(n), "done": int(done)} if n in self.stages:
                self.stages[n] |= {"done": done, "at": event.get("at")}
            case {"event": "end", "stage": int(n), "done": int(done)} if n in self.stages:
                self.stages[n] |= {"done": done, "seconds": event.get("seconds")}
            case {"event": "say", "message": str(message)}:
                self.said = [*self.said, message[:LONGEST]][-SAID:]
            case {"event": "found", "what": "rung", "told": str()}:
                self.rungs = [*self.rungs, {k: event.get(k) for k in RUNG}][-RUNGS:]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: stages, rungs, said."""
        stages = [one | {"left": _left(one)} for one in self.stages.values()]
        return {"stages": stages, "rungs": self.rungs, "said": self.said}


RUNG = ("told", "kind", "backbone", "detail", "judged", "figure", "score", "n", "seconds")


def _left(stage: dict[str, Any]) -> float | None:
    """Seconds until a stage ends if it goes on as fast; None where that cannot be told."""
    total, done, begun, at = stage["total"], stage["done"], stage["begun"], stage.get("at")
    if stage["seconds"] is not None or not total or not done:
        return None
    if not isinstance(begun, int | float) or not isinstance(at, int | float) or done > total:
        return None
    return (at - begun) / done * (total - done)
