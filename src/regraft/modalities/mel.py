"""The log-mel picture: how a recording looks to a network for pictures."""

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.modalities.samples import RATE, Samples

WINDOWS = (400, 800, 1600)  # samples: 25, 50 and 100 ms, one a channel
HOP = 80  # samples: 5 ms, more in a long recording:
FRAMES = 1024  # are enough, about
BANDS = 128  # of the mel scale, from LOWEST to half the rate
LOWEST = 20.0  # Hz
SILENCE = 1e-12  # power up to which there is nothing to be heard
RANGE = 80.0  # decibels under the loudest that are told apart


def picture(
    samples: Samples, size: int, windows: tuple[int, ...] = WINDOWS
) -> npt.NDArray[np.uint8]:
    """(size, size, 3) uint8: 255 is the loudest of the recording, 0 is RANGE decibels below it."""
    seen = {}
    for window in dict.fromkeys(windows):
        shown = Image.fromarray(levels(samples, window))
        seen[window] = np.asarray(shown.resize((size, size), Image.Resampling.BILINEAR))
    channels = np.stack([seen[window] for window in windows], -1)
    return np.round(255 * channels).astype(np.uint8)


def levels(samples: Samples, window: int) -> Samples:
    """(bands, frames) in [0, 1], high frequencies first; silence is 0."""
    power = _spectrogram(samples, window) @ mel_bank(window).T
    loudest = float(power.max())
    if loudest <= SILENCE:
        return np.zeros(power.T.shape, np.float32)
    decibels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE / 10)))
    return np.asarray(1 + decibels / RANGE, np.float32).T[::-1]


def _spectrogram(samples: Samples, window: int) -> npt.NDArray[np.float32]:
    """(frames, window // 2 + 1) power of Hann windows, the first and last half outside."""
    from scipy.fft import rfft

    padded = np.pad(samples, window // 2)
    hop = max(HOP, len(samples) // FRAMES)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    found = rfft(frames * hann, axis=1)
    return np.asarray(found.real**2 + found.imag**2, np.float32)


@cache
def mel_bank(window: int) -> npt.NDArray[np.float32]:
    """(BANDS, window // 2 + 1) triangles, evenly on the mel scale of O'Shaughnessy (1987).

    A triangle is at least a line of the spectrum wide: no band is empty.
    """
    lines = np.fft.rfftfreq(window, 1 / RATE)
    edges = hertz(np.linspace(mel(LOWEST), mel(RATE / 2), BANDS + 2))
    spacing = RATE / window
    low = np.minimum(edges[:-2], edges[1:-1] - spacing)[:, None]
    high = np.maximum(edges[2:], edges[1:-1] + spacing)[:, None]
    middle = edges[1:-1, None]
    rising, falling = (lines - low) / (middle - low), (high - lines) / (high - middle)
    bank = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(bank / bank.sum(1, keepdims=True), np.float32)


def mel(frequency: float) -> float:
    """Hz → mel."""
    return float(2595 * np.log10(1 + frequency / 700))


def hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """mel → Hz."""
    return 700 * (10 ** (mels / 2595) - 1)
