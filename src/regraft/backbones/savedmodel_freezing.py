"""A SavedModel as one frozen graph that takes pixels and gives pooled features.

    python -m regraft.backbones.savedmodel_freezing FOLDER OUT

The folder OUT has ``asked.json``: the scale of the pixels, and a size for networks that read any.
Into it go ``graph.pb``, whose weights are constants, and ``told.json``: what was found out, or why
the model cannot be used. It is checked before it is loaded, for loading runs parts of it.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regraft.backbones.parity import difference
from regraft.backbones.savedmodel_operations import CONTAINED, LOADED
from regraft.backbones.tensorflow_graphs import (
    INPUT,
    OUTPUT,
    all_nodes,
    function_names,
    functions,
    opened,
    refuse_operations,
    shelf,
    tensorflow,
)
from regraft.errors import BackboneError

MODEL, SERVING = "saved_model.pb", "serving_default"
MOST_BYTES = 1_900_000_000  # of weights: a graph with its constants has at most 2 GiB
LIMIT = 1e-4  # how far the frozen graph may be from the model


class Signature(NamedTuple):
    """What a SavedModel offers for use.

    call     the function of TensorFlow
    name     of it
    argument name of its only input
    batch    examples that it takes at once; None: any number
    side     of the pictures that it reads; None: any
    dtype    of the pixels
    """

    call: Any
    name: str
    argument: str
    batch: int | None
    side: int | None
    dtype: Any


# --- what is loaded ------------------------------------------------------------------------------


def check(folder: Path) -> None:
    """Raise BackboneError where loading the model or running it could reach beyond it."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / MODEL).read_bytes())
    except DecodeError as error:
        raise BackboneError(f"{MODEL} is no SavedModel: {error}") from error
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].object_graph_def.nodes:
        raise BackboneError(
            "was written by TensorFlow 1 or holds several graphs; with TensorFlow 2 load it and "
            "write it again: tf.saved_model.save(model, FOLDER, signatures=...)"
        )
    nodes = list(loaded_nodes(saved.meta_graphs[0]))
    refuse_operations(nodes, function_names(saved.meta_graphs[0].graph_def), LOADED)


def loaded_nodes(meta: Any) -> list[Any]:
    """Nodes of all functions that objects of the model may call, or that TensorFlow may put in
    their place: those that say which interface they implement.

    Not those that only its own saving and restoring call, which TensorFlow 2 leaves alone.
    """
    known = functions(meta.graph_def)
    gradients = {one.function_name: one.gradient_func for one in shelf(meta.graph_def).gradient}
    todo, seen, nodes = list(meta.object_graph_def.concrete_functions), set(), []
    todo += [name for name, one in known.items() if "api_implements" in one.attr]
    while todo:
        name = todo.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        todo += [gradients[name]] if name in gradients else []
        for node in known[name].node_def:
            nodes.append(node)
            todo += [node.op, *_called(node)]
    return nodes


def _called(node: Any) -> list[str]:
    """Functions that a node's attributes name."""
    found = []
    for value in node.attr.values():
        found += [value.func.name] if value.HasField("func") else []
        found += [one.name for one in value.list.func] if value.HasField("list") else []
    return found


def signature_of(model: Any) -> Signature:
    """The one that serves. Raises BackboneError with what there is instead."""
    there = dict(model.signatures)
    if SERVING not in there and len(there) != 1:
        told = f"its signatures are {', '.join(sorted(there))}" if there else "it has no signature"
        raise BackboneError(f"{told}; expected {SERVING!r}, which tf.saved_model.save writes")
    name = SERVING if SERVING in there else next(iter(there))
    inputs = there[name].structured_input_signature[1]
    told = ", ".join(f"{key}: {one.dtype.name} {one.shape}" for key, one in inputs.items())
    if len(inputs) != 1 or (shape := next(iter(inputs.values())).shape).rank != 4:
        raise BackboneError(f"{name} reads {told}; expected pictures (n, height, width, 3)")
    ((argument, spec),) = inputs.items()
    batch, height, width, channels = shape.as_list()
    if channels != 3 or height != width or not (spec.dtype.is_floating or spec.dtype == "uint8"):
        raise BackboneError(
            f"{name} reads {told}; expected square pictures, (n, side, side, 3), float or uint8"
        )
    return Signature(there[name], name, argument, batch, height, spec.dtype)


# --- freezing ------------------------------------------------------------------------------------


def freeze(folder: Path, asked: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write ``graph.pb``; what is told of it. Raises BackboneError."""
    tf = tensorflow()
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    check(folder)
    model = tf.saved_model.load(str(folder))
    found = signature_of(model)
    weights = found.call.variables
    if sum(one.dtype.size * int(np.prod(one.shape)) for one in weights) > MOST_BYTES:
        raise BackboneError(f"has more than {MOST_BYTES:,} bytes of weights; use a smaller one")
    names = _in_order(found.call.structured_outputs)
    features = _features(tf, found, names, asked["scale"])
    asked_for = tf.TensorSpec((1, found.side, found.side, 3), tf.uint8, name=INPUT)
    frozen = convert_variables_to_constants_v2(
        tf.function(features, input_signature=[asked_for]).get_concrete_function()
    )
    made = _named(frozen.graph.as_graph_def(), frozen.outputs[0].op.name)
    refuse_operations(all_nodes(made), function_names(made), CONTAINED)
    data = made.SerializeToString(deterministic=True)
    size = found.side or asked["size"]
    widths = _proven(tf, opened(data), found, names, asked["scale"], size)
    (out / "graph.pb").write_bytes(data)
    return {
        "signature": found.name,
        "outputs": names,
        "widths": widths,
        "side": found.side,
        "raw": found.dtype == tf.uint8,
        "parameters": int(sum(int(np.prod(one.shape)) for one in weights)),
        "gflops": _operations(tf, made, size) / 1e9,
    }


def _in_order(outputs: Mapping[str, Any]) -> list[str]:
    """``output_2`` before ``output_10``."""
    return sorted(outputs, key=lambda name: [int(p) if p.isdigit() else p for p in _parts(name)])


def _parts(name: str) -> list[str]:
    return re.split(r"(\d+)", name)


def _features(
    tf: Any, found: Signature, names: Sequence[str], scale: Mapping[str, Any]
) -> Callable[[Any], Any]:
    """Pixels (1, side, side, 3) uint8 → (1, d), the outputs pooled and side by side."""

    def features(pixels: Any) -> Any:
        given = _scaled(tf, pixels, found, scale)
        given = given if found.batch in (None, 1) else tf.tile(given, (found.batch, 1, 1, 1))
        outputs = found.call(**{found.argument: given})
        return tf.concat([_pooled(tf, name, outputs[name][:1]) for name in names], 1)

    return features


def _scaled(tf: Any, pixels: Any, found: Signature, scale: Mapping[str, Any]) -> Any:
    """As the model reads pixels: `network.Normalise` in TensorFlow."""
    if found.dtype == tf.uint8:
        return pixels
    mean, std = (np.asarray(scale[name], np.float32) for name in ("mean", "std"))
    scaled = (tf.cast(pixels, tf.float32) - mean * 255) * (1 / (std * 255)).astype(np.float32)
    return tf.cast(scaled[..., ::-1] if scale["order"] == "bgr" else scaled, found.dtype)


def _pooled(tf: Any, name: str, output: Any) -> Any:
    """Maps (n, h, w, d) and tokens (n, t, d) averaged over their places."""
    if output.shape.rank not in (2, 3, 4) or not output.dtype.is_floating:
        raise BackboneError(
            f"its output {name} is {output.dtype.name} {output.shape}; expected features (n, d), "
            "maps (n, height, width, d) or tokens (n, places, d)"
        )
    output = tf.cast(output, tf.float32)
    return tf.reduce_mean(output, list(range(1, output.shape.rank - 1)))


def _named(graph: Any, last: str) -> Any:
    """The graph, whose last operation has the name that it has in all graphs made here."""
    for node in graph.node:
        node.name = OUTPUT if node.name == last else node.name
    return graph


def _proven(
    tf: Any,
    run: Callable[[Any], Any],
    found: Signature,
    names: Sequence[str],
    scale: Mapping[str, Any],
    size: int,
) -> list[int]:
    """The widths of the outputs, once the frozen graph was seen to give what the model gives."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    given = _scaled(tf, tf.constant(pixels), found, scale)
    given = tf.repeat(given, found.batch or 1, axis=0)
    outputs = found.call(**{found.argument: given})
    theirs = [_pooled(tf, name, outputs[name])[:1].numpy() for name in names]
    widths = [one.shape[1] for one in theirs]
    apart = difference(
        np.concatenate(theirs, 1)[0], run(tf.constant(pixels)).numpy()[0], tuple(widths)
    )
    if not apart <= LIMIT:
        raise BackboneError(f"frozen it gives other features (by {apart:.2g}) than as it was")
    return widths


def _operations(tf: Any, graph: Any, size: int) -> float:
    """Floating-point operations for one picture; at least one, for what is counted nowhere."""
    profiler = tf.compat.v1.profiler
    with tf.Graph().as_default() as whole:
        pixels = tf.compat.v1.placeholder(tf.uint8, (1, size, size, 3))
        tf.graph_util.import_graph_def(graph, input_map={f"{INPUT}:0": pixels}, name="")
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    told = profiler.profile(whole, options=options.with_empty_output().build())
    return float(max(1, told.total_float_ops))


def main() -> None:
    """See above."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        told = freeze(folder, json.loads((out / "asked.json").read_bytes()), out)
    except BackboneError as error:
        told = {"refused": str(error)}
    (out / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
