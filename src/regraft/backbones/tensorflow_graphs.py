"""Graphs of TensorFlow as they are read and checked before anything in them runs.

Only for processes of their own: importing TensorFlow beside PyTorch brings libraries under the
same names.
"""

import os
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any

from regraft.backbones.savedmodel_operations import CONTAINED, refused
from regraft.errors import BackboneError

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
INPUT, OUTPUT = "examples", "features"  # of graphs that were made here


def tensorflow(lanes: int = 1, threads: int = 1) -> Any:
    """The library, on the CPU. `lanes` graphs run side by side, each by so many threads."""
    os.environ.update(QUIET)
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(lanes)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    return tf


def refuse_operations(nodes: Iterable[Any], own: Iterable[str], allowed: frozenset[str]) -> None:
    """Raise BackboneError where nodes hold operations that are not run.

    own  names of functions of the graph, which nodes may call like operations
    """
    from tensorflow.python.framework import op_def_registry

    functions = frozenset(own)

    def seen() -> Iterator[tuple[str, bool | None]]:
        for node in nodes:
            told = op_def_registry.get(node.op)
            if told is not None or node.op not in functions:  # a function may take its name
                yield node.op, None if told is None else bool(told.is_stateful)

    if reasons := refused(seen(), allowed):
        raise BackboneError(f"its graph has {'; '.join(reasons[:8])}: it is not run")


def opened(data: bytes) -> Any:
    """What runs a graph that was made here: a tensor of examples → their features.

    Raises BackboneError for a graph that does more than to compute.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except DecodeError as error:
        raise BackboneError(f"is no graph of TensorFlow: {error}") from error
    refuse_operations(all_nodes(graph), function_names(graph), CONTAINED)
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    return whole.prune(f"{INPUT}:0", f"{OUTPUT}:0")


# What a GraphDef keeps beside its nodes: functions and their gradients.
shelf = attrgetter("library")


def all_nodes(graph: Any) -> Iterator[Any]:
    """Those of a GraphDef and of all functions in it."""
    yield from graph.node
    for function in functions(graph).values():
        yield from function.node_def


def function_names(graph: Any) -> set[str]:
    """Of the functions of a GraphDef."""
    return set(functions(graph))


def functions(graph: Any) -> dict[str, Any]:
    """Those of a GraphDef, by name."""
    return {function.signature.name: function for function in shelf(graph).function}
