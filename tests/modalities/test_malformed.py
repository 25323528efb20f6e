"""Thousands of damaged and hostile files: each is decoded or refused by name, quickly, in little
memory, and no file is changed.

The files are decoded in a child process, so that its memory can be measured, and a crash of a
decoder fails a test instead of ending all of them. As a script this module is that child.
"""

import hashlib
import io
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from regraft.errors import Unreadable
from regraft.modalities import modality
from regraft.modalities.image import FORMATS, MAGIC, MODALITY
from regraft.modalities.spec import Hearing, InputSpec

KINDS = {
    *("empty", "not-an-image", "truncated", "damaged"),
    *("too-large", "bomb", "unsupported", "odd-values"),
}
REFUSALS = {
    "image": KINDS,
    "audio": {
        *("empty", "not-a-recording", "damaged", "too-large", "unsupported"),
        *("odd-values", "no-memory"),
    },
    "text": {"empty", "not-text", "encoding", "too-large"},
}
LONGEST = 10.0  # seconds for one file
MOST_MEMORY = 2**30  # bytes of the whole process
HEADERS = (
    *MAGIC,
    b"RIFF\x40\0\0\0WEBPVP8L",
    b"RIFF\x40\0\0\0WEBPVP8X",
    b"BM",
    b"P6\n",
    b"P5 9 9\n",
)
HEADERS += (b"Pf\n3 3\n-1\n", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", b"II+\0\x08\0\0\0", b"GIF89a")
Rng = np.random.Generator


# --- the corpus ----------------------------------------------------------------------------------


def seeds() -> list[bytes]:
    """Whole pictures of every format and many of its variants."""
    y, x = np.mgrid[:40, :56]
    rgb = Image.fromarray(np.stack([x * 4, y * 6, x * y % 256], 2).astype(np.uint8))
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    frames: dict[str, Any] = {"append_images": [rgb.rotate(90), rgb.rotate(180)]}
    exif = Image.Exif()
    exif[0x0112] = 6
    deep, real = rgb.convert("I;16"), rgb.convert("F")
    palette = rgb.quantize(16)
    return [
        encoded(rgb, "JPEG", exif=exif),
        encoded(rgb, "JPEG", progressive=True),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(rgb.convert("L"), "JPEG", restart_marker_rows=1),
        encoded(rgb, "MPO", **frames),
        encoded(rgb, "PNG", exif=exif),
        encoded(alpha, "PNG"),
        encoded(deep, "PNG"),
        encoded(palette, "PNG", transparency=3),
        encoded(rgb, "PNG", **frames),
        encoded(rgb, "WEBP", exif=exif),
        encoded(alpha, "WEBP", lossless=True),
        encoded(rgb, "WEBP", **frames),
        encoded(palette, "GIF", transparency=3),
        encoded(rgb, "GIF", interlace=True, **frames),
        encoded(rgb, "BMP"),
        encoded(palette, "BMP"),
        encoded(rgb, "TIFF"),
        *(
            encoded(rgb, "TIFF", compression=c)
            for c in ("tiff_lzw", "jpeg", "tiff_deflate", "zstd")
        ),
        encoded(rgb.convert("1"), "TIFF", compression="group4"),
        encoded(rgb.convert("CMYK"), "TIFF", compression="packbits"),
        encoded(deep, "TIFF"),
        encoded(real, "TIFF", compression="tiff_lzw"),
        encoded(rgb, "TIFF", big_tiff=True),
        encoded(rgb, "TIFF", **frames),
        encoded(rgb, "PPM"),
        encoded(real, "PPM"),
        encoded(alpha, "AVIF", quality=50, speed=10),
        encoded(rgb, "AVIF", speed=10, **frames),
        b"P3 2 2 255\n" + b"1 2 3 " * 4,
        b"P5 2 2 4095\n" + bytes(8),
    ]


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    """Encoders leave settings behind in a picture: each gets copies."""
    out = io.BytesIO()
    if frames := options.pop("append_images", None):
        options |= {"save_all": True, "append_images": [frame.copy() for frame in frames]}
    picture.copy().save(out, form, **options)
    return out.getvalue()


def flip(data: bytearray, other: bytes, rng: Rng) -> bytes:
    for _ in range(rng.integers(1, 20)):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def flip_in_header(data: bytearray, other: bytes, rng: Rng) -> bytes:
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(min(len(data), 120))] = int(rng.integers(256))
    return bytes(data)


def cut(data: bytearray, other: bytes, rng: Rng) -> bytes:
    return bytes(data[: rng.integers(len(data))])


def splice(data: bytearray, other: bytes, rng: Rng) -> bytes:
    return bytes(data[: rng.integers(len(data))]) + other[rng.integers(len(other)) :]


def repeat(data: bytearray, other: bytes, rng: Rng) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2).tolist())
    return bytes(data[:end] + data[start:end] * int(rng.integers(1, 50)) + data[end:])


def blank(data: bytearray, other: bytes, rng: Rng) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2).tolist())
    data[start:end] = bytes([rng.choice([0, 255])]) * (end - start)
    return bytes(data)


def lie(data: bytearray, other: bytes, rng: Rng) -> bytes:
    """Extreme numbers where widths, lengths, counts and offsets may be."""
    for _ in range(rng.integers(1, 4)):
        number = int(
            rng.choice([0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF])
        )
        form = str(rng.choice(["<I", ">I", "<H", ">H"]))
        packed = struct.pack(form, number & (0xFFFFFFFF if form[1] == "I" else 0xFFFF))
        start = int(rng.integers(min(len(data), 400)))
        data[start : start + len(packed)] = packed
    return bytes(data)


def garbage(data: bytearray, other: bytes, rng: Rng) -> bytes:
    return HEADERS[rng.integers(len(HEADERS))] + rng.bytes(int(rng.integers(0, 2_000)))


MUTATIONS: tuple[Callable[[bytearray, bytes, Rng], bytes], ...] = (
    *(flip, flip_in_header, cut, splice, repeat, blank, lie, garbage),
)


def corpus(count: int, seed: int, kind: str = "image") -> Iterator[bytes]:
    """`count` damaged files; the same for the same seed."""
    whole = WHOLE[kind]()
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        first, second = (whole[k] for k in rng.integers(len(whole), size=2))
        if i < len(MUTATIONS) * len(whole):  # every pair once, then by chance
            first = whole[i // len(MUTATIONS)]
        yield MUTATIONS[i % len(MUTATIONS)](bytearray(first), second, rng)


def recordings() -> list[bytes]:
    """Whole recordings of every format and many of its variants."""
    time = np.arange(1_500) / 8_000
    wave = 0.3 * np.sin(2 * np.pi * 440 * time)
    both = np.stack([wave, wave[::-1]], 1)
    ways: list[tuple[Any, str, str]] = [
        *((wave, "WAV", s) for s in ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW")),
        *((both, "WAV", s) for s in ("PCM_16", "ALAW", "IMA_ADPCM", "MS_ADPCM")),
        *((wave, "FLAC", s) for s in ("PCM_16", "PCM_24", "PCM_S8")),
        *((both, "FLAC", "PCM_16"), (wave, "OGG", "VORBIS"), (both, "OGG", "VORBIS")),
        *((wave, "OGG", "OPUS"), (both, "OGG", "OPUS"), (wave, "MP3", "MPEG_LAYER_III")),
        *((both, "AIFF", "PCM_16"), (wave, "AIFF", "FLOAT"), (wave, "AU", "PCM_16")),
        *((wave, "AU", "ULAW"), (wave, "RF64", "PCM_16"), (wave, "W64", "PCM_16")),
    ]
    return [recorded(*way) for way in ways]


def recorded(wave: Any, form: str, subtype: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, wave, 8_000, format=form, subtype=subtype)
    return out.getvalue()


def texts() -> list[bytes]:
    """Texts of many scripts, in the forms in which they come."""
    said = (
        "My card has not arrived yet, what now?",
        "Où est ma carte ? Ça fait déjà dix jours…",
        "Моя карта ещё не пришла, что делать?",
        "我的卡还没到,怎么办?",
        "لم تصل بطاقتي بعد",
        "मेरा कार्ड अभी तक नहीं आया",
        "🙂🏳️‍🌈 e\u0301 \u202eright to left\u202c \ufeff",
        "a line\r\nand\tanother\n" * 40,
    )
    return [
        *(text.encode() for text in said),
        *(text.encode("utf-8-sig") for text in said[:2]),
    ]


WHOLE: dict[str, Callable[[], list[bytes]]] = {
    "image": seeds,
    "audio": recordings,
    "text": texts,
}


def told_of(kind: str, raw: Any) -> dict[str, Any]:
    """What the child tells of an example that was decoded; a network gets to read it too."""
    return TOLD[kind](raw)


def of_a_text(raw: str) -> dict[str, Any]:
    read = modality("text").prepare(raw, InputSpec(size=64, reads="text"), "centre")
    assert read.tobytes().decode() == raw
    return {"characters": len(raw)}


def of_a_recording(raw: Any) -> dict[str, Any]:
    finite = bool(np.isfinite(raw.samples).all())
    heard_by = (InputSpec(size=64), InputSpec(size=30, reads="sound", hears=Hearing("samples")))
    seen = [modality("audio").prepare(raw, spec, "centre").shape for spec in heard_by]
    return {"finite": finite, "samples": len(raw.samples), "seen": seen}


TOLD: dict[str, Callable[[Any], dict[str, Any]]] = {
    "image": lambda raw: {"size": raw.size, "mode": raw.mode},
    "audio": of_a_recording,
    "text": of_a_text,
}


# --- decoding them in a child --------------------------------------------------------------------


def decode_all(folder: Path, kind: str) -> None:
    """One line of JSON a file, in the order of the names."""
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))  # spares the machine
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends a hang
    for path in sorted(folder.iterdir()):
        signal.alarm(int(3 * LONGEST))
        start = time.perf_counter()
        try:
            found = modality(kind).decode(path.read_bytes(), path.name, InputSpec(size=64))
            told = {"kind": "decoded", **told_of(kind, found.raw)}
        except Unreadable as error:
            told = {"kind": error.kind, "reason": error.reason, "file": error.file}
        seconds = time.perf_counter() - start
        told |= {"name": path.name, "seconds": seconds, "peak": peak_memory()}
        print(json.dumps(told), flush=True)


def peak_memory() -> int:
    """Bytes; getrusage's figure would begin with that of the parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def told_by_child(folder: Path, kind: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-W", "ignore", __file__, str(folder), kind]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    names = sorted(os.listdir(folder))
    after = names[len(lines)] if len(lines) < len(names) else "the last file"
    assert run.returncode == 0, f"died of {run.returncode} at {after}: {run.stderr[-2000:]}"
    assert len(lines) == len(names)
    return lines


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    return {
        path.name: (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in folder.iterdir()
    }


def check(folder: Path, kind: str = "image") -> list[dict[str, Any]]:
    """Decode a folder in a child; the promises that hold for every file in it."""
    before = state(folder)
    lines = told_by_child(folder, kind)
    for line in lines:
        assert line["kind"] in REFUSALS[kind] | {"decoded"}, line
        assert line["seconds"] < LONGEST, line
        assert line["peak"] < MOST_MEMORY, line
        if line["kind"] == "decoded":
            assert line.get("mode", "RGB") == "RGB"
            assert line.get("finite", True)
        else:
            assert line["file"] == line["name"]
            assert len(line["reason"]) > 10, line
    assert state(folder) == before
    return lines


@pytest.mark.parametrize(
    "count", [600, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])]
)
def test_damaged_files(count: int, tmp_path: Path) -> None:
    for i, data in enumerate(corpus(count, seed=count)):
        (tmp_path / f"{i:05}").write_bytes(data)
    lines = check(tmp_path)
    kinds = [line["kind"] for line in lines]
    assert 0.05 < kinds.count("decoded") / count < 0.6  # else the damage would be none, or all
    assert {"not-an-image", "truncated", "damaged", "bomb"} <= set(kinds)


@pytest.mark.parametrize(
    "count", [400, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])]
)
def test_damaged_recordings(count: int, tmp_path: Path) -> None:
    for i, data in enumerate(corpus(count, count, "audio")):
        (tmp_path / f"{i:05}").write_bytes(data)
    kinds = [line["kind"] for line in check(tmp_path, "audio")]
    assert 0.1 < kinds.count("decoded") / count < 0.8
    assert {"not-a-recording", "damaged"} <= set(kinds)


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_damaged_texts(count: int, tmp_path: Path) -> None:
    for i, data in enumerate(corpus(count, count, "text")):
        (tmp_path / f"{i:05}").write_bytes(data)
    kinds = [line["kind"] for line in check(tmp_path, "text")]
    assert 0.05 < kinds.count("decoded") / count < 0.8
    assert {"not-text", "encoding"} <= set(kinds)


def test_the_whole_texts_of_the_corpus_are_readable() -> None:
    read = [modality("text").decode(data, "x").raw for data in texts()]
    assert [text.encode() for text in read[:8]] == [data.strip() for data in texts()[:8]]
    assert read[8:] == read[:2]  # without the mark that some begin with


def test_the_whole_recordings_of_the_corpus_are_readable() -> None:
    heard = [modality("audio").decode(data, "x").raw.samples for data in recordings()]
    assert all(2_500 < len(samples) < 6_000 for samples in heard)


def test_the_whole_pictures_of_the_corpus_are_readable() -> None:
    formats = set()
    for data in seeds()[:-2]:
        formats.add(MODALITY.decode(data, "x").facts.format)
    assert formats == {*FORMATS, "MPO"}


def big() -> Iterator[tuple[str, bytes]]:
    """Small files that fill as much memory as is allowed, and files just beyond."""
    side = 9_400
    yield "palette.png", encoded(Image.new("P", (side, side)), "PNG", transparency=0)
    yield "alpha.png", encoded(Image.new("RGBA", (side, side)), "PNG")
    yield "deep.png", encoded(Image.new("I;16", (side, side)), "PNG")
    yield "float.tif", encoded(Image.new("F", (side, side)), "TIFF", compression="tiff_lzw")
    yield "cmyk.tif", encoded(Image.new("CMYK", (side, side)), "TIFF", compression="tiff_lzw")
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "turned.png", encoded(Image.new("RGB", (side, side)), "PNG", exif=exif)
    yield "progressive.jpg", encoded(Image.new("CMYK", (side, side)), "JPEG", progressive=True)
    yield "still.webp", encoded(Image.new("RGBA", (6_600, 6_600)), "WEBP", lossless=True, method=0)
    yield "still.avif", encoded(Image.new("RGBA", (6_600, 6_600)), "AVIF", speed=10)
    yield "beyond.webp", encoded(Image.new("RGB", (6_800, 6_800)), "WEBP", lossless=True, method=0)
    yield "beyond.png", encoded(Image.new("1", (15_000, 12_000)), "PNG")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_largest_pictures_stay_within_the_memory(tmp_path: Path) -> None:
    for name, data in big():
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(data)
        (line,) = check(folder)  # a child for each, whose peak is its own
        assert (line["kind"] == "bomb") == name.startswith("beyond"), line


# --- random bytes --------------------------------------------------------------------------------


def decodes_or_is_refused(data: bytes) -> None:
    try:
        assert MODALITY.decode(data, "x").raw.mode == "RGB"
    except Unreadable as error:
        refused = error
    else:
        return
    assert refused.kind in KINDS
    assert refused.reason
    assert refused.file == "x"


@given(st.binary(max_size=400))
@example(b"")
@example(bytes(16))
@pytest.mark.filterwarnings("ignore")
def test_random_bytes(data: bytes) -> None:
    decodes_or_is_refused(data)


@given(st.sampled_from(HEADERS), st.binary(max_size=400))
@pytest.mark.filterwarnings("ignore")
def test_random_bytes_after_the_first_ones_of_a_format(head: bytes, rest: bytes) -> None:
    decodes_or_is_refused(head + rest)


@given(st.sampled_from(seeds()), st.integers(0, 2_000), st.binary(min_size=1, max_size=30))
@pytest.mark.filterwarnings("ignore")
def test_bytes_written_into_a_picture(whole: bytes, place: int, some: bytes) -> None:
    place %= len(whole)
    decodes_or_is_refused(whole[:place] + some + whole[place + len(some) :])


if __name__ == "__main__":
    decode_all(Path(sys.argv[1]), sys.argv[2])
