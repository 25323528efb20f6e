"""Series among the files of a folder: which folders of DICOM slices are one example each."""

import os
from collections import defaultdict

from regraft.modalities.dicom import has_frames
from regraft.modalities.series import is_slice


def joined_series(root: str, files: list[str]) -> list[str]:
    """A folder's name in place of the slices in it; other files as they are.

    A folder with two DICOM files or more is a series, unless the first of them holds frames of its
    own: then each file is an example. Of no other file is more looked at than its name.
    """
    slices = defaultdict(list)
    for name in files:
        if is_slice(os.path.basename(name)):
            slices[os.path.dirname(name)].append(name)
    joined = {
        folder
        for folder, names in slices.items()
        if len(names) > 1 and not has_frames(os.path.join(root, min(names)))
    }
    rest = [name for name in files if not is_series_slice(name, joined)]
    return rest + [folder or "." for folder in joined]


def is_series_slice(name: str, joined: set[str]) -> bool:
    """Whether a file is a slice in one of the folders."""
    return os.path.dirname(name) in joined and is_slice(os.path.basename(name))
