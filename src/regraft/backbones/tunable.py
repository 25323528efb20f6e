"""What training needs to know of a network with something new on top."""

from typing import Any

from torch import Tensor, nn

from regraft.backbones.network import FrozenNetwork


class Tunable(nn.Module):
    """A pretrained network with something on top, both of which may learn.

    network  its parameters are trained in place: it must be nobody else's
    halves   what it is taken apart into, while it is
    """

    network: FrozenNetwork
    halves: Any = None

    @property
    def top(self) -> nn.Module:
        """What is new."""
        raise NotImplementedError

    def join(self) -> None:
        """Put together what was taken apart."""

    def body(self) -> dict[str, Tensor]:
        """The state of the pretrained network itself, under the names of its library."""
        return {name: t.detach() for name, t in self.network.module.state_dict().items()}
