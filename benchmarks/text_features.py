"""Features of texts: against the engine alone, and beside sentence-transformers, same weights.

    OMP_NUM_THREADS=2 python benchmarks/text_features.py FOLDER --json out.json

FOLDER has train.csv with a column text. In turns: the whole pass (hash, look, tokens, network,
store) into an empty store; the engine alone on the same batches of tokens, on all its lanes; and
`SentenceTransformer.encode` of the weights of the package, whose one embedding a text is one block
of ours.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import portions


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def batches(lengths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """(texts, tokens) of each batch of equal length, as large as may be."""
    found = []
    for length, count in zip(*np.unique(lengths, return_counts=True), strict=True):
        found += [(min(most, count - i), int(length)) for i in range(0, count, most)]
    return [(int(n), length) for n, length in found]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if not (asked.folder / "train.csv").is_file():
        print(f"skipped: {asked.folder} has no train.csv")
        return 0
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        print("skipped: sentence-transformers is not installed")
        return 0
    from regraft.backbones.catalog import DEFAULTS, find
    from regraft.backbones.engines import AT_ONCE
    from regraft.backbones.extractor import extractor
    from regraft.backbones.features import pass_over
    from regraft.backbones.store import Store
    from regraft.backbones.weights import row_file
    from regraft.data.inline import inline_text
    from regraft.data.sources import load
    from regraft.modalities import modality

    row, kind = find(DEFAULTS["text"]), modality("text")
    files = load(str(asked.folder / "train.csv")).table["path"].to_list()[: asked.texts]
    texts = [inline_text(file) or "" for file in files]
    one = extractor(row, row.spec)
    lengths = [len(one.read(np.frombuffer(text.encode(), np.uint8))) for text in texts]
    rng = np.random.default_rng(0)
    tokens = [rng.integers(1000, 20000, shape) for shape in batches(lengths, AT_ONCE)]
    peer = SentenceTransformer(str(row_file(row, row.config).parent), device="cpu")

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store") as store:
            pass_over(files, kind, store, one)

    def engine() -> None:
        with ThreadPoolExecutor(one.engine.lanes) as pool:
            list(pool.map(one.engine.run_together, tokens))

    ways = {
        "regraft": ours,
        "engine_alone": engine,
        "sentence_transformers": lambda: peer.encode(texts, show_progress_bar=False),
    }
    engine()  # each shape once: the engine prepares itself for it
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, work in ways.items():
            spent[name].append(seconds(work))
    rates = {name: len(set(texts)) / statistics.median(s) for name, s in spent.items()}
    found: dict[str, Any] = {
        "machine": portions.machine(),
        "texts": len(set(texts)),
        "tokens_mean": float(np.mean(lengths)),
        "engine": one.engine_name,
        "texts_per_second": rates,
        "share_of_bound": rates["regraft"] / rates["engine_alone"],
        "against_sentence_transformers": rates["regraft"] / rates["sentence_transformers"],
        "seconds": spent,
    }
    return portions.finish(found, asked.json)


if __name__ == "__main__":
    sys.exit(main())
