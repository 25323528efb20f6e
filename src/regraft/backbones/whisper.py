"""Whisper's encoder for recordings of any length up to its thirty seconds.

transformers' own reads thirty seconds and nothing else: a word would cost as much as a speech. The
positions are a table, so that a shorter recording takes its beginning.
"""

from typing import Any

from torch import Tensor, nn
from transformers import WhisperModel


class WhisperHearing(WhisperModel):
    """WhisperModel without its decoder, under the same names of parameters.

    Raises ValueError, in a call, for more frames than there are positions for.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        del self.decoder

    def forward(self, frames: Tensor) -> Tensor:
        """(n, bands, frames) log-mel → (n, frames / 2, width)."""
        encoder: Any = self.encoder
        x = nn.functional.gelu(encoder.conv1(frames))
        x = nn.functional.gelu(encoder.conv2(x)).permute(0, 2, 1)
        if x.shape[1] > len(encoder.embed_positions.weight):
            raise ValueError(f"{frames.shape[2]} frames are more than Whisper hears")
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        for layer in encoder.layers:
            x = layer(x, None)
        found: Tensor = encoder.layer_norm(x)
        return found
