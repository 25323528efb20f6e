"""The size of a picture from its head alone."""

from PIL import Image, UnidentifiedImageError

from regraft.errors import Unreadable
from regraft.modalities.image import FORMATS, ORIENTATION, SIDEWAYS


def upright_size(path: str) -> tuple[int, int]:
    """Width and height in pixels, as EXIF turns it; the pixels are not decoded.

    Raises Unreadable naming the file.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            turn = picture.getexif().get(ORIENTATION, 1)
    except UnidentifiedImageError:
        return _decoded_size(path)
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        reason = f"its head cannot be read: {error or type(error).__name__}"
        raise Unreadable(path, "damaged", reason) from None
    return (height, width) if turn in SIDEWAYS else (width, height)


def _decoded_size(path: str) -> tuple[int, int]:
    """Of DICOM; of anything else the reason why it is no picture."""
    from regraft.modalities import modality

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Unreadable(path, "no-access", f"cannot be read: {error.strerror}") from None
    facts = modality("image").decode(data, path).facts
    return facts.width, facts.height
