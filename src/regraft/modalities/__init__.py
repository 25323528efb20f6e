"""Kinds of data: how examples are read, looked at and turned into what a network reads.

spec    InputSpec: preprocessing as plain data
facts   Facts: what one look at an example tells
image   pictures
audio   recordings, as samples or log-mel pictures
text    texts
volume  volumes: NIfTI, DICOM series
"""

from regraft.errors import UsageError
from regraft.modalities.base import Modality

# Modality name → the module that holds its `MODALITY`; imported when it is asked for.
MODALITIES = {
    "image": "regraft.modalities.image",
    "audio": "regraft.modalities.audio",
    "text": "regraft.modalities.text",
    "volume": "regraft.modalities.volume",
}


def modality(name: str) -> Modality:
    """The modality of that name; others may be added by the entry-point group regraft.modalities.

    Raises UsageError with the valid names.
    """
    from importlib import import_module

    places = MODALITIES if name in MODALITIES else MODALITIES | _plugins()
    if name not in places:
        raise UsageError(
            f"modality: {name!r} is not known; choose one of {', '.join(sorted(places))}"
        )
    made: Modality = import_module(places[name]).MODALITY
    return made


def _plugins() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group="regraft.modalities")}
