"""What an operation of PyTorch is drawn on: tensors and layers of Keras.

PyTorch's pictures are (n, c, h, w), Keras' (n, h, w, c). A value is turned only where an operation
needs the other order: from one convolution to the next it stays as Keras reads it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, fx

from regraft.errors import RegraftError

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
PLACES = {0: 0, 1: 3, 2: 1, 3: 2}  # of (n, c, h, w) in (n, h, w, c)


class Value(NamedTuple):
    """A tensor of PyTorch, as Keras has it.

    last  whether (n, c, h, w) is held as (n, h, w, c)
    """

    tensor: Any
    last: bool = False

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.tensor.shape)

    def axis(self, number: int) -> int:
        """Where an axis of PyTorch's is."""
        number %= self.rank
        return PLACES[number] if self.last else number


class Drawing:
    """What rows draw on: the library, the operation that is drawn, and weights.

    start  an input of the model; weights that no layer holds hang on it
    """

    node: fx.Node

    def __init__(self, library: Any, start: Any) -> None:
        self.ops, self.layers, self._start = library.ops, library.layers, start
        self._zero: Any = None

    def layer(self, kind: str, tensor: Any, weights: Sequence[Tensor | None], **told: Any) -> Any:
        """What a layer of that kind, named after the operation, makes of a tensor."""
        made = getattr(self.layers, kind)(name=self.node.name.lstrip("_"), **told)
        found = made(tensor)
        made.set_weights([one.numpy() for one in weights if one is not None])
        return found

    def first(self, value: Any) -> Any:
        """A tensor with its axes in PyTorch's order."""
        if isinstance(value, Tensor):
            return self.weight(value)
        return self.ops.transpose(value.tensor, TO_FIRST) if value.last else value.tensor

    def pictures(self, value: Any) -> Any:
        """A tensor (n, h, w, c)."""
        if isinstance(value, Tensor):
            return self.weight(value.permute(TO_LAST))
        return value.tensor if value.last else self.ops.transpose(value.tensor, TO_LAST)

    def weight(self, value: Tensor) -> Any:
        """A weight that no layer of Keras has: the one row of an embedding."""
        if not value.ndim or not value.is_floating_point():
            return value.tolist()
        if self._zero is None:
            flat = self.ops.reshape(self._start, (-1,))
            self._zero = self.ops.zeros_like(self.ops.slice(flat, (0,), (1,)), dtype="int32")
        table = self.layers.Embedding(1, value.numel())
        row = table(self._zero)
        table.set_weights([value.reshape(1, -1).numpy()])
        return self.ops.reshape(row, tuple(value.shape))

    def refused(self, why: str) -> RegraftError:
        """For what a row cannot draw."""
        return RegraftError(
            f"this model cannot be written for Keras: {self.node.name}: {why}; use --to onnx, "
            "openvino or litert"
        )
