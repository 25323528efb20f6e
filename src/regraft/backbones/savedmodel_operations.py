"""Which operations a graph of TensorFlow may hold: those that compute, and no others.

A graph is a program: there are operations that read and write files, run Python, open connections
or load libraries. Most of these TensorFlow calls stateful; the others are known by their names.
"""

import re
from collections.abc import Iterable, Iterator

# By their names, for TensorFlow does not call all of them stateful.
REACHES_OUT = re.compile(
    r".*(?:File|Save|Restore|PyFunc|Reader|Dataset|Iterator|Checkpoint|Vocab|LoadAndRemap|Record"
    r"|Debug|Dump|Send|Recv|Rpc|Remote|Collective|Nccl|ImmutableConst|CustomCall|Mlir|Summary"
    r"|TPU|EncodeProto|DecodeProto|Batch(?:Function|$)|Abort|Sleep).*"
    r"|Copy|CopyHost|Skipgram|_(?!Fused|Mkl).*"
)
# Stateful, and yet nothing leaves the network: control flow, arrays of steps, checks.
CONTAINED = frozenset(
    {"StatefulPartitionedCall", "If", "While", "Case", "Assert", "CheckNumerics"}
    | {f"TensorArray{what}V3" for what in ("", "Read", "Write", "Gather", "Scatter", "Size")}
    | {f"TensorArray{what}V3" for what in ("Close", "Concat", "Split")}
)
# While a SavedModel is loaded: its weights, and what layers do only where they are trained.
LOADED = CONTAINED | {
    *("VarHandleOp", "ReadVariableOp", "VariableShape", "VarIsInitializedOp", "DisableCopyOnRead"),
    *("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"),
    *("ResourceGather", "ResourceGatherNd"),
    *("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal"),
    *("StatelessRandomGetAlg", "RandomShuffle", "Multinomial"),
}


def why_refused(name: str, stateful: bool | None, allowed: frozenset[str]) -> str:
    """Why a graph with this operation is not run; empty where nothing speaks against it.

    stateful  as TensorFlow calls it; None: TensorFlow does not know it
    allowed   stateful ones that may be there
    """
    if stateful is None:
        return f"{name}, which TensorFlow does not have"
    if REACHES_OUT.fullmatch(name):
        return f"{name}, which can reach files, other programs or the network"
    if stateful and name not in allowed:
        return f"{name}, which keeps a state or reaches beyond the network"
    return ""


def refused(operations: Iterable[tuple[str, bool | None]], allowed: frozenset[str]) -> list[str]:
    """All reasons of `why_refused`, each once, in the order of the names."""

    def reasons() -> Iterator[str]:
        for name, stateful in sorted(set(operations), key=lambda one: one[0]):
            if why := why_refused(name, stateful, allowed):
                yield why

    return list(reasons())
