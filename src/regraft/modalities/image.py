"""Pictures: decode → upright RGB → resize and crop → uint8. The only implementation of it.

Normalisation, (x / 255 - mean) / std, is the first layer of the network (backbones/network.py), so
that every engine has it inside.
"""

import base64
import io
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL import __version__ as pillow_version

from regraft.errors import MissingExtra, Unreadable, UsageError
from regraft.modalities import dicom
from regraft.modalities.base import MOST_BYTES, Decoded
from regraft.modalities.deep import DEEP, Conversion
from regraft.modalities.facts import THUMB, Facts
from regraft.modalities.spec import InputSpec
from regraft.modalities.windows import FILE

if TYPE_CHECKING:
    from regraft.modalities.augment import Augmentations
    from regraft.modalities.usual import Usual

# Decoders that may run: an explicit list, since rarely used ones are where the holes are. Pictures
# of several photos (MPO) are opened by the first one.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
CHECKED = ("PNG",)  # formats with checksums that Pillow can compare
MAGIC: Mapping[bytes, str] = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
MOST_PIXELS = 89_478_485  # a quarter of a GiB as RGB; more is called a decompression bomb
COPIES: Mapping[str, int] = {"WEBP": 2, "AVIF": 2}  # their decoders hold the picture several times
MOST_SCANNED = 3_000_000_000  # pixels times scans of a JPEG: about 5 s
SCAN = b"\xff\xda"  # marker before each scan
MOST_PIECES = 2_000_000  # of a file, as a decoder reads it: about 5 s
MOST_PIECE = 400 * 2**20  # bytes that a decoder of TIFF unpacks at once
STRIP = 2**22  # pixels whose mode is changed at once
LOOK = 128  # shorter side in pixels that suffices for a look without a network
DETAIL = 1.25  # shorter side that is kept for training, in sizes of the input
PLAIN = 16  # side of the baseline's raw-pixel vector

ORIENTATION = 0x0112  # EXIF tag
BITS_PER_SAMPLE, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH = 258, 278, 322, 323  # TIFF tags
UPRIGHT: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
RESAMPLING = {f.name.lower(): f for f in Image.Resampling}


class ImageModality:
    """See `regraft.modalities.base.Modality`."""

    name = "image"
    version = f"2 pillow-{pillow_version}"  # raise it when the same file would give other pixels
    extensions = frozenset(
        {"jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "gif", "bmp", "dib"}
        | {"tif", "tiff", "ppm", "pgm", "pbm", "pnm", "avif", "dcm", "dicom"}
    )
    inputs: tuple[str, ...] = ("picture",)
    views: tuple[str, ...] = ("centre", "whole-mirrored")
    parts = False
    sayable = False
    plainly = ("raw pixels", f"ridge on {PLAIN} × {PLAIN} pixels")
    baseline = "ridge"

    @property
    def usual(self) -> "tuple[Usual, ...]":
        """Parts of the usual augmentation."""
        from regraft.modalities.augment import USUAL

        return USUAL

    def decode(self, data: bytes, file: str, spec: InputSpec | None = None) -> Decoded:
        """Bytes → upright RGB picture; a JPEG is decoded at the smallest scale that suffices.

        Kinds of `Unreadable`: empty, not-an-image, truncated, damaged; too-large (bytes), bomb
        (pixels, time or memory beyond the limits above), unsupported (coding), odd-values (NaN
        ...), no-memory.
        """
        need = LOOK if spec is None else int(np.ceil(spec.size / spec.crop_fraction))
        window = FILE if spec is None else spec.window
        refuse_by_size(data, file)
        try:
            if dicom.is_dicom(data):
                return _of_dicom(data, file, window)
            return _decode(data, file, need, window)
        except (Unreadable, MissingExtra):
            raise
        except UnidentifiedImageError:
            raise Unreadable(file, *_not_an_image(data)) from None
        except Exception as error:  # decoders raise nearly anything on damaged bytes
            raise Unreadable(file, *_diagnosis(error)) from None

    def prepare(self, raw: Image.Image, spec: InputSpec, view: str) -> npt.NDArray[np.uint8]:
        """Picture → (size, size, 3) uint8."""
        if view not in VIEWS:
            raise UsageError(f"views: {view!r} is not one of {', '.join(VIEWS)}")
        return np.asarray(VIEWS[view](raw, spec))

    def augment(
        self,
        raw: Image.Image,
        spec: InputSpec,
        wanted: "Augmentations",
        rng: np.random.Generator,
    ) -> npt.NDArray[np.uint8]:
        """Picture → (size, size, 3) uint8, changed at random."""
        from regraft.modalities.augment import augmented

        return augmented(raw, spec, wanted, rng)

    def augmentations(self, text: "str | Augmentations") -> "Augmentations":
        """See `augment.parse`."""
        from regraft.modalities.augment import parse

        return parse(text, self.name)

    def compact(self, raw: Image.Image, spec: InputSpec) -> tuple[Image.Image, int]:
        """The picture no larger than random crops for `spec` need, and its bytes in memory."""
        wanted = DETAIL * spec.size / spec.crop_fraction
        if (scale := wanted / min(raw.size)) < 1:
            size = (round(raw.width * scale), round(raw.height * scale))
            raw = raw.resize(size, RESAMPLING[spec.interpolation], reducing_gap=2.0)
        return raw, 3 * raw.width * raw.height

    def view_sets(self, facts: Sequence[Facts]) -> Mapping[str, tuple[str, ...]]:
        return {"centre and the whole picture mirrored": self.views}

    def plain(self, facts: Facts) -> npt.NDArray[np.float32]:
        """(768,): the picture squashed to 16 × 16 pixels, in [0, 1]."""
        step = THUMB // PLAIN
        blocks = facts.thumb.reshape(PLAIN, step, PLAIN, step, 3).mean((1, 3), dtype=np.float32)
        return (blocks / 255).reshape(-1)

    def thumbnail(self, data: bytes, file: str, side: int = 160) -> str:
        """JPEG of at most side × side pixels."""
        picture = self.decode(data, file).raw.copy()
        picture.thumbnail((side, side), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=72)
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()

    def clip(self, data: bytes, file: str) -> str | None:
        return None

    def said(self, name: str) -> bytes | None:
        return None

    def natural_size(self, facts: Facts) -> int:
        return min(facts.width, facts.height)


MODALITY = ImageModality()


def refuse_by_size(data: bytes, file: str) -> None:
    if not data:
        raise Unreadable(file, "empty", "the file is empty (0 bytes)")
    if len(data) > MOST_BYTES:
        raise Unreadable(file, "too-large", f"{len(data):,} bytes; at most {MOST_BYTES:,} are read")


class _Pieces(io.BytesIO):
    """The bytes of a file, for a decoder that may ask for a bounded number of pieces.

    A file of millions of crumbs (empty chunks, frames of one pixel) would keep it busy for minutes.
    """

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.asked += 1
        if self.asked > MOST_PIECES:
            raise _Costly(f"its decoder would have to read more than {MOST_PIECES:,} pieces")
        return super().read(size)


class _Costly(Exception):
    """Decoding would take too much time or memory."""


def pages(data: bytes, file: str, most: int) -> Iterator[npt.NDArray[Any]]:
    """The pages of a TIFF file as they are stored, grey or colour, at most so many.

    Raises Unreadable, and nearly anything on damaged bytes.
    """
    with Image.open(_Pieces(data), formats=("TIFF",)) as picture:
        if (frames := int(getattr(picture, "n_frames", 1))) > most:
            raise Unreadable(file, "bomb", f"{frames:,} pages; more than {most:,} are refused")
        for page in range(frames):
            picture.seek(page)
            _refuse_costly(picture, data, file)
            yield np.asarray(picture)


def _decode(data: bytes, file: str, need: int, window: str) -> Decoded:
    with Image.open(_Pieces(data), formats=FORMATS) as picture:
        _refuse_costly(picture, data, file)
        _compare_checksums(data, picture)
        mode, form, told = picture.mode, str(picture.format), _orientation(picture)
        width, height = picture.size
        if (frames := int(getattr(picture, "n_frames", 1))) > 1:
            picture.seek(0)  # counting them has moved on
        picture.draft("RGB", (need, need))
        picture.load()
        turn = _orientation(picture)  # not `told`: the TIFF decoder has turned the picture already
        rgb = _to_rgb(picture, file, window)
    del picture  # frees its pixels before the next copy is made
    if turn in SIDEWAYS:
        width, height = height, width
    upright = rgb.transpose(UPRIGHT[turn]) if turn in UPRIGHT else rgb
    thumb = np.asarray(upright.resize((THUMB, THUMB), Image.Resampling.BOX))
    return Decoded(upright, Facts(width, height, mode, form, told, frames, thumb))


def _of_dicom(data: bytes, file: str, window: str) -> Decoded:
    found = dicom.read(data, file, MOST_PIXELS, window)
    thumb = np.asarray(found.picture.resize((THUMB, THUMB), Image.Resampling.BOX))
    size = found.picture.size
    facts = Facts(*size, found.mode, "DICOM", 1, found.frames, thumb, found.group)
    return Decoded(found.picture, facts)


def _refuse_costly(picture: ImageFile.ImageFile, data: bytes, file: str) -> None:
    """What a small file can demand: memory by its size, time by its scans or its coding."""
    width, height = picture.size
    limit = MOST_PIXELS // COPIES.get(str(picture.format), 1)
    if width * height > limit:
        reason = f"{width} × {height} pixels; more than {limit:,} are refused"
        raise Unreadable(file, "bomb", reason)
    if picture.format in ("JPEG", "MPO") and data.count(SCAN) * width * height > MOST_SCANNED:
        reason = f"{data.count(SCAN)} scans of {width} × {height} pixels would take too long"
        raise Unreadable(file, "bomb", reason)
    if (piece := _tiff_piece(picture)) > MOST_PIECE:
        raise Unreadable(file, "bomb", f"a tile or strip of {piece:,} bytes would be unpacked")
    if slow := {tile.codec_name for tile in picture.tile} & set(Image.DECODERS):
        reason = f"its coding ({', '.join(slow)}) is too slow to read; save it as PNG"
        raise Unreadable(file, "unsupported", reason)


def _compare_checksums(data: bytes, picture: Image.Image) -> None:
    """PNG has them, and its decoder passes over those of the pixels. Raises nearly anything."""
    if picture.format in CHECKED:
        with Image.open(_Pieces(data), formats=CHECKED) as twin:
            twin.verify()


def _tiff_piece(picture: Image.Image) -> int:
    """Bytes of what the TIFF decoder unpacks at once; a tile may be far larger than the picture."""
    tags: Mapping[int, Any] = getattr(picture, "tag_v2", {})
    rows = min(tags.get(ROWS_PER_STRIP, picture.height), picture.height)
    pixels = max(picture.width * rows, tags.get(TILE_WIDTH, 0) * tags.get(TILE_LENGTH, 0))
    return int(pixels * np.sum(tags.get(BITS_PER_SAMPLE, 8)) / 8)


def _orientation(picture: Image.Image) -> int:
    try:
        found = int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing; the picture may still be whole
        return 1
    return found if 1 <= found <= 8 else 1


def _to_rgb(picture: Image.Image, file: str, window: str) -> Image.Image:
    """RGB in strips, so that a large picture needs little more memory than it fills itself."""
    if (convert := _conversion(picture, file, window)) is None:
        return picture
    (width, height), rows = picture.size, max(1, STRIP // picture.width)
    if height <= rows:
        return convert(picture)
    out = Image.new("RGB", picture.size)
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(top + rows, height)))
        out.paste(convert(strip), (0, top))
    return out


def _conversion(picture: Image.Image, file: str, window: str) -> Conversion | None:
    """What makes RGB of each strip of the picture; None where it is RGB."""
    if picture.mode in DEEP:
        return DEEP[picture.mode](picture, file, window)
    if picture.has_transparency_data:
        return _on_white
    return None if picture.mode == "RGB" else _plainly


def _plainly(strip: Image.Image) -> Image.Image:
    return strip.convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB")


def _not_an_image(data: bytes) -> tuple[str, str]:
    """Kind and reason, when no decoder knows the bytes."""
    for magic, name in MAGIC.items():
        if data.startswith(magic):
            return "damaged", f"begins as {name}, but its header is damaged or cut off"
    known = ", ".join(FORMATS)
    reason = f"not a picture in a known format (starts with {data[:8]!r}; known: {known})"
    return "not-an-image", reason


def _diagnosis(error: Exception) -> tuple[str, str]:
    """Kind and reason of what a decoder raised."""
    text = str(error) or type(error).__name__
    if isinstance(error, _Costly | Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "bomb", f"decoding would take too much time or memory: {text}"
    if isinstance(error, MemoryError):
        return "no-memory", "there was not enough memory to decode it"
    if "truncated" in text.lower() or isinstance(error, EOFError | struct.error):
        return "truncated", f"the file ends too early: {text}"
    return "damaged", f"the decoder gave up: {text}"


def _centre(picture: Image.Image, spec: InputSpec) -> Image.Image:
    return FITTED[spec.fit](picture, spec)


def _whole_mirrored(picture: Image.Image, spec: InputSpec) -> Image.Image:
    return _pad(picture, spec).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _crop(picture: Image.Image, spec: InputSpec) -> Image.Image:
    """Resize and centre crop in one step: only what is kept is resampled, of 1 × 10,000 too."""
    width, height = picture.size
    side = min(width, height) * spec.crop_fraction
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return picture.resize((spec.size, spec.size), RESAMPLING[spec.interpolation], box)


def _squash(picture: Image.Image, spec: InputSpec) -> Image.Image:
    return picture.resize((spec.size, spec.size), RESAMPLING[spec.interpolation])


def _pad(picture: Image.Image, spec: InputSpec) -> Image.Image:
    """The whole picture in the middle of a rectangle of the mean colour, 0 to the network."""
    left, top, width, height = padded(picture.size, spec)
    ground = tuple(round(255 * m) for m in spec.mean)
    whole = Image.new("RGB", spec.rectangle[::-1], ground)
    whole.paste(picture.resize((width, height), RESAMPLING[spec.interpolation]), (left, top))
    return whole


def padded(size: tuple[int, int], spec: InputSpec) -> tuple[int, int, int, int]:
    """Left, top, width and height of a picture of this width and height within the rectangle."""
    rows, columns = spec.rectangle
    scale = min(columns / size[0], rows / size[1])
    width, height = (max(1, round(side * scale)) for side in size)
    return (columns - width) // 2, (rows - height) // 2, width, height


def _filled(size: tuple[int, int], spec: InputSpec) -> tuple[int, int, int, int]:
    rows, columns = spec.rectangle
    return 0, 0, columns, rows


# How pictures are fitted into the input whole → where they lie there.
PLACED: Mapping[str, Callable[[tuple[int, int], InputSpec], tuple[int, int, int, int]]] = {
    "pad": padded,
    "squash": _filled,
}


def placed(size: tuple[int, int], spec: InputSpec) -> tuple[int, int, int, int]:
    """Left, top, width and height of a whole picture of this width and height in the input."""
    return PLACED[spec.fit](size, spec)


FITTED: Mapping[str, Callable[[Image.Image, InputSpec], Image.Image]] = {
    "crop": _crop,
    "squash": _squash,
    "pad": _pad,
}
VIEWS: Mapping[str, Callable[[Image.Image, InputSpec], Any]] = {
    "centre": _centre,
    "whole-mirrored": _whole_mirrored,
}
