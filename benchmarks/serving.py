"""Serving: throughput and waiting times under many clients, overload, memory, one picture alone.

    python -m benchmarks.serving --model out/model.regraft --pictures photos/ --json serving.json

Rows: `alone` (one picture warm from Python against decoding and the engine), `engine` (its own rate
with all cores), `clients` (64 of them: lost and mixed-up answers, growth of memory), `overload`
(--overload times what was answered, asked at an even pace whatever comes back; how fast a refusal
is, whether it tells when to try again, and how soon all is well afterwards). For clean figures: a
quiet machine and --seconds 300.
"""

import argparse
import http.client
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from portions import machine

from regraft.backbones.engines import lanes
from regraft.modalities import modality
from regraft.model.model import Model
from regraft.model.offered import Offered
from regraft.model.predict import MEMORY, predict_encoded

Row = dict[str, Any]
WARM = 3.0  # seconds before anything counts


class Served:
    """The program in a process of its own."""

    def __init__(self, model: Path, *options: object) -> None:
        command = [sys.executable, "-m", "regraft", "serve", str(model), "--port", "0"]
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, *map(str, options)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("serving on "):
                parts = urlsplit(line.split()[2])
                break
        self.ready = time.perf_counter() - start
        self.address = (str(parts.hostname), int(parts.port or 0))
        self.memory = psutil.Process(self.process.pid).memory_info

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)


def load(
    served: Served,
    pictures: Sequence[bytes],
    expected: Sequence[Any],
    clients: int,
    seconds: float,
    every: float = 0.0,
) -> Row:
    """Clients that ask one after the other, each on a connection that stays.

    every  seconds from one question of a client to its next, whatever comes back; 0: at once after
           an answer
    """
    begin = time.perf_counter()
    until = begin + WARM + seconds
    counts: Counter[str] = Counter()
    times: dict[int, list[float]] = {200: [], 503: []}
    turn, memory = threading.Lock(), []

    def client(number: int) -> None:
        rng = random.Random(number)
        connection = http.client.HTTPConnection(*served.address, timeout=120)
        due = begin + every * number / clients
        while (start := time.perf_counter()) < until:
            if start < due:
                time.sleep(min(due, until) - start)
                continue
            due += every
            which = rng.randrange(len(pictures))
            try:
                connection.request(
                    "POST", "/v1/predict", pictures[which], {"Content-Type": "image/jpeg"}
                )
                answer = connection.getresponse()
                body = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                with turn:
                    counts["lost"] += 1
                continue
            spent = time.perf_counter() - start
            with turn:
                counts[str(answer.status)] += 1
                if start > until - seconds:
                    times.setdefault(answer.status, []).append(spent)
                if answer.status == 200 and body["probability"] != expected[which]:
                    counts["mixed up"] += 1
                if answer.status == 503 and not answer.getheader("Retry-After"):
                    counts["without Retry-After"] += 1

    def watch() -> None:
        time.sleep(WARM)
        while time.perf_counter() < until:
            memory.append(served.memory().rss)
            time.sleep(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    watcher.join()
    return {
        "clients": clients,
        "seconds": seconds,
        "rate": round(len(times[200]) / seconds, 2),
        **_spread("", times[200]),
        **_spread("refused_", times[503]),
        "counts": dict(counts),
        "lost": counts["lost"],
        "mixed_up": counts["mixed up"],
        "memory_growth": round(memory[-1] / memory[0] - 1, 4) if memory else None,
    }


def overload(
    served: Served, pictures: Sequence[bytes], expected: Sequence[Any], rate: float, given: Any
) -> Row:
    """More questions than can be answered, and how soon one is answered as before afterwards.

    rate  of answers that the program gives, a second
    """
    clients, offered = round(given.overload * given.clients), given.overload * rate
    some = min(60.0, given.seconds)
    row = load(served, pictures, expected, clients, some, every=clients / offered)
    end, patient = time.perf_counter(), 2 * given.clients / rate
    while True:
        start = time.perf_counter()
        connection = http.client.HTTPConnection(*served.address, timeout=120)
        connection.request("POST", "/v1/predict", pictures[0], {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status == 200 and time.perf_counter() - start < patient:
            break
    asked = sum(n for name, n in row["counts"].items() if name.isdigit())
    told = {"times": given.overload, "offered": round(offered, 2)}
    sent = {"sent": round(asked / (WARM + some), 2)}
    return {**told, **sent, **row, "recovery_seconds": round(time.perf_counter() - end, 2)}


def _spread(name: str, seconds: Sequence[float]) -> Row:
    if not seconds:
        return {}
    p50, p99 = np.percentile(seconds, [50, 99])
    return {
        f"{name}p50_ms": round(1000 * p50, 1),
        f"{name}p99_ms": round(1000 * p99, 1),
        f"{name}max_ms": round(1000 * max(seconds), 1),
    }


def alone(model: Model, picture: bytes, count: int) -> Row:
    """One picture after the other in this process: the whole answer, and its parts."""
    kind = modality(model.modality)

    def parts() -> list[Any]:
        prepared = []
        for one in model.extractors:
            raw = kind.decode(picture, MEMORY, one.spec).raw
            prepared.append([one.read(kind.prepare(raw, one.spec, v)) for v in one.spec.views])
        return prepared

    examples = parts()

    def run() -> None:
        for one, views in zip(model.extractors, examples, strict=True):
            for view in views:
                one.engine.run(view)

    whole = _median(lambda: predict_encoded(model, [picture]), count)
    decode, engine = _median(parts, count), _median(run, count)
    ratio = whole / (decode + engine)
    told = {"answer": whole, "decode": decode, "engine": engine}
    return {f"{k}_ms": round(1000 * v, 3) for k, v in told.items()} | {"ratio": round(ratio, 3)}


def _median(call: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def engine_rate(model: Model, pictures: Sequence[bytes], seconds: float) -> Row:
    """Answers a second in this process with a thread a core: decoding, engine and head."""
    until = time.perf_counter() + seconds

    def work(number: int) -> int:
        done = 0
        while time.perf_counter() < until:
            predict_encoded(model, [pictures[(number + done) % len(pictures)]])
            done += 1
        return done

    def bare(number: int) -> int:
        done = 0
        while time.perf_counter() < until:
            for one in model.extractors:
                example = np.zeros((one.spec.size, one.spec.size, 3), np.uint8)
                for _ in one.spec.views:
                    one.engine.run(example)
            done += 1
        return done

    with ThreadPoolExecutor(lanes()) as pool:
        whole = sum(pool.map(work, range(lanes()))) / seconds
        until = time.perf_counter() + seconds
        network = sum(pool.map(bare, range(lanes()))) / seconds
        return {"rate": round(whole, 2), "network_alone": round(network, 2)}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--overload", type=float, default=5.0, metavar="TIMES")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(words)
    files = [f for f in sorted(given.pictures.rglob("*")) if re.search(r"(?i)\.jpe?g$", f.name)]
    if not files or not given.model.is_file():
        print(f"skipped: there is no {given.model}, or no JPEG in {given.pictures}")
        return
    pictures = [f.read_bytes() for f in random.Random(0).sample(files, min(200, len(files)))]
    model = Offered.open(given.model).model
    expected = [one.probability for one in predict_encoded(model, pictures)]
    rows: dict[str, Row] = {"alone": alone(model, pictures[0], 50)}
    rows["engine"] = engine_rate(model, pictures, min(10.0, given.seconds))
    with Served(given.model) as served:
        rows["ready"] = {"seconds": round(served.ready, 2)}
        rows["clients"] = load(served, pictures, expected, given.clients, given.seconds)
    with Served(given.model, "--queue", 16) as served:
        rate = rows["clients"]["rate"]
        rows["overload"] = overload(served, pictures, expected, rate, given)
    p99 = rows["clients"].get("p99_ms", 0) / 1000
    rows["summary"] = {
        "of_the_engine": round(rate / rows["engine"]["rate"], 3),
        "p99_in_64_over_rate": round(p99 * rate / given.clients, 2),
        "goodput": round(rows["overload"]["rate"] / rate, 3),
    }
    for name, row in rows.items():
        print(name, json.dumps(row))
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
