"""Latency: how long one answer takes, at one and at two threads, of several models in turn.

What is timed begins with the prepared example and ends with the answer: networks and head. Models
take turns at every answer, so that what else the machine does weighs on all of them alike.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from regraft.errors import Unreadable
from regraft.evaluation.before_after import ToldLatency
from regraft.model.encoded import prepared_views
from regraft.model.model import Model

THREADS = (1, 2)
WARM = 3  # answers before any is timed
FEWEST, MOST = 20, 200  # answers of each model that are timed at a number of threads
SECONDS = 1.5  # about so long for each model and number of threads, within these

Answer = Callable[[int], float]  # number of an example → when its networks were done


def latencies(models: Sequence[Model], examples: Sequence[bytes]) -> list[list[ToldLatency]]:
    """For each model its latencies at THREADS, on encoded examples; none without examples.

    Raises Unreadable where an example cannot be decoded.
    """
    if not examples:
        return [[] for _ in models]
    inputs = [_inputs(model, examples) for model in models]
    found: list[list[ToldLatency]] = [[] for _ in models]
    for threads in THREADS:
        answers = [_answer(m, own, threads) for m, own in zip(models, inputs, strict=True)]
        for place, taken in enumerate(_in_turn(answers, len(examples))):
            networks, whole = np.array(taken).T
            p50, p95 = (float(q) for q in np.percentile(whole, [50, 95]))
            found[place].append(
                ToldLatency(threads, p50, p95, float(np.median(networks)), len(taken))
            )
    return found


def _in_turn(answers: Sequence[Answer], examples: int) -> list[list[tuple[float, float]]]:
    """Seconds of each answer: of its networks, and of all; who begins changes every time."""
    for answer in answers:
        for number in range(WARM):
            answer(number % examples)
    taken: list[list[tuple[float, float]]] = [[] for _ in answers]
    until = time.perf_counter() + SECONDS * len(answers)
    for turn in range(MOST):
        if turn >= FEWEST and time.perf_counter() > until:
            break
        order = range(len(answers)) if turn % 2 else reversed(range(len(answers)))
        for place in order:
            begin = time.perf_counter()
            networks = answers[place](turn % examples)
            taken[place].append((networks - begin, time.perf_counter() - begin))
    return taken


def _inputs(model: Model, examples: Sequence[bytes]) -> list[list[list[Any]]]:
    """For each network and example what the network reads, once for each view."""
    errors: dict[int, str] = {}
    found = []
    for one in model.extractors:
        views = prepared_views(one.spec, model.modality, examples, errors)
        if errors:
            raise Unreadable("example", "unreadable", next(iter(errors.values())))
        found.append([[one.read(view) for view in some] for some in views])
    return found


def _answer(model: Model, inputs: list[list[list[Any]]], threads: int) -> Answer:
    engines = [one.engine_on(threads) for one in model.extractors]

    def answer(number: int) -> float:
        parts = []
        for engine, own in zip(engines, inputs, strict=True):
            seen = [engine.run(view) for view in own[number]]
            parts.append(seen[0] if len(seen) == 1 else np.mean(seen, axis=0))
        done = time.perf_counter()
        model.answer(np.concatenate(parts)[None])
        return done

    return answer
