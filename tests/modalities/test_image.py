"""Pictures: every odd input has its named outcome, and preprocessing equals independent ones."""

import base64
import io
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from regraft.errors import Unreadable, UsageError
from regraft.modalities import MODALITIES, modality
from regraft.modalities.base import Decoded
from regraft.modalities.image import FORMATS, LOOK, MODALITY, MOST_PIXELS, VIEWS
from regraft.modalities.spec import FITS, InputSpec

Pixels = npt.NDArray[Any]
SPEC = InputSpec(size=64)


def smooth(width: int = 96, height: int = 64) -> Pixels:
    """(height, width, 3) uint8 without hard edges, without any symmetry."""
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = x / max(width - 1, 1), y / max(height - 1, 1)
    waves = [x * 0.8 + 0.1, 0.5 + 0.4 * np.sin(3 * x + 2 * y * y), 0.2 + 0.6 * y * x]
    return np.round(np.stack(waves, 2) * 255).astype(np.uint8)


def encoded(picture: Pixels | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(out, form, **options)
    return out.getvalue()


def decoded(data: bytes, spec: InputSpec | None = None) -> Decoded:
    return MODALITY.decode(data, "a.picture", spec)


def pixels(data: bytes) -> npt.NDArray[np.int64]:
    """(height, width, 3); signed, so that differences can be taken."""
    raw = decoded(data).raw
    assert raw.mode == "RGB"
    return np.asarray(raw).astype(np.int64)


def refusal(data: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        decoded(data)
    assert caught.value.file == "a.picture"
    assert str(caught.value) == f"a.picture: {caught.value.reason}"
    return caught.value


def png(width: int, height: int, body: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG by hand, so that its header may lie."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# --- files that are no pictures ------------------------------------------------------------------


def test_an_empty_file() -> None:
    assert refusal(b"").kind == "empty"


@pytest.mark.parametrize("data", [b"\0", b"hello, I am a text\n" * 50, b"PK\3\4" + bytes(99)])
def test_not_an_image(data: bytes) -> None:
    refused = refusal(data)
    assert refused.kind == "not-an-image"
    assert repr(data[:8]) in refused.reason
    assert "PNG" in refused.reason


def test_formats_that_are_not_listed_are_not_opened() -> None:
    for form in ("ICO", "TGA", "PCX", "JPEG2000", "SGI"):
        assert form not in FORMATS
        assert refusal(encoded(smooth(32, 32), form)).kind == "not-an-image"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file(form: str, share: float) -> None:
    whole = encoded(smooth(), form)
    refused = refusal(whole[: int(len(whole) * share)])
    assert refused.kind == "truncated"
    assert "ends too early" in refused.reason


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF"])
def test_a_file_cut_off_in_its_header_is_told_apart_from_a_text(form: str) -> None:
    refused = refusal(encoded(smooth(), form)[:12])
    assert refused.kind in ("truncated", "damaged")


def test_damaged_in_the_middle() -> None:
    whole = bytearray(encoded(smooth(), "PNG"))
    middle = whole.index(b"IDAT") + 60
    whole[middle : middle + 40] = bytes(40)
    assert refusal(bytes(whole)).kind in ("damaged", "truncated")


# --- files that demand too much ------------------------------------------------------------------


@pytest.mark.parametrize("side", [9_460, 14_000, 100_000])
@pytest.mark.parametrize("action", ["ignore", "error"])
def test_a_header_that_promises_billions_of_pixels(side: int, action: Any) -> None:
    assert side * side > MOST_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        start = time.perf_counter()
        refused = refusal(png(side, side, bytes(1000)))
    assert refused.kind == "bomb"
    assert time.perf_counter() - start < 1


def test_a_bomb_in_every_format() -> None:
    blank = Image.new("1", (30_000, 3_000))
    for form in ("PNG", "TIFF", "GIF", "BMP", "PPM"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            assert refusal(encoded(blank, form)).kind == "bomb"


def test_a_tiff_with_a_tile_larger_than_itself() -> None:
    body = zlib.compress(bytes(1000))
    # width, height, bits, compression, photometric, samples, tile width and length, offset, bytes
    values = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 40_000, 323: 40_000}
    values |= {324: 8 + 2 + 12 * 10 + 4, 325: len(body)}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    refused = refusal(head + b"".join(entries) + bytes(4) + body)
    assert refused.kind == "bomb"
    assert "1,600,000,000 bytes" in refused.reason


def test_a_jpeg_of_thousands_of_scans() -> None:
    whole = encoded(Image.new("L", (2_000, 2_000), 128), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    assert refusal(whole[:-2] + last * 1_000 + whole[-2:]).kind == "bomb"
    assert decoded(whole[:-2] + last * 10 + whole[-2:]).facts.width == 2_000


def test_a_gif_of_millions_of_frames_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Image.new("L", (1, 1), grey) for grey in (0, 255))
    whole = encoded(first, "GIF", save_all=True, append_images=[second])
    one_frame = whole[whole.rindex(b"\x21\xf9") : -1]
    monkeypatch.setattr("regraft.modalities.image.MOST_PIECES", 20_000)
    assert decoded(whole[:-1] + one_frame * 1_000 + b";").facts.frames == 1_002
    assert refusal(whole[:-1] + one_frame * 10_000 + b";").kind == "bomb"


@pytest.mark.parametrize("head", [b"P3 2 1 255\n", b"P2 2 1 9\n", b"P5 2 1 9\n"])
def test_codings_that_only_python_reads(head: bytes) -> None:
    refused = refusal(head + b"1 2 3 4 5 6 ")
    assert refused.kind == "unsupported"
    assert "save it as PNG" in refused.reason


def test_a_file_of_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(smooth())
    monkeypatch.setattr("regraft.modalities.image.MOST_BYTES", len(data) - 1)
    assert refusal(data).kind == "too-large"


def test_too_little_memory_is_not_the_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("regraft.modalities.image._to_rgb", no_memory)
    assert refusal(encoded(smooth())).kind == "no-memory"


# --- colours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_rgb_without_loss(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    assert (pixels(encoded(smooth(), form, **options)) == smooth()).all()


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
def test_rgb_with_little_loss(form: str) -> None:
    found = decoded(encoded(smooth(), form, quality=95))
    assert np.abs(np.asarray(found.raw).astype(int) - smooth()).max() <= 12
    assert found.facts.format == form
    assert (found.facts.width, found.facts.height) == (96, 64)


def test_cmyk_jpeg_as_adobe_writes_it() -> None:
    dark = smooth() // 3
    data = encoded(Image.fromarray(dark).convert("CMYK"), "JPEG", quality=95, subsampling=0)
    assert b"Adobe" in data  # the marker that says: inverted
    assert decoded(data).facts.mode == "CMYK"
    assert np.abs(pixels(data) - dark).max() <= 12


def test_cmyk_tiff() -> None:
    data = encoded(Image.fromarray(smooth()).convert("CMYK"), "TIFF")
    assert np.abs(pixels(data) - smooth()).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_gives_its_high_byte(form: str) -> None:
    values = np.arange(96 * 64, dtype=np.uint16).reshape(64, 96) * 10
    data = encoded(values, form)
    assert decoded(data).facts.mode in ("I;16", "I")
    assert (pixels(data) == (values >> 8)[:, :, None]).all()


def test_16_bit_grey_big_endian() -> None:
    values = np.arange(96 * 64, dtype=">u2").reshape(64, 96) * 10
    data = encoded(Image.frombytes("I;16B", (96, 64), values.astype(">u2").tobytes()), "TIFF")
    assert decoded(data).facts.mode == "I;16B"
    assert (pixels(data) == (values >> 8)[:, :, None]).all()


def test_16_bit_colour_png() -> None:
    rows = b"".join(
        b"\0" + bytes([c for v in row for c in (v, 7)]) for row in smooth(5, 4).reshape(4, -1)
    )
    assert (pixels(png(5, 4, rows, depth=16)) == smooth(5, 4)).all()


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_float_tiff_from_0_to_1_or_to_255(top: float) -> None:
    values = np.linspace(0, top, 96 * 64, dtype=np.float32).reshape(64, 96)
    expected = np.round(values * (255 / top)).astype(int)
    assert (pixels(encoded(values, "TIFF")) == expected[:, :, None]).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, -1.0, 256.0])
@pytest.mark.parametrize("place", [0, 1234])
def test_float_tiff_with_odd_values(odd: float, place: int) -> None:
    values = np.full((64, 96), 0.5, np.float32)
    values.flat[place] = odd
    assert refusal(encoded(values, "TIFF")).kind == "odd-values"


@pytest.mark.parametrize("odd", [-1, 65_536, 2**31 - 1])
def test_integer_tiff_with_odd_values(odd: int) -> None:
    values = np.full((64, 96), 100, np.int32)
    values[3, 5] = odd
    refused = refusal(encoded(values, "TIFF"))
    assert refused.kind == "odd-values"
    assert str(odd) in refused.reason


def palette_picture() -> Image.Image:
    picture = Image.new("P", (4, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    picture.putdata([0, 1, 2, 3])
    return picture


PALETTE = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]])


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(form: str) -> None:
    data = encoded(palette_picture(), form)
    assert decoded(data).facts.mode == "P"
    assert (pixels(data) == PALETTE).all()


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_transparent_colour_of_a_palette_is_white(form: str) -> None:
    expected = PALETTE.copy()
    expected[0, 1] = 255
    assert (pixels(encoded(palette_picture(), form, transparency=1)) == expected).all()


def test_a_palette_with_partial_transparency() -> None:
    found = pixels(encoded(palette_picture(), "PNG", transparency=bytes([255, 0, 128, 255])))
    expected = PALETTE.copy()
    expected[0, 1], expected[0, 2] = 255, [127, 127, 255]
    assert np.abs(found - expected).max() <= 1


def on_white(colours: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[:, :, None] / 255
    return np.round(share * colours + (1 - share) * 255)


@pytest.mark.parametrize(
    ("form", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})]
)
def test_alpha_is_composited_on_white(form: str, options: dict[str, Any]) -> None:
    alpha = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
    data = encoded(np.dstack([smooth(), alpha]), form, **options)
    assert decoded(data).facts.mode == "RGBA"
    assert np.abs(pixels(data) - on_white(smooth(), alpha)).max() <= 1


def test_grey_with_alpha() -> None:
    grey, alpha = smooth()[:, :, :1], smooth()[:, :, 0]
    data = encoded(Image.merge("LA", [Image.fromarray(grey[:, :, 0]), Image.fromarray(alpha)]))
    assert decoded(data).facts.mode == "LA"
    assert np.abs(pixels(data) - on_white(grey, alpha)).max() <= 1


@pytest.mark.parametrize(
    ("mode", "ground", "key"), [("RGB", (10, 20, 30), (10, 20, 30)), ("L", 10, 10), ("1", 0, 0)]
)
def test_a_transparent_colour_without_palette_is_white(mode: str, ground: Any, key: Any) -> None:
    picture = Image.new(mode, (4, 4), ground)
    picture.putpixel((1, 2), (255, 0, 0) if mode == "RGB" else 255)
    found = pixels(encoded(picture, transparency=key))
    assert (found[2, 1] == ([255, 0, 0] if mode == "RGB" else 255)).all()
    found[2, 1] = 255
    assert (found == 255).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "PPM", "GIF"])
def test_one_bit(form: str) -> None:
    black = smooth()[:, :, 0] > 128
    assert (pixels(encoded(Image.fromarray(black), form)) == black[:, :, None] * 255).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "PPM", "AVIF"])
def test_grey(form: str) -> None:
    found = pixels(encoded(Image.fromarray(smooth()[:, :, 1]), form))
    assert np.abs(found - smooth()[:, :, 1:2]).max() <= 12


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "I;16", "F", "1", "RGB"])
def test_a_large_picture_is_converted_in_strips_as_a_whole(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = Image.fromarray(smooth()).convert(
        "L" if mode in ("I;16", "F") else mode if mode != "LA" else "L"
    )
    if mode == "LA":
        picture.putalpha(Image.fromarray(smooth()[:, :, 0]))
    picture = picture.convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    data = encoded(picture, "TIFF" if mode in ("CMYK", "F") else "PNG", **options)
    whole = pixels(data)
    monkeypatch.setattr("regraft.modalities.image.STRIP", 96 * 5 + 1)
    assert (pixels(data) == whole).all()


# --- orientation ---------------------------------------------------------------------------------

# EXIF: where the first row and the first column of the stored picture belong.
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.swapaxes(0, 1),  # left, top
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda upright: upright[::-1].swapaxes(0, 1),  # left, bottom
}


def turned(orientation: int, form: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](smooth(96, 60)))
    return encoded(stored, form, exif=exif, **options)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {"quality": 95}),
    ],
)
def test_every_orientation_comes_out_upright(
    orientation: int, form: str, options: dict[str, Any]
) -> None:
    data = turned(orientation, form, **options)
    assert np.abs(pixels(data) - smooth(96, 60)).max() <= 12
    facts = decoded(data).facts
    assert (facts.width, facts.height, facts.orientation) == (96, 60, orientation)
    upright = decoded(encoded(smooth(96, 60))).facts.thumb.astype(int)
    assert np.abs(facts.thumb - upright).max() <= 8


@pytest.mark.parametrize("orientation", [0, 9, 255, 60_000])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decoded(encoded(smooth(), exif=exif))
    assert found.facts.orientation == 1
    assert (np.asarray(found.raw) == smooth()).all()


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"garbage" * 9,
        b"II*\0\xff\xff\xff\xff",  # the directory lies far outside
        b"MM\0*\0\0\0\x08\xff\xff"
        + b"\x01\x12\0\x03\xff\xff\xff\xff" * 3,  # entries that are cut off
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0"
        + bytes(4),  # text where a number is due
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_exif_block_says_nothing(block: bytes, form: str) -> None:
    found = decoded(encoded(smooth(), form, exif=b"Exif\0\0" + block))
    assert found.facts.orientation == 1
    assert found.raw.size == (96, 64)


# --- several frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "MPO", "AVIF"])
def test_the_first_frame_counts(form: str) -> None:
    colours = [(200, 30, 40), (30, 200, 40), (30, 40, 200)]
    frames = [Image.new("RGB", (64, 48), colour) for colour in colours]
    found = decoded(encoded(frames[0], form, save_all=True, append_images=frames[1:]))
    assert found.facts.frames == 3
    assert found.facts.format == form
    assert found.raw.size == (64, 48)
    assert np.abs(np.asarray(found.raw).astype(int) - colours[0]).max() <= 6


def test_a_still_picture_has_one_frame() -> None:
    for form in FORMATS:
        assert decoded(encoded(smooth(), form)).facts.frames == 1


# --- preparing -----------------------------------------------------------------------------------

EXTREMES = [(1, 1), (1, 10_000), (10_000, 1), (2, 3), (300, 7)]


@pytest.mark.parametrize("size", EXTREMES)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("view", VIEWS)
def test_extreme_shapes(size: tuple[int, int], fit: str, view: str) -> None:
    start = time.perf_counter()
    for form in ("PNG", "JPEG"):
        picture = decoded(encoded(Image.new("RGB", size, (200, 30, 40)), form, quality=95), SPEC)
        made = MODALITY.prepare(picture.raw, InputSpec(size=224, fit=fit), view)
        assert made.shape == (224, 224, 3)
        assert made.dtype == np.uint8
        assert np.abs(made.astype(int) - (200, 30, 40)).max(2).min() <= 6  # it is there
        assert picture.facts.thumb.shape == (32, 32, 3)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("size", [(400, 534), (534, 400), (230, 231), (1_600, 1_200)])
@pytest.mark.parametrize(
    ("side", "fraction", "interpolation"),
    [(70, 0.875, "bicubic"), (128, 1.0, "bicubic"), (224, 0.875, "bilinear")],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_crop_equals_the_transform_of_timm(
    size: tuple[int, int], side: int, fraction: float, interpolation: str, form: str
) -> None:
    from timm.data.transforms_factory import create_transform

    spec = InputSpec(size=side, crop_fraction=fraction, interpolation=interpolation)
    picture = smooth(*size)
    transform = create_transform(
        (3, side, side),
        is_training=False,
        interpolation=interpolation,
        crop_pct=fraction,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    theirs = transform(Image.fromarray(picture)).permute(1, 2, 0).numpy() * 255
    ours = MODALITY.prepare(decoded(encoded(picture, form, quality=95), spec).raw, spec, "centre")
    difference = np.abs(ours - theirs)
    assert difference.mean() < 1
    assert difference.max() <= 6


def test_squash_is_one_resize() -> None:
    spec = InputSpec(size=40, fit="squash", interpolation="lanczos")
    made = MODALITY.prepare(Image.fromarray(smooth()), spec, "centre")
    expected = Image.fromarray(smooth()).resize((40, 40), Image.Resampling.LANCZOS)
    assert (made == np.asarray(expected)).all()


def test_pad_keeps_the_whole_picture_on_the_mean_colour() -> None:
    spec = InputSpec(size=48, fit="pad", mean=(0.2, 0.4, 0.6))
    made = MODALITY.prepare(Image.fromarray(smooth(96, 48)), spec, "centre")
    inner = Image.fromarray(smooth(96, 48)).resize((48, 24), Image.Resampling.BICUBIC)
    assert (made[12:36] == np.asarray(inner)).all()
    ground = np.array([51, 102, 153])
    assert (made[:12] == ground).all()
    assert (made[36:] == ground).all()


@pytest.mark.parametrize("fit", FITS)
def test_the_second_view_is_the_mirrored_whole(fit: str) -> None:
    spec = InputSpec(size=48, fit=fit)
    whole = MODALITY.prepare(
        Image.fromarray(smooth(96, 48)), InputSpec(size=48, fit="pad"), "centre"
    )
    mirrored = MODALITY.prepare(Image.fromarray(smooth(96, 48)), spec, "whole-mirrored")
    assert (mirrored == whole[:, ::-1]).all()
    assert (mirrored != whole).any()


def test_preparing_is_repeatable_and_leaves_the_picture_alone() -> None:
    raw = decoded(encoded(smooth(200, 150), "JPEG"), SPEC).raw
    before = np.asarray(raw).copy()
    first, second = (MODALITY.prepare(raw, SPEC, "centre") for _ in range(2))
    assert (first == second).all()
    assert (np.asarray(raw) == before).all()


def test_an_unknown_view_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'left' is not one of centre, whole-mirrored"):
        MODALITY.prepare(Image.new("RGB", (9, 9)), SPEC, "left")


@given(
    width=st.integers(1, 3_000),
    height=st.integers(1, 3_000),
    size=st.integers(8, 512),
    fraction=st.floats(0.3, 1),
)
def test_a_jpeg_is_never_decoded_smaller_than_needed(
    width: int, height: int, size: int, fraction: float
) -> None:
    data = encoded(Image.new("L", (width, height)), "JPEG", quality=1)
    spec = InputSpec(size=size, crop_fraction=fraction)
    found = decoded(data, spec)
    assert min(found.raw.size) >= min(width, height, size / fraction)
    assert (found.facts.width, found.facts.height) == (width, height)
    assert min(decoded(data).raw.size) >= min(width, height, LOOK)


def test_a_large_jpeg_is_decoded_at_a_smaller_scale() -> None:
    data = encoded(Image.new("RGB", (4_000, 3_000), "red"), "JPEG")
    assert decoded(data).raw.size == (500, 375)
    assert decoded(data, InputSpec(size=700, crop_fraction=1)).raw.size == (1_000, 750)


# --- the rest of the modality --------------------------------------------------------------------


def test_plain_is_a_small_picture() -> None:
    vector = MODALITY.plain(decoded(encoded(smooth(64, 64))).facts)
    assert vector.shape == (768,)
    assert vector.dtype == np.float32
    expected = smooth(64, 64).reshape(16, 4, 16, 4, 3).mean((1, 3)) / 255
    assert np.abs(vector.reshape(16, 16, 3) - expected).max() < 0.01


def test_a_thumbnail_is_a_small_jpeg() -> None:
    text = MODALITY.thumbnail(turned(6, "JPEG"), "a.jpg", 48)
    head, _, body = text.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(body))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (48, 30)


def test_the_natural_size_is_the_shorter_side() -> None:
    assert MODALITY.natural_size(decoded(turned(6, "PNG")).facts) == 60


def test_facts_as_plain_data() -> None:
    assert decoded(turned(6, "PNG")).facts.to_dict() == {
        "width": 96,
        "height": 60,
        "mode": "RGB",
        "format": "PNG",
        "orientation": 6,
        "frames": 1,
        "group": "",
    }


@pytest.mark.parametrize("name", MODALITIES)
def test_modalities_are_found_by_name(name: str) -> None:
    found = modality(name)
    assert found.name == name
    assert found.version
    assert found.extensions
    assert all(ending == ending.lower().lstrip(".") for ending in found.extensions)
    assert InputSpec().views[0] == found.views[0]


def test_an_unknown_modality_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'smell' is not known; choose one of audio, image"):
        modality("smell")


def test_every_extension_is_of_a_format_that_is_opened() -> None:
    Image.init()
    endings = {
        end.lstrip(".") for end, form in Image.EXTENSION.items() if form in (*FORMATS, "MPO")
    }
    assert MODALITY.extensions - endings == {"dib", "dcm", "dicom"}  # a BMP; read by pydicom
