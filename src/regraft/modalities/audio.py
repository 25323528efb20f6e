"""Recordings: decode → mono at 16 kHz → samples, or a log-mel picture, as a network reads them.

Networks that read sound get the samples. Networks for pictures get a picture, in which three
windows are the three channels (Palanisamy et al. 2020, "Rethinking CNN Models for Audio
Classification", arXiv 2007.11154): a short one sees when, a long one sees which frequency.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from regraft.errors import MissingExtra, Unreadable, UsageError
from regraft.modalities import mel
from regraft.modalities.base import MOST_BYTES, MOST_CLIP, Decoded
from regraft.modalities.facts import THUMB, Facts
from regraft.modalities.samples import MOST_MINUTES, MOST_SECONDS, RATE, Samples
from regraft.modalities.segments import VIEWS, reaches_out, segment, sets_for
from regraft.modalities.spec import InputSpec

if TYPE_CHECKING:
    from regraft.modalities.augment import Augmentations
    from regraft.modalities.usual import Usual

LEAST_RATE, MOST_RATE = 1_000, 400_000  # of a file
MOST_CHANNELS = 64
BLOCK = 2**20  # samples of all channels that are read at once
NATURAL = 256  # pixels: more of them show nothing more of 128 bands

CENTRE = next(iter(VIEWS))
WAVE_SHARE = 4  # of a thumbnail's height shows the waveform: one part in so many
CLIP_SECONDS = 5  # of the middle of a recording, to listen to in a report


@dataclass(frozen=True)
class Sound:
    """A recording in memory.

    samples  (n,) float32, mono at RATE: the middle MOST_SECONDS
    masks    silence: ``time`` or ``frequency``, where it begins and its length, in shares
    whole    of a longer one, where segments of it are wanted: the middle MOST_MINUTES
    """

    samples: Samples
    masks: tuple[tuple[str, float, float], ...] = ()
    whole: Samples | None = None

    def part(self, view: str, seconds: int) -> "Sound":
        """What a view shows of it, at most so many seconds. Raises UsageError."""
        if view not in VIEWS:
            raise UsageError(f"views: {view!r} is not one of {', '.join(VIEWS)}")
        given = self.samples if self.whole is None or view == CENTRE else self.whole
        return Sound(segment(given, view, seconds), self.masks)


class AudioModality:
    """See `regraft.modalities.base.Modality`."""

    name = "audio"
    extensions = frozenset({"wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au"})
    inputs: tuple[str, ...] = ("picture", "sound")
    views: tuple[str, ...] = tuple(VIEWS)
    parts = True
    sayable = False
    plainly = ("log-mel statistics", f"ridge on mean and deviation of {THUMB} bands")
    baseline = "ridge"

    @property
    def version(self) -> str:
        """Raise the number when the same file would give another picture."""
        soundfile = _soundfile()
        return f"1 soundfile-{version('soundfile')} {soundfile.__libsndfile_version__}"

    @property
    def usual(self) -> "tuple[Usual, ...]":
        """Parts of the usual augmentation."""
        from regraft.modalities.sounds import USUAL

        return USUAL

    def decode(self, data: bytes, file: str, spec: InputSpec | None = None) -> Decoded:
        """Bytes → the middle of the recording, mono at 16 kHz; all of it for segments.

        Kinds of `Unreadable`: empty, not-a-recording, damaged; too-large (bytes), unsupported (rate
        or channels), odd-values (NaN or infinity), no-memory. Raises MissingExtra without the
        library soundfile.
        """
        if not data:
            raise Unreadable(file, "empty", "the file is empty (0 bytes)")
        if len(data) > MOST_BYTES:
            reason = f"{len(data):,} bytes; at most {MOST_BYTES:,} are read"
            raise Unreadable(file, "too-large", reason)
        soundfile = _soundfile()
        try:
            return _decoded(soundfile, data, file, () if spec is None else spec.views)
        except Unreadable:
            raise
        except MemoryError:
            reason = "there was not enough memory to decode it"
            raise Unreadable(file, "no-memory", reason) from None
        except soundfile.LibsndfileError as error:
            raise Unreadable(file, *_diagnosis(data, str(error))) from None
        except Exception as error:  # what a damaged file makes of it
            raise Unreadable(file, "damaged", f"the decoder gave up: {error}") from None

    def prepare(self, raw: Sound, spec: InputSpec, view: str) -> npt.NDArray[np.uint8]:
        """Recording → uint8, as ``spec.reads`` wants it.

        picture: (size, size, 3), time from left to right, low frequencies below; sound: the bytes
        of float32 samples, mono at 16 kHz, at most `size` seconds.
        """
        kind = AS[spec.reads]
        return kind.make(raw.part(view, kind.seconds(spec.size)), spec.size)

    def augment(
        self, raw: Sound, spec: InputSpec, wanted: "Augmentations", rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Recording → uint8 as `prepare` gives its first view, changed at random."""
        from regraft.modalities.augment import changed

        kind = AS[spec.reads]
        part = raw.part(spec.views[0], kind.seconds(spec.size))
        return kind.make(changed(part, wanted, rng), spec.size)

    def augmentations(self, text: "str | Augmentations") -> "Augmentations":
        """See `augment.parse`."""
        from regraft.modalities.augment import parse

        return parse(text, self.name)

    def compact(self, raw: Sound, spec: InputSpec) -> tuple[Sound, int]:
        """The recording as it is, and its bytes in memory."""
        return raw, raw.samples.nbytes + (0 if raw.whole is None else raw.whole.nbytes)

    def view_sets(self, facts: Sequence[Facts]) -> Mapping[str, tuple[str, ...]]:
        """Segments, where some are long."""
        return sets_for(facts)

    def plain(self, facts: Facts) -> npt.NDArray[np.float32]:
        """(64,): mean and standard deviation over time of 32 bands: log-mel statistics."""
        levels = facts.thumb[..., 0].astype(np.float32) / 255
        return np.concatenate([levels.mean(1), levels.std(1)])

    def thumbnail(self, data: bytes, file: str, side: int = 160) -> str:
        """The log-mel picture above its waveform as PNG, of side × side pixels."""
        samples = self.decode(data, file).raw.samples
        low = side // WAVE_SHARE
        above = Image.fromarray(mel.picture(samples, side)[..., 0]).resize((side, side - low))
        picture = Image.fromarray(np.vstack([np.asarray(above), _waveform(samples, side, low)]))
        out = io.BytesIO()
        picture.save(out, "PNG")
        return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()

    def clip(self, data: bytes, file: str) -> str | None:
        """The middle CLIP_SECONDS as MP3, which every browser plays."""
        return played(self.decode(data, file).raw.samples)

    def said(self, name: str) -> bytes | None:
        return None

    def natural_size(self, facts: Facts) -> int:
        return NATURAL


MODALITY = AudioModality()


@cache
def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError:
        raise MissingExtra("soundfile", "audio") from None
    return soundfile


def _waveform(samples: Samples, width: int, height: int) -> npt.NDArray[np.uint8]:
    """(height, width): in each column the least to the largest sample, bright, on black."""
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    loudest = max(float(np.abs(samples).max()), 1e-9)
    rows, picture = np.arange(height)[:, None], np.zeros((height, width), np.uint8)
    columns = [samples[a : max(b, a + 1)] for a, b in pairwise(edges)]
    ends = [(part.max(), part.min()) if len(part) else (0.0, 0.0) for part in columns]
    top, bottom = ((1 - np.array(ends).T / loudest) / 2 * (height - 1)).round()
    picture[(rows >= top) & (rows <= bottom)] = 220
    return picture


def played(samples: Samples) -> str | None:
    """The middle CLIP_SECONDS as a data URI of MP3; None where that is too long."""
    start = max(0, (len(samples) - CLIP_SECONDS * RATE) // 2)
    part = samples[start : start + CLIP_SECONDS * RATE]
    part = part / max(1.0, float(np.abs(part).max()))
    out = io.BytesIO()
    _soundfile().write(out, part, RATE, format="MP3")
    uri = "data:audio/mpeg;base64," + base64.b64encode(out.getvalue()).decode()
    return uri if len(uri) <= MOST_CLIP else None


# --- decoding ------------------------------------------------------------------------------------


def _decoded(soundfile: Any, data: bytes, file: str, views: Sequence[str]) -> Decoded:
    with soundfile.SoundFile(io.BytesIO(data)) as source:
        rate, channels, frames = source.samplerate, source.channels, source.frames
        _refuse(rate, channels, frames, file)
        middle = _mono(source, MOST_SECONDS * rate, file)
        form = str(source.format)
        longer = frames > MOST_SECONDS * rate and reaches_out(views)
        whole = _mono(source, MOST_MINUTES * 60 * rate, file) if longer else None
    samples = _resampled(middle, rate)
    told = f"{rate:,} Hz, " + ("mono" if channels == 1 else f"{channels} channels")
    milliseconds = max(1, round(1000 * frames / rate))
    thumb = mel.picture(samples, THUMB, mel.WINDOWS[1:2] * 3)
    facts = Facts(milliseconds, 1, told, form, 1, 1, thumb)
    return Decoded(Sound(samples, whole=None if whole is None else _resampled(whole, rate)), facts)


def _mono(source: Any, most: int, file: str) -> Samples:
    """The mean over channels of the middle so many samples, read block by block."""
    heard = min(source.frames, most)
    if source.frames > heard or source.tell():
        source.seek((source.frames - heard) // 2)
    blocks, step = [], max(1, BLOCK // source.channels)
    while heard > 0 and len(block := source.read(min(step, heard), "float32", always_2d=True)):
        if not np.isfinite(block).all():
            raise Unreadable(file, "odd-values", "the samples hold NaN or infinity")
        blocks.append(block.mean(1, dtype=np.float32))
        heard -= len(block)
    if not blocks:
        raise Unreadable(file, "damaged", "its header tells of sound, but there is none")
    return np.concatenate(blocks)


def _refuse(rate: int, channels: int, frames: int, file: str) -> None:
    if not LEAST_RATE <= rate <= MOST_RATE:
        reason = f"{rate:,} samples per second; expected {LEAST_RATE:,} to {MOST_RATE:,}"
        raise Unreadable(file, "unsupported", reason)
    if channels > MOST_CHANNELS:
        reason = f"{channels} channels; at most {MOST_CHANNELS} are read"
        raise Unreadable(file, "unsupported", reason)
    if frames <= 0:
        raise Unreadable(file, "empty", "the file holds no sound (0 samples)")


def _resampled(samples: Samples, rate: int) -> Samples:
    """At RATE, by a polyphase filter; rates of odd ratios are first rounded to tens."""
    from scipy.signal import resample_poly

    if rate == RATE:
        return samples
    whole = gcd(RATE, rate)
    if max(RATE, rate) // whole > 1000:
        rate = max(10, round(rate / 10) * 10)
        whole = gcd(RATE, rate)
    found = resample_poly(samples, RATE // whole, rate // whole)
    return np.asarray(found, np.float32)


def _diagnosis(data: bytes, text: str) -> tuple[str, str]:
    """Kind and reason, when the decoder does not open the bytes."""
    known = ", ".join(sorted(AudioModality.extensions))
    if data[:4] in MAGIC:
        return "damaged", f"begins as {MAGIC[data[:4]]}, but is damaged or cut off: {text}"
    reason = f"not a recording in a known format (starts with {data[:8]!r}; known: {known})"
    return "not-a-recording", reason


MAGIC: Mapping[bytes, str] = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "OGG", b"FORM": "AIFF"}


# --- the log-mel picture -------------------------------------------------------------------------


def _as_picture(raw: Sound, size: int) -> npt.NDArray[np.uint8]:
    """(size, size, 3), with its masks black."""
    picture = mel.picture(raw.samples, size)
    for way, begin, length in raw.masks:
        part = slice(round(begin * size), round((begin + length) * size))
        AXES[way](picture, part)
    return picture


def _silence_time(picture: npt.NDArray[np.uint8], part: slice) -> None:
    picture[:, part] = 0


def _silence_bands(picture: npt.NDArray[np.uint8], part: slice) -> None:
    picture[part] = 0


AXES: Mapping[str, Callable[[npt.NDArray[np.uint8], slice], None]] = {
    "time": _silence_time,
    "frequency": _silence_bands,
}


# --- the samples ---------------------------------------------------------------------------------


def _as_samples(raw: Sound, size: int) -> npt.NDArray[np.uint8]:
    """(4 n,) bytes of at most `size` seconds from the beginning, with its masks silent."""
    samples = raw.samples[: size * RATE]
    for way, begin, length in raw.masks:
        samples = SILENCED[way](samples, begin, length)
    return np.frombuffer(np.ascontiguousarray(samples, "<f4").tobytes(), np.uint8)


def _silent_while(samples: Samples, begin: float, length: float) -> Samples:
    n, quiet = len(samples), samples.copy()
    quiet[round(begin * n) : round((begin + length) * n)] = 0
    return quiet


def _without_bands(samples: Samples, begin: float, length: float) -> Samples:
    """Without a part of the mel scale; shares are counted from above, as rows of a picture are."""
    from scipy.fft import irfft, rfft

    highest, lowest = mel.mel(RATE / 2), mel.mel(mel.LOWEST)
    upper, lower = (highest - share * (highest - lowest) for share in (begin, begin + length))
    low, high = mel.hertz(np.array([lower, upper]))
    found, hertz = rfft(samples), np.fft.rfftfreq(len(samples), 1 / RATE)
    found[(hertz >= low) & (hertz < high)] = 0
    return np.asarray(irfft(found, len(samples)), np.float32)


SILENCED: Mapping[str, Callable[[Samples, float, float], Samples]] = {
    "time": _silent_while,
    "frequency": _without_bands,
}


class Form(NamedTuple):
    """How a recording becomes what a network reads, at a size: at most so many seconds of it."""

    make: Callable[[Sound, int], npt.NDArray[np.uint8]]
    seconds: Callable[[int], int]


# What a network reads → how a recording becomes that.
AS: Mapping[str, Form] = {
    "picture": Form(_as_picture, lambda size: MOST_SECONDS),
    "sound": Form(_as_samples, lambda size: size),
}
