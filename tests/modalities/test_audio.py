"""Recordings: what is heard of every kind of file, and how it looks to a network."""

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import signal
from transformers.audio_utils import mel_filter_bank

from regraft.errors import Unreadable, UsageError
from regraft.modalities import audio, mel, modality
from regraft.modalities.audio import MODALITY, RATE, Sound
from regraft.modalities.augment import AUGMENTATIONS, SOUND_SETS, SoundRow, parse
from regraft.modalities.mel import BANDS
from regraft.modalities.samples import samples_of
from regraft.modalities.spec import Hearing, InputSpec

SPEC = InputSpec(size=64)
KINDS = {
    *("empty", "not-a-recording", "damaged"),
    *("too-large", "unsupported", "odd-values", "no-memory"),
}
SOUND_ROWS = [row for row in AUGMENTATIONS.values() if isinstance(row, SoundRow)]


def tone(hertz: float = 1000.0, seconds: float = 0.5, rate: int = RATE) -> npt.NDArray[Any]:
    """With an end that tells it from its beginning."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * hertz * time) * np.linspace(1, 0.1, len(time))


def written(samples: npt.ArrayLike, rate: int = RATE, **how: Any) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.asarray(samples), rate, **{"format": "WAV", **how})
    return out.getvalue()


def heard(data: bytes) -> Sound:
    return MODALITY.decode(data, "x.wav").raw  # type: ignore[no-any-return]


def seen(samples: npt.ArrayLike, size: int = 64) -> npt.NDArray[np.int64]:
    sound = Sound(np.asarray(samples, np.float32))
    return MODALITY.prepare(sound, InputSpec(size=size), "centre").astype(int)


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({}, 1e-4),
        ({"subtype": "PCM_24"}, 1e-6),
        ({"subtype": "FLOAT"}, 1e-6),
        ({"subtype": "ULAW"}, 0.02),
        ({"format": "FLAC"}, 1e-4),
        ({"format": "AIFF"}, 1e-4),
        ({"format": "OGG", "subtype": "VORBIS"}, 0.1),
        ({"format": "MP3"}, 0.1),
    ],
)
def test_every_format_gives_the_same_sound(how: dict[str, Any], error: float) -> None:
    found = heard(written(tone(seconds=1.0), **how)).samples
    expected = tone(seconds=1.0)
    assert abs(len(found) - len(expected)) <= 2500  # MP3 has whole frames
    middle = slice(4000, 12000)
    assert np.abs(found[middle] - expected[middle]).max() < error


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 44_101, 48_000, 96_000])
def test_every_rate_becomes_one(rate: int) -> None:
    found = heard(written(tone(rate=rate, seconds=1.0), rate)).samples
    assert len(found) == pytest.approx(RATE, abs=RATE // 1000)
    power = np.abs(np.fft.rfft(found * np.hanning(len(found)))) ** 2
    assert np.fft.rfftfreq(len(found), 1 / RATE)[power.argmax()] == pytest.approx(1000, abs=3)


def test_channels_are_averaged() -> None:
    left = tone()
    both = heard(written(np.stack([left, 0 * left], 1), subtype="FLOAT")).samples
    np.testing.assert_allclose(both, left / 2, atol=1e-6)


def test_of_a_long_recording_the_middle_is_heard() -> None:
    samples = np.zeros(50 * RATE, np.float32)
    samples[25 * RATE] = 1
    found = MODALITY.decode(written(samples, subtype="FLOAT"), "x.wav")
    assert len(found.raw.samples) == 30 * RATE
    assert found.raw.samples.argmax() == 15 * RATE
    assert found.facts.width == 50_000


def test_segments_reach_from_end_to_end_and_overlap() -> None:
    samples = np.zeros(50 * RATE, np.float32)
    samples[-RATE] = 1  # long after the middle
    spec = replace(HEARS.at(30), views=("segment-1of8", "segment-8of8"))
    raw = MODALITY.decode(written(samples, subtype="FLOAT"), "x.wav", spec).raw
    assert len(raw.whole) == len(samples)
    every = [v for v in MODALITY.views if v.endswith("of8")]
    heard = [samples_of(MODALITY.prepare(raw, spec, view)) for view in every]
    assert [bool(part.any()) for part in heard] == [False] * 7 + [True]
    assert not samples_of(MODALITY.prepare(raw, spec, "centre")).any()
    (length,) = {len(part) for part in heard}
    assert length / RATE == pytest.approx(50 / (8 - 7 * 0.25), abs=0.01)
    shorter = raw.part("segment-8of8", 4)
    assert len(shorter.samples) == 4 * RATE
    assert shorter.samples.any()


def test_of_a_short_recording_every_segment_is_the_whole() -> None:
    spec = replace(SPEC, views=("segment-1of3",))
    raw = MODALITY.decode(written(tone(seconds=2.0)), "x.wav", spec).raw
    assert raw.whole is None
    pictures = [MODALITY.prepare(raw, spec, view) for view in MODALITY.views]
    assert all(np.array_equal(one, pictures[0]) for one in pictures)


def test_segments_are_worth_a_trial_where_recordings_are_long() -> None:
    facts = MODALITY.decode(written(tone()), "x.wav").facts
    assert MODALITY.view_sets([facts]) == {}
    for seconds, sets in ((10, 1), (40, 2), (600, 3)):
        long = [replace(facts, width=1000 * seconds)] * 4
        assert len(MODALITY.view_sets([facts, *long])) == sets


def test_facts_tell_of_the_file() -> None:
    facts = MODALITY.decode(written(np.zeros((800, 2)), 8000), "x.wav").facts
    assert (facts.width, facts.mode, facts.format) == (100, "8,000 Hz, 2 channels", "WAV")


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "no samples": (written(np.zeros(0)), "empty"),
    "text": (b"no recording", "not-a-recording"),
    "cut in its header": (written(tone())[:20], "damaged"),
    "NaN": (written(np.full(800, np.nan), subtype="FLOAT"), "odd-values"),
    "infinity": (written(np.full(800, np.inf), subtype="FLOAT"), "odd-values"),
    "slow": (written(np.zeros(800), 50), "unsupported"),
    "crowded": (written(np.zeros((10, 65))), "unsupported"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "not-a-recording"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_recording_is_refused_by_name(name: str) -> None:
    data, kind = REFUSED[name]
    with pytest.raises(Unreadable, match=r"folder/ein Ton\.wav") as raised:
        MODALITY.decode(data, "folder/ein Ton.wav")
    assert raised.value.kind == kind


def test_a_recording_that_was_cut_off_is_heard_to_its_end() -> None:
    """As players do; nothing of what is there is lost."""
    whole = written(tone(seconds=1.0))
    assert len(heard(whole[: len(whole) // 2]).samples) == pytest.approx(RATE / 2, abs=50)


WHOLE = [written(tone(seconds=0.1), **how) for how in ({}, {"format": "FLAC"}, {"format": "OGG"})]


@settings(max_examples=150)
@example(0, 0, b"", 0)
@given(st.integers(0, 2), st.integers(0, 400), st.binary(max_size=60), st.integers(0, 5000))
def test_damaged_bytes_are_decoded_or_refused(
    which: int, place: int, patch: bytes, length: int
) -> None:
    data = WHOLE[which]
    data = data[:place] + patch + data[place + len(patch) :]
    for damaged in (data, data[:length], patch):
        assert outcome(damaged) in {"heard", *KINDS}


def outcome(data: bytes) -> str:
    """That a file is heard, or why it is refused."""
    try:
        sound = heard(data)
    except Unreadable as error:
        return error.kind
    assert np.isfinite(sound.samples).all()
    assert MODALITY.prepare(sound, SPEC, "centre").shape == (64, 64, 3)
    return "heard"


# --- the picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [800, 1600])
def test_bands_are_those_of_an_independent_implementation(window: int) -> None:
    theirs = mel_filter_bank(window // 2 + 1, BANDS, mel.LOWEST, RATE / 2, RATE, None, "htk").T
    ours = mel.mel_bank(window)
    wide = (theirs > 0).sum(1) > 4  # narrower ones we widen to the spectrum's own lines
    assert wide.sum() > 40
    np.testing.assert_allclose(
        ours[wide], theirs[wide] / theirs[wide].sum(1, keepdims=True), atol=1e-5
    )
    assert (ours.sum(1) > 0.99).all()


def test_power_is_that_of_an_independent_implementation() -> None:
    samples = tone().astype(np.float32)
    window = signal.windows.hann(800, sym=False)
    short = signal.ShortTimeFFT(window, mel.HOP, RATE, fft_mode="onesided")
    theirs = np.abs(short.stft(samples, p0=0, p1=90)).T ** 2
    ours = mel._spectrogram(samples, 800)[:90]
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * theirs.max())


def test_time_runs_to_the_right_and_pitch_upwards() -> None:
    rows = [int(seen(tone(hertz))[..., 2].mean(1).argmax()) for hertz in (200, 1000, 4000)]
    assert rows[0] > rows[1] > rows[2]
    first = np.concatenate([tone(), np.zeros(RATE // 2)])
    columns = seen(first).mean((0, 2))
    assert columns[:30].mean() > 4 * columns[34:].mean()


@given(st.floats(0.01, 10))
def test_how_loud_it_was_does_not_show(gain: float) -> None:
    assert np.abs(seen(gain * tone()) - seen(tone())).max() <= 1


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.zeros(1), np.full(3, 1e-9)])
def test_silence_is_black(samples: npt.NDArray[Any]) -> None:
    assert not seen(samples).any()


@pytest.mark.parametrize("n", [1, 2, 79, 80, 399, 1601, 30 * RATE])
def test_every_length_has_its_picture(n: int) -> None:
    noise = np.random.default_rng(0).standard_normal(n)
    assert seen(noise, 224).shape == (224, 224, 3)
    assert seen(noise).any()


def test_statistics_are_the_plain_vector() -> None:
    facts = MODALITY.decode(written(tone()), "x.wav").facts
    vector = MODALITY.plain(facts)
    assert vector.shape == (64,)
    assert ((vector >= 0) & (vector <= 1)).all()
    levels = facts.thumb[..., 0] / 255
    np.testing.assert_allclose(vector, [*levels.mean(1), *levels.std(1)], atol=1e-6)


def test_it_is_registered_and_has_a_thumbnail() -> None:
    assert modality("audio") is MODALITY
    assert MODALITY.thumbnail(written(tone()), "x.wav").startswith("data:image/png;base64,")
    with pytest.raises(UsageError, match="views: 'left' is not one of centre"):
        MODALITY.prepare(Sound(np.zeros(9, np.float32)), SPEC, "left")


def test_a_clip_is_the_middle_as_every_browser_plays_it() -> None:
    samples = np.concatenate([np.zeros(10 * RATE), 3 * tone(seconds=6.0), np.zeros(10 * RATE)])
    uri = MODALITY.clip(written(samples, subtype="FLOAT"), "x.wav")
    assert uri is not None
    head, _, body = uri.partition(",")
    assert head == "data:audio/mpeg;base64"
    played, rate = soundfile.read(io.BytesIO(base64.b64decode(body)))
    assert rate == RATE
    assert abs(len(played) / rate - audio.CLIP_SECONDS) < 0.2
    assert 0.5 < np.abs(played).max() <= 1.1  # what was too loud for a file is not cut


def test_a_thumbnail_shows_the_waveform_below() -> None:
    loud_then_silent = np.concatenate([tone(), np.zeros(RATE // 2)])
    uri = MODALITY.thumbnail(written(loud_then_silent), "x.wav", 160)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    assert shown.shape == (160, 160)
    wave = shown[120:] > 0
    assert wave[:, :10].sum() > 4 * wave[:, 90:100].sum() > 0  # a line where nothing is heard
    for n in (1, 2, 50):
        assert MODALITY.thumbnail(written(np.ones(n)), "x.wav").startswith("data:image/png")


# --- the samples ---------------------------------------------------------------------------------

HEARS = InputSpec(size=2, reads="sound", hears=Hearing("samples"))


def test_a_network_of_sounds_gets_the_middle_of_the_samples() -> None:
    samples = np.arange(5 * RATE, dtype=np.float32)
    found = samples_of(MODALITY.prepare(Sound(samples), HEARS, "centre"))
    np.testing.assert_array_equal(found, samples[3 * RATE // 2 : 7 * RATE // 2])
    short = samples_of(MODALITY.prepare(Sound(samples[:7]), HEARS, "centre"))
    np.testing.assert_array_equal(short, samples[:7])


def masked(way: str, begin: float, length: float) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    sound = Sound(noise, ((way, begin, length),))
    return samples_of(MODALITY.prepare(sound, HEARS, "centre"))


def test_a_mask_in_time_is_silence() -> None:
    found = masked("time", 0.25, 0.5)
    assert not found[4000:12000].any()
    assert found[:4000].all()
    assert found[12000:].all()


def test_a_mask_of_bands_takes_the_same_ones_as_of_a_picture() -> None:
    """The upper half of the mel scale: what the upper half of the picture shows."""
    found = masked("frequency", 0.0, 0.5)
    assert found.dtype == np.float32
    rows = seen(found)[..., 1].mean(1)
    assert rows[:30].max() < 0.2 * rows[36:].min()


# --- augmentation --------------------------------------------------------------------------------


def changed(text: str, seed: int = 0, spec: InputSpec = SPEC) -> npt.NDArray[np.int64]:
    sound = Sound(tone().astype(np.float32))
    wanted = MODALITY.augmentations(text)
    return MODALITY.augment(sound, spec, wanted, np.random.default_rng(seed)).astype(int)


def test_loudness_does_not_count_in_a_picture_and_does_in_samples() -> None:
    assert (changed("gain=20") == changed("none")).all()
    loud = samples_of(changed("gain=20", spec=HEARS).astype(np.uint8))
    decibels = 20 * np.log10(np.abs(loud).max() / np.abs(tone()).max())
    assert 0 < abs(decibels) < 20


@pytest.mark.parametrize("row", SOUND_ROWS, ids=lambda row: row.name)
def test_a_row_changes_the_recording_and_repeats_itself(row: SoundRow) -> None:
    strong = f"{row.name}={row.highest}"
    for spec in (SPEC, HEARS)[row.name == "gain" :]:
        plain, once = changed("none", 0, spec), changed(strong, 0, spec)
        assert (once == changed(strong, 0, spec)).all()
        assert not np.array_equal(once, plain)
        assert not np.array_equal(once, changed(strong, 1, spec))
    assert np.abs(changed(f"{row.name}=0") - changed("none")).max() <= 1


def check_mask(text: str, axis: int) -> None:
    """A stretch of lines is black, and all others are as they were."""
    before, after = (np.moveaxis(changed(name), axis, 0) for name in ("none", text))
    lines = np.flatnonzero((before != after).any((1, 2)))
    assert 0 < len(lines) <= 33
    assert not after[lines[0] : lines[-1] + 1].any()


def test_masks_silence_whole_lines() -> None:
    check_mask("time-mask=0.5", 1)
    check_mask("frequency-mask=0.5", 0)


def test_a_shift_keeps_the_rest() -> None:
    samples = np.arange(1, 101, dtype=np.float32)
    for seed in range(20):
        moved = (
            AUGMENTATIONS["shift"]
            .change(  # type: ignore[attr-defined]
                Sound(samples), 0.5, np.random.default_rng(seed)
            )
            .samples
        )
        kept = moved[moved > 0]
        assert len(moved) == 100
        assert len(kept) >= 50
        assert (np.diff(kept) == 1).all()


@pytest.mark.parametrize("name", SOUND_SETS)
def test_sets_are_for_recordings(name: str) -> None:
    assert parse(name, "audio") != parse(name, "image")
    assert changed(name).shape == (64, 64, 3)


@pytest.mark.parametrize(("text", "kind"), [("flip,shift", "audio"), ("hiss,crop", "image")])
def test_rows_of_other_data_are_refused(text: str, kind: str) -> None:
    with pytest.raises(UsageError, match="not for this kind of data; known: "):
        modality(kind).augmentations(text)
