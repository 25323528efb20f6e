"""The fronts of networks that hear, as differentiable functions: what an attack on samples needs.

    heard(samples, spec)      # as `backbones.fronts` and `modalities.mel` make it, in PyTorch

Tests hold them to the numbers of the former.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from regraft.backbones import fronts
from regraft.modalities import mel
from regraft.modalities.spec import Hearing, InputSpec

Hear = Callable[[Tensor, Hearing], Tensor]


def heard(samples: Tensor, spec: InputSpec) -> Tensor:
    """(n,) float samples, mono at 16 kHz → what the network reads of them."""
    return FORMS[spec.reads](samples, spec)


def _padded(samples: Tensor) -> Tensor:
    return nn.functional.pad(samples, (0, -len(samples) % fronts.STEP))


def _as_they_are(samples: Tensor, hearing: Hearing) -> Tensor:
    if hearing.normalise:
        spread = (samples.var(correction=0) + fronts.EVEN).sqrt()
        samples = (samples - samples.mean()) / spread
    return _padded(samples)


def _log_mel(samples: Tensor, hearing: Hearing) -> Tensor:
    if hearing.normalise:
        samples = samples * (fronts.LOUDEST / samples.abs().max().clamp(min=fronts.SILENT))
    half = fronts.WINDOW // 2
    centred = nn.functional.pad(_padded(samples)[None], (half, half), mode="reflect")[0]
    frames = centred.unfold(0, fronts.WINDOW, fronts.HOP)[:-1]
    window = _like(np.hanning(fronts.WINDOW + 1)[:-1], samples)
    power = _power(frames * window, fronts.WINDOW)
    bank = _like(fronts.slaney_bank(hearing.bands), samples)
    levels = (power @ bank.T).clamp(min=1e-10).log10()
    levels = torch.maximum(levels, levels.max() - fronts.DYNAMIC)
    return (levels.T + 4) / 4


def _filterbank(samples: Tensor, hearing: Hearing) -> Tensor:
    enough = nn.functional.pad(samples, (0, max(0, fronts.WINDOW - len(samples))))
    frames = enough.unfold(0, fronts.WINDOW, fronts.HOP)[: hearing.frames]
    frames = frames - frames.mean(1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], 1)
    window = _like(np.hanning(fronts.WINDOW), samples)
    power = _power((frames - fronts.PREEMPHASIS * before) * window, fronts.KALDI_FFT)
    bank = _like(fronts.kaldi_bank(hearing.bands), samples)
    levels = (power @ bank.T).clamp(min=fronts.KALDI_FLOOR).log()
    whole = nn.functional.pad(levels, (0, 0, 0, hearing.frames - len(levels)))
    return (whole - hearing.mean) / hearing.std


def _power(frames: Tensor, n: int) -> Tensor:
    found = torch.fft.rfft(frames, n)
    return found.real**2 + found.imag**2


def _like(values: object, samples: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=samples.dtype, device=samples.device)


HEARD: Mapping[str, Hear] = MappingProxyType(
    {"samples": _as_they_are, "log-mel": _log_mel, "filterbank": _filterbank}
)


def _as_sound(samples: Tensor, spec: InputSpec) -> Tensor:
    assert spec.hears is not None, "InputSpec refuses that"
    return HEARD[spec.hears.front](samples, spec.hears)


def _as_picture(samples: Tensor, spec: InputSpec) -> Tensor:
    """(size, size, 3) from 0 to 255, not rounded: through whole numbers there is no gradient."""
    seen = [_levels(samples, window) for window in mel.WINDOWS]
    shown = [
        nn.functional.interpolate(
            one[None, None], (spec.size, spec.size), mode="bilinear", antialias=True
        )[0, 0]
        for one in seen
    ]
    return torch.stack(shown, -1) * 255


def _levels(samples: Tensor, window: int) -> Tensor:
    """(bands, frames), as `mel.levels`."""
    hop = max(mel.HOP, len(samples) // mel.FRAMES)
    frames = nn.functional.pad(samples, (window // 2, window // 2)).unfold(0, window, hop)
    hann = _like(np.hanning(window + 1)[:-1], samples)
    power = _power(frames * hann, window) @ _like(mel.mel_bank(window), samples).T
    loudest = power.max().clamp(min=mel.SILENCE)
    decibels = 10 * (power / loudest).clamp(min=10 ** (-mel.RANGE / 10)).log10()
    return (1 + decibels / mel.RANGE).T.flip(0)


FORMS: Mapping[str, Callable[[Tensor, InputSpec], Tensor]] = MappingProxyType(
    {"sound": _as_sound, "picture": _as_picture}
)
