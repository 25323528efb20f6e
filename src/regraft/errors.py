"""What can go wrong, as one tree.

    RegraftError
    ├── UsageError          a parameter or an option is wrong (exit code 2)
    ├── DataError           the examples cannot be used as they are
    │   └── Unreadable      one file cannot be decoded: which, and why
    ├── BackboneError       a pretrained network is missing, differs or fails its self-check
    ├── TrainingStopped     training cannot go on: which files, and what is kept
    ├── BundleError         a bundle is damaged, hostile or from another version
    ├── MissingExtra        an optional library is not installed: names its install command
    └── StorageError        the disk is full or a folder cannot be written

Every message names the file, row or parameter, what was expected, and the way out.
"""

from collections.abc import Sequence


class RegraftError(Exception):
    """Base of every error that Regraft raises on purpose."""


class UsageError(RegraftError, ValueError):
    """One or several parameters are wrong; all of them are told together."""

    def __init__(self, *mistakes: str) -> None:
        self.mistakes: Sequence[str] = mistakes
        super().__init__("\n".join(mistakes))


class DataError(RegraftError):
    """The examples cannot be used as they are."""


class Unreadable(DataError):
    """One file cannot be decoded.

    `kind` is a stable word for scripts (``truncated``, ``empty``, ``not-an-image``, ``bomb`` ...),
    `reason` a plain sentence.
    """

    def __init__(self, file: str, kind: str, reason: str) -> None:
        self.file, self.kind, self.reason = file, kind, reason
        super().__init__(f"{file}: {reason}")


class BackboneError(RegraftError):
    """A pretrained network is missing, differs from its catalog row or fails its self-check."""


class TrainingStopped(RegraftError):
    """Training cannot go on: a loss is no number, or one example alone does not fit into memory."""


class BundleError(RegraftError):
    """A bundle is damaged, hostile or written by an incompatible version."""


class MissingExtra(RegraftError):
    """An optional library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed; install it with: pip install 'regraft[{extra}]'"
        )


class StorageError(RegraftError):
    """The disk is full or a folder cannot be written."""
