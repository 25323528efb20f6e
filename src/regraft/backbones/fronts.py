"""Fronts: from the samples of a recording to what a network that reads sound was trained on.

    samples     wav2vec 2.0, HuBERT, WavLM    (n,) float32
    log-mel     Whisper                       (bands, frames) float32, a frame each 10 ms
    filterbank  Audio Spectrogram Transformer (frames, bands) float32, a frame each 10 ms

Short recordings are padded with silence to whole STEPs, and no further: thirty seconds, as Whisper
was made for, would cost thirty times as much for a word. Neither PyTorch nor transformers is
needed here; tests compare the numbers with the feature extractors of transformers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from regraft.modalities.samples import RATE, Samples
from regraft.modalities.spec import Hearing

STEP = RATE // 2  # samples: recordings of equal length in these are run at once
WINDOW, HOP = 400, 160  # samples: 25 and 10 ms
DYNAMIC = 8.0  # powers of ten under the loudest that Whisper tells apart
LOUDEST, SILENT = 0.5, 1e-6  # sample that a recording is brought to; and from which on
EVEN = 1e-7  # added to a variance
PREEMPHASIS = 0.97
KALDI_FFT, KALDI_FLOOR = 512, 1.192092955078125e-07

Numbers = npt.NDArray[np.float64]
Hear = Callable[[Samples, Hearing], npt.NDArray[np.float32]]
ANY = -1  # of an axis: any length


@dataclass(frozen=True)
class Front:
    """One row of HEARD.

    hear   samples → what the network reads
    shape  of that, where ANY stands for any length
    """

    hear: Hear
    shape: Callable[[Hearing], tuple[int, ...]]


def _padded(samples: Samples) -> Samples:
    return np.pad(samples, (0, -len(samples) % STEP))


# --- samples -------------------------------------------------------------------------------------


def _as_they_are(samples: Samples, hearing: Hearing) -> npt.NDArray[np.float32]:
    if hearing.normalise:
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + EVEN)
    return _padded(samples.astype(np.float32))


# --- log-mel -------------------------------------------------------------------------------------


def _log_mel(samples: Samples, hearing: Hearing) -> npt.NDArray[np.float32]:
    """As Radford et al. 2022 (arXiv 2212.04356) prepare it: (bands, frames) in about [-1, 1.5]."""
    if hearing.normalise:
        samples = samples * (LOUDEST / max(float(np.abs(samples).max()), SILENT))
    whole = hearing.frames * HOP
    padded = np.pad(samples, (0, max(0, whole - len(samples)))) if whole else _padded(samples)
    centred = np.pad(padded.astype(np.float64), WINDOW // 2, mode="reflect")
    power = _power(_frames(centred)[:-1] * np.hanning(WINDOW + 1)[:-1], WINDOW)
    levels = np.log10(np.maximum(power @ slaney_bank(hearing.bands).T, 1e-10))
    levels = np.maximum(levels, levels.max() - DYNAMIC)
    return np.ascontiguousarray((levels.T + 4) / 4, np.float32)


def _frames(samples: Numbers) -> Numbers:
    return np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]


def _power(frames: Numbers, n: int) -> Numbers:
    from scipy.fft import rfft

    found = rfft(frames, n, axis=1)
    return np.asarray(found.real**2 + found.imag**2)


@cache
def slaney_bank(bands: int) -> Numbers:
    """(bands, WINDOW // 2 + 1) triangles of equal area (Slaney 1998, Auditory Toolbox)."""
    lines = np.fft.rfftfreq(WINDOW, 1 / RATE)
    edges = _slaney_hertz(np.linspace(0, _slaney_mel(RATE / 2), bands + 2))
    rising = (lines - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - lines) / (edges[2:] - edges[1:-1])[:, None]
    bank = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(bank * (2 / (edges[2:] - edges[:-2]))[:, None])


def _slaney_mel(hertz: float) -> float:
    """Even up to 1,000 Hz, logarithmic above."""
    return 15 + float(np.log(hertz / 1000)) * 27 / float(np.log(6.4))


def _slaney_hertz(mel: Numbers) -> Numbers:
    return np.asarray(np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27)))


# --- filterbank ----------------------------------------------------------------------------------


def _filterbank(samples: Samples, hearing: Hearing) -> npt.NDArray[np.float32]:
    """As Kaldi's compute-fbank-feats does it, on Hann windows: (frames, bands), the rest 0."""
    enough = np.pad(samples.astype(np.float64), (0, max(0, WINDOW - len(samples))))
    frames = _frames(enough)[: hearing.frames]
    frames = frames - frames.mean(1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    power = _power((frames - PREEMPHASIS * before) * np.hanning(WINDOW), KALDI_FFT)
    levels = np.log(np.maximum(power @ kaldi_bank(hearing.bands).T, KALDI_FLOOR))
    whole = np.zeros((hearing.frames, hearing.bands))
    whole[: len(levels)] = levels
    return np.asarray((whole - hearing.mean) / hearing.std, np.float32)


@cache
def kaldi_bank(bands: int) -> Numbers:
    """(bands, KALDI_FFT // 2 + 1) triangles on the mel scale, from 20 Hz to half the rate."""
    lines = _kaldi_mel(np.fft.rfftfreq(KALDI_FFT, 1 / RATE))
    low, high = _kaldi_mel(np.array([20.0, RATE / 2]))
    edges = np.linspace(low, high, bands + 2)
    rising = (lines - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - lines) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


def _kaldi_mel(hertz: npt.NDArray[Any]) -> Numbers:
    return np.asarray(1127 * np.log(1 + hertz / 700))


HEARD: Mapping[str, Front] = MappingProxyType(
    {
        "samples": Front(_as_they_are, lambda hearing: (ANY,)),
        "log-mel": Front(_log_mel, lambda hearing: (hearing.bands, hearing.frames or ANY)),
        "filterbank": Front(_filterbank, lambda hearing: (hearing.frames, hearing.bands)),
    }
)


def heard(samples: Samples, hearing: Hearing) -> npt.NDArray[Any]:
    """What a network that hears so reads of a recording, mono at 16 kHz."""
    return HEARD[hearing.front].hear(samples, hearing)
