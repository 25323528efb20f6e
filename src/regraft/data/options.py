"""How a source of examples is to be read, and which files are of which kind of data."""

from dataclasses import dataclass
from pathlib import Path

from regraft.data.labelled import Asked
from regraft.data.manifests import GUESSES

# Endings of the files in a folder that are examples, by modality. A file that is named one by one
# (in a manifest or a list) may have any ending: its content decides.
EXTENSIONS: dict[str, frozenset[str]] = {
    "image": frozenset(
        {"avif", "bmp", "dcm", "dib", "dicom", "gif", "jfif", "jpe", "jpeg", "jpg", "pbm", "pgm"}
        | {"png", "pnm", "ppm", "tif", "tiff", "webp"}
    ),
    "text": frozenset({"md", "text", "txt"}),
    "audio": frozenset({"aif", "aiff", "au", "flac", "mp3", "oga", "ogg", "opus", "wav"}),
    "volume": frozenset({"dcm", "dicom", "nii", "nii.gz", "tif", "tiff"}),
}


@dataclass(frozen=True)
class Options:
    """How a source is to be read; see `load`."""

    label: str | None = None
    path_column: str | None = None
    text: str | None = None
    group: str | None = None
    split: str | None = None
    modality: str | None = None
    root: Path | None = None
    repair: bool | None = None
    task: str | None = None
    labels: tuple[str, ...] | None = None
    separator: str | None = None

    @property
    def asked(self) -> Asked:
        """What is said of labels."""
        return Asked(self.task, self.labels or (), self.separator)

    @property
    def columns(self) -> dict[str, str | None]:
        """Columns of a manifest by their role."""
        return {role: getattr(self, role) for role in GUESSES}

    @property
    def extensions(self) -> frozenset[str]:
        """Of the modality; where it is not told, of all."""
        return (
            EXTENSIONS[self.modality] if self.modality else frozenset().union(*EXTENSIONS.values())
        )
