"""A fresh process that re-scores examples from their bytes by an export: the proof of parity.

    python -m regraft.model.rescored FOLDER < {"files": [...], "trusted": SHA-256 of the graph}

It prints one JSON document: for each file its outputs and the SHA-256 of what the graph was given,
or why it cannot be read; and how far examples that are run together differ from each alone.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regraft.data.inline import contents
from regraft.errors import Unreadable
from regraft.model.exported import Exported, Graph, load_exported

TOGETHER = 3  # examples that are run at once


def inputs_sha(inputs: Sequence[Any]) -> str:
    """SHA-256 of the inputs of one example."""
    whole = hashlib.sha256()
    for one in inputs:
        whole.update(f"{one.dtype} {one.shape} ".encode() + np.ascontiguousarray(one).tobytes())
    return whole.hexdigest()


def rescored(model: Exported, files: Sequence[str], together: bool) -> dict[str, Any]:
    """What is printed; see above."""
    graph = model.graph
    assert graph is not None
    rows: list[dict[str, Any]] = []
    alike: dict[tuple[Any, ...], list[tuple[list[Any], Any]]] = {}
    for file in files:
        try:
            inputs = graph.inputs(model.modality, contents(file))
        except Unreadable as error:
            rows.append({"error": error.reason})
            continue
        outputs = [np.asarray(one) for one in graph.run(inputs)]
        told = [np.ravel(one[:1]).astype(float).tolist() for one in outputs]
        rows.append({"outputs": told, "inputs": inputs_sha(inputs)})
        some = alike.setdefault(tuple(one.shape for one in inputs), [])
        if together and len(some) < TOGETHER:
            some.append((inputs, outputs[0]))
    return {"rows": rows, "together": max((_apart(graph, s) for s in alike.values()), default=0.0)}


def _apart(graph: Graph, some: Sequence[tuple[list[Any], Any]]) -> float:
    """Largest difference of probabilities when examples are run at once."""
    if len(some) < 2:
        return 0.0
    stacked = [np.concatenate(each) for each in zip(*(inputs for inputs, _ in some), strict=True)]
    alone = np.concatenate([probabilities for _, probabilities in some])
    try:
        return float(np.abs(np.asarray(graph.run(stacked)[0]) - alone).max())
    except Exception:  # a graph with a fixed number of examples in it
        return float("inf")


def main() -> None:
    """See above."""
    asked = json.load(sys.stdin)
    model = load_exported(Path(sys.argv[1]), asked["trusted"])
    found = rescored(model, asked["files"], asked["together"])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
