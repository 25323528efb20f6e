"""How near one pass over pictures comes to what this machine can do.

    python benchmarks/extraction.py FOLDER --size 128 --json out.json

Extraction is two kinds of work for the cores: decoding and preparing each picture, and the network.
Both are measured alone on the same pictures, the network on pictures that lie ready in memory, on
all cores, and decoding in one thread. Cores divided by the sum of their core-seconds is the bound:
a pass that keeps all cores at work, and does nothing else, reaches it. The pass starts with an
empty store and an open network; hashing the files and writing the store are in its time. Rounds
alternate, since the speed of a machine drifts; the ratio is the median over rounds.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from regraft.backbones.catalog import DEFAULT, find
from regraft.backbones.engines import Pixels, lanes
from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.modalities.image import MODALITY

GOAL = 0.9


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def prepared(one: Extractor, files: Sequence[tuple[str, bytes]]) -> list[list[Pixels]]:
    """The views of every picture."""
    made = []
    for name, data in files:
        raw = MODALITY.decode(data, name, one.spec).raw
        made.append([MODALITY.prepare(raw, one.spec, view) for view in one.spec.views])
    return made


def network_alone(one: Extractor, views: Sequence[Pixels], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        return seconds(lambda: list(pool.map(one.engine.run, views)))


def whole_pass(one: Extractor, paths: Sequence[Path]) -> float:
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store") as store:
        return seconds(lambda: pass_over(paths, MODALITY, store, one))


def one_round(
    one: Extractor,
    paths: Sequence[Path],
    files: Sequence[tuple[str, bytes]],
    views: Sequence[Pixels],
) -> dict[str, float]:
    """Core-milliseconds a picture of the parts, and pictures per second."""
    count, cores = len(paths), lanes()
    network = min(network_alone(one, views, threads) for threads in (cores, cores + 1))
    decoding = seconds(lambda: prepared(one, files))
    extracted = count / whole_pass(one, paths)
    bound = cores / (cores * network / count + decoding / count)
    return {
        "network_core_ms": 1e3 * cores * network / count,
        "decoding_core_ms": 1e3 * decoding / count,
        "bound_per_s": bound,
        "pass_per_s": extracted,
        "ratio": extracted / bound,
    }


def measure(one: Extractor, paths: Sequence[Path], rounds: int) -> dict[str, Any]:
    files = [(path.name, path.read_bytes()) for path in paths]
    views = [view for all_views in prepared(one, files) for view in all_views]
    whole_pass(one, paths)  # a warm-up of everything
    measured = [one_round(one, paths, files, views) for _ in range(rounds)]
    medians = {name: statistics.median(r[name] for r in measured) for name in measured[0]}
    return {
        "backbone": one.row.name,
        "size": one.spec.size,
        "engine": one.engine_name,
        "cores": lanes(),
        "pictures": len(paths),
        "goal": GOAL,
        **medians,
        "rounds": measured,
    }


def show(result: dict[str, Any]) -> None:
    print(
        "{backbone} at {size} px by {engine}, {pictures} pictures, {cores} cores".format(**result)
    )
    print("  network   {network_core_ms:7.2f} core-ms a picture".format(**result))
    print("  decoding  {decoding_core_ms:7.2f} core-ms a picture".format(**result))
    print("  bound     {bound_per_s:7.1f} pictures/s".format(**result))
    print("  pass      {pass_per_s:7.1f} pictures/s".format(**result))
    each = ", ".join(f"{r['ratio']:.3f}" for r in result["rounds"])
    print("  ratio     {ratio:7.3f} (goal {goal}); rounds: ".format(**result) + each)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="pictures, in any depth of folders")
    parser.add_argument("--size", type=int, default=128, help="pixels (default 128)")
    parser.add_argument("--backbone", default=DEFAULT)
    parser.add_argument("--engine", help="the fastest by default")
    parser.add_argument("--rounds", type=int, default=5, help="at least 3 (default 5)")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    asked = parser.parse_args(arguments)
    if asked.rounds < 3:
        parser.error("--rounds: a median needs at least 3")
    found = sorted(asked.folder.rglob("*"))
    paths = [p for p in found if p.suffix.lower().lstrip(".") in MODALITY.extensions]
    if not paths:
        print(f"skipped: there are no pictures in {asked.folder}")
        return 0
    row = find(asked.backbone)
    result = measure(extractor(row, row.spec.at(asked.size), asked.engine), paths, asked.rounds)
    show(result)
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
