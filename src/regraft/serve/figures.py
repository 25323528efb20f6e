"""Metrics for Prometheus: requests, answers, waiting, memory."""

from collections.abc import Callable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from regraft.serve.answering import Models
from regraft.serve.waiting import Told

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH")

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Figures:
    """What was counted since the start; of one server, so that two in a process don't mix.

    paths    addresses that are counted by their names; others together
    waiting  how many examples wait just now
    """

    def __init__(self, paths: tuple[str, ...], waiting: Callable[[], int]) -> None:
        self._paths, self.registry = paths, CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        labels = ("method", "path", "status")
        self._requests = self._made(Counter, "requests", "Requests answered.", labels)
        self._answers = self._made(Counter, "examples", "Examples answered.", ("model",))
        self._waited = self._made(Histogram, "waited_seconds", "Before a worker was free.")
        self._worked = self._made(Histogram, "worked_seconds", "In one call to a model.")
        self._together = Histogram(
            "regraft_together", "Examples answered in one call to a model.",
            buckets=(1, 2, 4, 8, 16, 32), registry=self.registry,
        )  # fmt: skip
        self.reloads = self._made(Counter, "reloads", "Files read anew.", ("model", "outcome"))
        self._version = self._made(Gauge, "model_info", "Models served.", ("model", "version"))
        gauge = self._made(Gauge, "waiting", "Examples that wait.")
        gauge.set_function(waiting)

    def _made(self, kind: type, name: str, told: str, labels: tuple[str, ...] = ()) -> Any:
        more = {"buckets": SECONDS} if kind is Histogram else {}
        return kind(f"regraft_{name}", told, labels, registry=self.registry, **more)

    def seen(self, method: str, path: str, status: int) -> None:
        """One request was answered."""
        where = path if path in self._paths else "other"
        how = method if method in METHODS else "other"
        self._requests.labels(how, where, status).inc()

    def told(self, told: Told) -> None:
        """One call to a model was made."""
        self._answers.labels(told.served.name).inc(told.examples)
        self._waited.observe(told.waited)
        self._worked.observe(told.seconds)
        self._together.observe(told.examples)

    def text(self, models: Models) -> bytes:
        """All of it, as Prometheus reads it."""
        self._version.clear()
        for name, served in models.items():
            self._version.labels(name, served.now.version).set(1)
        return generate_latest(self.registry)
