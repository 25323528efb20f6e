"""A server in a process of its own whose model is a stand-in: as slow as asked for, its answer the
SHA-256 of the example, its version what its file says. Started by `conftest.stand_in`.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.errors import BundleError, Unreadable
from regraft.modalities.parts import Part
from regraft.serve import server
from regraft.serve.answering import open_all
from regraft.serve.app import Limits, Service
from regraft.serve.server import bound, run, url_of


@dataclass
class StandIn:
    """See `regraft.serve.answering.Answering`."""

    version: str
    seconds: float = 0.0
    name: str = "stand-in"
    modality: str = "text"
    sayable: bool = True
    ranked: bool = True
    together: int = 4

    def answer(self, examples: Sequence[bytes], top: int) -> list[dict[str, Any]]:
        time.sleep(self.seconds)
        return [self._one(example, top) for example in examples]

    def _one(self, example: bytes, top: int) -> dict[str, Any]:
        if example == b"unreadable":
            return {"error": "this one cannot be read"}
        if example == b"broken":
            raise ValueError("a mistake in the model")
        label = hashlib.sha256(example).hexdigest()
        ranked = [{"label": f"{label}-{k}", "probability": 0.5} for k in range(min(top, 3))]
        first = {"label": label, "probability": 0.5, "top": ranked}
        return {**first, "set": [label], "note": None}

    def parts(self, example: bytes) -> list[Part]:
        if example == b"unreadable":
            raise Unreadable("example", "damaged", "this one cannot be read")
        return [Part((), example), *(Part((i, i + 1), example[:i]) for i in range(3))]

    def about(self) -> dict[str, Any]:
        told = {"task": "classification", "modality": self.modality, "explains": True}
        return {**told, "classes": ["a", "b"]}

    def card(self) -> str:
        return "# stand-in"


def opener(seconds: float, modality: str) -> Any:
    def open_one(path: Path) -> StandIn:
        try:
            text = path.read_text()
        except OSError as error:
            raise BundleError(f"{path}: {error}") from None
        if text.startswith("damaged"):
            raise BundleError(f"{path.name}: is damaged")
        return StandIn(text.strip(), seconds, modality=modality, sayable=modality == "text")

    return open_one


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--waiting", type=int, default=256)
    parser.add_argument("--deadline", type=float, default=30.0)
    parser.add_argument("--body", type=int, default=100_000)
    parser.add_argument("--token")
    parser.add_argument("--modality", default="text")
    parser.add_argument("--idle", type=float, default=server.IDLE_SECONDS)
    given = parser.parse_args()
    server.IDLE_SECONDS = given.idle
    limits = Limits(given.body, given.waiting, given.deadline, 16)
    models = open_all(given.models, opener(given.seconds, given.modality))
    service = Service(models, limits, 2, given.token, {"localhost", "127.0.0.1"})
    listening = bound("127.0.0.1", 0)

    def ready() -> None:
        print(f"serving on {url_of(listening)}", flush=True)

    run(service, listening, ready, lambda text: print(text, file=sys.stderr, flush=True))
    print("ended", flush=True)


if __name__ == "__main__":
    main()
