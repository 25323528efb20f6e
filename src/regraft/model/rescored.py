"""A fresh process that re-scores examples from their bytes by an export: the proof of parity.

    python -m regraft.model.rescored FOLDER < {"files": [...], "trusted": SHA-256 of the graph,
                                               "together": true, "kept": folder}

It prints one JSON document: for each file the answer as `predict` gives it and the SHA-256 of what
the graph was given, or why it cannot be read; and how far examples that are run together differ
from each alone. What the graph gave lies in the folder, NUMBER.npz for each file.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.data.inline import contents
from regraft.export.wanted import Arrays
from regraft.model.exported import Graph, load_exported
from regraft.model.predict import predict_in_turn

TOGETHER = 3  # examples that are run at once
Call = tuple[list[Any], list[Any]]  # inputs and outputs


def inputs_sha(inputs: Sequence[Any]) -> str:
    """SHA-256 of all that the graph was given of one example."""
    whole = hashlib.sha256()
    for one in inputs:
        whole.update(f"{one.dtype} {one.shape} ".encode() + np.ascontiguousarray(one).tobytes())
    return whole.hexdigest()


def kept_outputs(folder: Path, number: int) -> list[list[Any]]:
    """What the graph gave of a file: for each call its outputs."""
    calls: dict[int, list[Any]] = {}
    with np.load(folder / f"{number}.npz") as arrays:
        for name in arrays.files:
            calls.setdefault(int(name.partition("-")[0]), []).append(arrays[name])
    return list(calls.values())


def rescored(model: Any, files: Sequence[str], together: bool, kept: Path) -> dict[str, Any]:
    """What is printed; see above."""
    graph: Graph = model.graph
    calls: list[Call] = []

    def run(inputs: Arrays) -> Any:
        outputs = graph.run(inputs)
        calls.append((list(inputs), [np.array(one) for one in outputs]))
        return outputs

    watched = replace(model, graph=replace(graph, run=run))
    rows: list[dict[str, Any]] = []
    alike: dict[tuple[Any, ...], list[Call]] = {}
    for number, file in enumerate(files):
        calls.clear()
        (answer,) = predict_in_turn(watched, contents(file))
        if answer.error is not None:
            rows.append({"error": answer.error})
            continue
        given = [one for inputs, _ in calls for one in inputs]
        rows.append({"answer": answer.to_dict(), "inputs": inputs_sha(given)})
        _keep(kept / f"{number}.npz", calls)
        some = alike.setdefault(tuple(one.shape for one in calls[0][0]), [])
        if together and len(some) < TOGETHER:
            some.append(calls[0])
    return {"rows": rows, "together": max((_apart(graph, s) for s in alike.values()), default=0.0)}


def _keep(file: Path, calls: Sequence[Call]) -> None:
    pairs = [(i, k, one) for i, (_, outputs) in enumerate(calls) for k, one in enumerate(outputs)]
    np.savez(file, **{f"{i}-{k}": one for i, k, one in pairs})


def _apart(graph: Graph, some: Sequence[Call]) -> float:
    """Largest difference of the first output when examples are run at once, in its size."""
    if len(some) < 2:
        return 0.0
    stacked = [np.concatenate(each) for each in zip(*(inputs for inputs, _ in some), strict=True)]
    alone = np.concatenate([outputs[0] for _, outputs in some])
    try:
        apart = np.abs(np.asarray(graph.run(stacked)[0]) - alone).max()
        return float(apart / max(1.0, np.abs(alone).max()))
    except Exception:  # a graph with a fixed number of examples in it
        return float("inf")


def main() -> None:
    """See above."""
    asked = json.load(sys.stdin)
    model = load_exported(Path(sys.argv[1]), asked["trusted"])
    found = rescored(model, asked["files"], asked["together"], Path(asked["kept"]))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
