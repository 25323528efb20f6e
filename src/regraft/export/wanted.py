"""What an exporter is given, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

Arrays = Sequence[npt.NDArray[Any]]
Run = Callable[[Arrays], list[npt.NDArray[np.float32]]]  # inputs → outputs; from several threads


@dataclass(frozen=True)
class Wanted:
    """What is to be written.

    module   such as `graph.Deployed`, in evaluation mode
    samples  an input each, for tracing
    names    of the inputs
    varying  for each input its axes whose length varies, 0 being the examples
    outputs  names of what the module gives, in its order
    """

    module: "nn.Module"
    samples: Sequence["Tensor"]
    names: Sequence[str]
    varying: Sequence[Sequence[int]]
    outputs: Sequence[str]


def by_number(names: Sequence[str]) -> list[str]:
    """Names that end in a number, such as ``output_0``, in the order of the numbers."""
    return sorted(names, key=lambda name: int(name.rpartition("_")[2]))
