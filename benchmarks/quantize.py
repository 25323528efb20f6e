"""Whole numbers of 8 bits: what a model loses, how much smaller and faster it becomes.

    python benchmarks/quantize.py --pictures DATA_FOLDER --texts TRAIN.csv --json out.json

DATA_FOLDER has train/ and validation/ with one folder per class; TRAIN.csv has the columns text and
category. A probe is fitted on each, then quantized by each method with the head solved anew or
kept. Times are of the networks in turn with those of the same engine in single precision.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import portions

import regraft
from regraft.data.inline import contents
from regraft.model.model import Model
from regraft.verbs.latency import latencies

# Of pictures and of texts: what is tried, the first one is the default.
TRIED = {
    "pictures": (("static", "refit"), ("static", "keep"), ("weights", "refit")),
    "texts": (("dynamic", "refit"), ("dynamic", "keep"), ("static", "refit")),
}
GOALS = {"pictures": (1.6, 0.5, 0.3), "texts": (1.8, 0.5, 1.0)}  # faster, points lost, bytes
KEYS = ("data", "method", "head")


def measured(model: Model, method: str, head: str, like: list[bytes]) -> dict[str, Any]:
    """One way to quantize, against the same engine in single precision."""
    small = regraft.quantize(model, method=method, head=head, max_drop=None)
    record = small.record["before_after"]
    engine = small.extractors[0].engine_name
    plain = _by(model, engine)
    before, after = latencies([plain, small], like)
    return {
        "method": method,
        "head": head,
        "engine": engine,
        "n": record["n"],
        "accuracy": [record[side]["score"] for side in ("before", "after")],
        "points_lost": {end: 100 * v for end, v in record["lost"].items()},
        "ece": [record[side]["ece"]["value"] for side in ("before", "after")],
        "bytes": [record[side]["bytes"] for side in ("before", "after")],
        "networks_ms": [[1000 * row.networks for row in side] for side in (before, after)],
        "faster_networks": [b.networks / a.networks for b, a in zip(before, after, strict=True)],
        "faster_answers": [b.p50 / a.p50 for b, a in zip(before, after, strict=True)],
    }


def _by(model: Model, engine: str) -> Model:
    from dataclasses import replace

    networks = tuple(replace(one, engine_name=engine) for one in model.extractors)
    return replace(model, extractors=networks)


def figures(rows: list[portions.Row]) -> dict[str, Any]:
    """The goals, by the default method of each kind of data."""
    found = []
    for data, (faster, points, share) in GOALS.items():
        own = [r for r in rows if (r["data"], r["method"], r["head"]) == (data, *TRIED[data][0])]
        ratio = own and own[0]["faster_networks"][0]
        lost = own and own[0]["points_lost"]["value"]
        size = own and own[0]["bytes"][1] / own[0]["bytes"][0]
        found += [
            {
                "what": f"{data}: times faster",
                "goal": faster,
                "found": ratio or None,
                "met": ratio >= faster if own else None,
            },
            {
                "what": f"{data}: points lost",
                "goal": points,
                "found": lost if own else None,
                "met": lost <= points if own else None,
            },
            {
                "what": f"{data}: of the bytes",
                "goal": share,
                "found": size or None,
                "met": size <= share if own else None,
            },
        ]
    return {"figures": found}


def fitted(data: str, source: Path, size: int) -> Model:
    asked: dict[str, Any] = {"strategy": ("probe",)}
    if data == "pictures":
        return regraft.fit(source, backbone="efficientnet-lite0", size=size, **asked)
    return regraft.fit(source, backbone="minilm-l6", label="category", text="text", **asked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--size", type=int, default=128)
    portions.add_arguments(parser)
    asked = parser.parse_args()
    found = portions.Portions(asked.json, {"size": asked.size}, KEYS, asked.max_seconds)
    for data, source in {"pictures": asked.pictures, "texts": asked.texts}.items():
        if source is None or not source.exists():
            print(f"skipped: no {data}")
            continue
        todo = [pair for pair in TRIED[data] if not found.has(data, *pair)]
        model = fitted(data, source, asked.size) if todo and not found.over else None
        for method, head in todo if model else ():
            if not found.over:
                like = _some(model)
                found.add({"data": data, **measured(model, method, head, like)}, summary=figures)
    print(portions.told(figures(found.rows)["figures"]))
    return 0


def _some(model: Model, count: int = 8) -> list[bytes]:
    """Examples that are timed."""
    from regraft.verbs.unseen import divided_for, examples_of

    unseen = divided_for(model, examples_of(model)).unseen
    order = np.random.default_rng(0).permutation(len(unseen))[:count]
    return [contents(unseen.table["path"][int(i)]) for i in order]


if __name__ == "__main__":
    sys.exit(main())
