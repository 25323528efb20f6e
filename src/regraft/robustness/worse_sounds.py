"""Common corruptions of recordings: 14 kinds at 5 severities.

Noise at signal-to-noise ratios, rooms, bands and coding, as benchmarks of speech have them (Shah et
al. 2024, "Speech Robust Bench", arXiv 2403.07937); the codec is a real one. Severities are our own.
"""

import io
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from regraft.modalities.samples import RATE
from regraft.robustness.corruption import Corruption, Rng

if TYPE_CHECKING:
    from regraft.modalities.audio import Sound

HUM = 50.0  # Hz of mains
PIECE = RATE // 50  # samples that a lost packet holds: 20 ms
STEPS_OF_A_FILE = 2**15  # of a sample of 16 bits, up to full scale
ORDER = 6  # of the filters

Wave = npt.NDArray[np.float64]  # (n,) from -1 to 1


def applied(row: Corruption, sound: "Sound", severity: int, rng: Rng) -> "Sound":
    """All that is kept of a recording, each part as long as it was."""
    number = row.numbers[severity - 1]

    def changed(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(row.change(samples.astype(np.float64), number, rng), np.float32)

    whole = None if sound.whole is None else changed(sound.whole)
    return replace(sound, samples=changed(sound.samples), whole=whole)


def _level(x: Wave) -> float:
    return float(np.sqrt(np.mean(x**2)))


def _noisy(x: Wave, noise: Wave, ratio: float) -> Wave:
    """With noise at a signal-to-noise ratio, decibels; silence stays silent."""
    return np.asarray(x + noise * _level(x) / max(_level(noise), 1e-12) * 10 ** (-ratio / 20))


def _white(x: Wave, ratio: float, rng: Rng) -> Wave:
    return _noisy(x, rng.standard_normal(len(x)), ratio)


def _pink(x: Wave, ratio: float, rng: Rng) -> Wave:
    """As loud in each octave: rain, traffic, a room full of people far away."""
    from scipy.fft import irfft, rfft

    spectrum = rfft(rng.standard_normal(len(x)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    return _noisy(x, np.asarray(irfft(spectrum, len(x))), ratio)


def _hum(x: Wave, ratio: float, rng: Rng) -> Wave:
    """The mains and its overtones."""
    time, waves = np.arange(len(x)) / RATE, np.arange(1, 9)
    phases = rng.uniform(0, 2 * np.pi, len(waves))
    tones = np.sin(2 * np.pi * HUM * waves[:, None] * time + phases[:, None]) / waves[:, None]
    return _noisy(x, np.asarray(tones.sum(0)), ratio)


def _crackle(x: Wave, each_second: float, rng: Rng) -> Wave:
    """Single samples at the loudest there is, up or down."""
    loudest = float(np.abs(x).max())
    hit = rng.random(len(x)) < each_second / RATE
    return np.where(hit, loudest * rng.choice((-1.0, 1.0), len(x)), x)


def _quiet(x: Wave, decibels: float, rng: Rng) -> Wave:
    """Softer, and written to 16 bits so: what is left is coarse."""
    return np.asarray(np.round(x * 10 ** (-decibels / 20) * STEPS_OF_A_FILE) / STEPS_OF_A_FILE)


def _clipped(x: Wave, share: float, rng: Rng) -> Wave:
    """The loudest `share` of the samples lie beyond what could be recorded."""
    most = max(float(np.quantile(np.abs(x), 1 - share)), 1e-9)
    return np.clip(x, -most, most)


def _filtered(x: Wave, kind: str, hertz: float | tuple[float, float]) -> Wave:
    from scipy.signal import butter, sosfilt

    return np.asarray(sosfilt(butter(ORDER, hertz, kind, fs=RATE, output="sos"), x))


def _low_pass(x: Wave, hertz: float, rng: Rng) -> Wave:
    return _filtered(x, "lowpass", hertz)


def _high_pass(x: Wave, hertz: float, rng: Rng) -> Wave:
    return _filtered(x, "highpass", hertz)


def _reverberant(x: Wave, seconds: float, rng: Rng) -> Wave:
    """A room in which sound falls by 60 dB in so many seconds; its echo is as loud as the sound."""
    from scipy.signal import fftconvolve

    time = np.arange(round(seconds * RATE)) / RATE
    room = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    room[0] = 0.0
    room /= np.sqrt(np.sum(room**2))
    room[0] = 1.0
    heard = fftconvolve(x, room)[: len(x)]
    return np.asarray(heard * _level(x) / max(_level(heard), 1e-12))


def _coded(x: Wave, level: float, rng: Rng) -> Wave:
    """Through Opus, level 1 being its lowest rate."""
    import soundfile

    out = io.BytesIO()
    how = {"format": "OGG", "subtype": "OPUS", "compression_level": level}
    with soundfile.SoundFile(out, "w", RATE, 1, **how) as file:
        file.write(np.clip(x, -1, 1))
    out.seek(0)
    return _as_long(soundfile.read(out, dtype="float64")[0], x)


def _resampled(x: Wave, rate: int, rng: Rng) -> Wave:
    """Recorded at a lower rate without a filter, so that what lies above folds down."""
    places = np.arange(0, len(x), RATE / rate)
    return np.interp(np.arange(len(x)), places, x[places.astype(int)])


def _companded(x: Wave, bits: int, rng: Rng) -> Wave:
    """µ-law of so many bits, as telephones use with 8."""
    most, mu = 2 ** (bits - 1) - 1, 255.0
    squeezed = np.sign(x) * np.log1p(mu * np.minimum(np.abs(x), 1)) / np.log1p(mu)
    coarse = np.round(squeezed * most) / most
    return np.asarray(np.sign(coarse) * np.expm1(np.abs(coarse) * np.log1p(mu)) / mu)


def _lost(x: Wave, share: float, rng: Rng) -> Wave:
    """Packets that did not arrive are silent."""
    lost = rng.random(-(-len(x) // PIECE)) < share
    return np.where(np.repeat(lost, PIECE)[: len(x)], 0.0, x)


def _faster(x: Wave, more: float, rng: Rng) -> Wave:
    """Played faster, and higher with it; silence after its end."""
    played = np.interp(np.arange(0, len(x) - 1, 1 + more), np.arange(len(x)), x)
    return _as_long(played, x)


def _as_long(y: Wave, x: Wave) -> Wave:
    return np.pad(y[: len(x)], (0, max(0, len(x) - len(y))))


_row = partial(Corruption, "audio")
_RATIOS = (20, 15, 10, 5, 0)  # decibels

ROWS = (
    _row("white noise", "noise", _white, _RATIOS),
    _row("pink noise", "noise", _pink, _RATIOS),
    _row("hum", "noise", _hum, _RATIOS),
    _row("crackle", "noise", _crackle, (5, 20, 50, 150, 400)),
    _row("quiet", "level", _quiet, (20, 30, 40, 50, 60)),
    _row("clipping", "level", _clipped, (0.02, 0.05, 0.1, 0.25, 0.5)),
    _row("low-pass", "band", _low_pass, (4000, 3000, 2000, 1400, 1000)),
    _row("high-pass", "band", _high_pass, (200, 400, 700, 1000, 1500)),
    _row("reverberation", "room", _reverberant, (0.2, 0.4, 0.7, 1.1, 1.6)),
    _row("opus compression", "coding", _coded, (0.9, 0.95, 0.97, 0.985, 1.0)),
    _row("resampling", "coding", _resampled, (8000, 6000, 4000, 3000, 2000)),
    _row("µ-law", "coding", _companded, (8, 6, 5, 4, 3)),
    _row("packet loss", "transmission", _lost, (0.05, 0.1, 0.2, 0.3, 0.45)),
    _row("speed", "transmission", _faster, (0.05, 0.1, 0.15, 0.2, 0.3)),
)
