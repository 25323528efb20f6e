"""A transcriber as one PyTorch module for other runtimes: sounds → characters."""

from torch import Tensor, nn


class DeployedTranscriber(nn.Module):
    """(n, ...) sounds of one length, as the network hears them → the OUTPUTS:

    probabilities  (n, moments, characters + 1), the first one for no character
    """

    OUTPUTS = ("probabilities",)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, sounds: Tensor) -> tuple[Tensor, ...]:
        return (self.network(sounds).float().softmax(2),)
