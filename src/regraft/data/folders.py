"""Folders as a source: one sub-folder per class, with or without train/validation/test above."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from regraft.data.dataset import PART_OF, Dataset, listed
from regraft.data.findings import Finding
from regraft.data.labels import natural_key
from regraft.data.paths import ending
from regraft.errors import DataError

# What operating systems leave behind, case aside; names that begin with a dot are hidden anyway.
DEBRIS = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}
)

# Findings of the walk: kind → severity and reason.
_REASONS = {
    "other-files": ("note", "not of a kind that is read here, passed over"),
    "link-outside": ("error", "links that lead outside the folder are not followed, left out"),
    "link-loop": ("error", "links to a folder that is read already are not followed, left out"),
    "link-broken": ("error", "links to nothing, left out"),
    "unreadable": ("error", "folders that cannot be opened (see their permissions), left out"),
    "odd-name": ("error", "names that are not valid UTF-8, left out; rename them"),
}


@dataclass
class _Walk:
    """What a walk has seen so far; all names are relative to the root, with /."""

    root: str  # as the user named it, absolute
    extensions: Collection[str]
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    passed_over: dict[str, list[str]] = field(default_factory=dict)  # kind of finding → names
    linked: set[str] = field(default_factory=set)  # real folders entered through a link
    # Folders to do: name, and the real paths on the way to it.
    ahead: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def run(self) -> None:
        self.ahead = [("", (os.path.realpath(self.root),))]
        while self.ahead:
            self._open(*self.ahead.pop())

    def _open(self, name: str, trail: tuple[str, ...]) -> None:
        try:
            with os.scandir(os.path.join(self.root, name)) as entries:
                # In order, so that of two links to one folder always the same one is followed.
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            self._pass_over("unreadable", name or ".")
            return
        for entry in found:
            if not _is_debris(entry.name):
                self._look(entry, f"{name}/{entry.name}" if name else entry.name, trail)

    def _look(self, entry: os.DirEntry[str], name: str, trail: tuple[str, ...]) -> None:
        real = os.path.join(trail[-1], entry.name)
        if entry.is_symlink():
            real = os.path.realpath(real)
        if refusal := self._refusal(entry, name, real, trail):
            self._pass_over(refusal, name)
        elif entry.is_dir():
            self.folders.append(name)
            self.ahead.append((name, (*trail, real)))
        else:
            self.files.append(name)

    def _refusal(
        self, entry: os.DirEntry[str], name: str, real: str, trail: tuple[str, ...]
    ) -> str | None:
        """The kind of finding that keeps an entry out, None if it is read."""
        link = entry.is_symlink()
        if not _is_utf8(name):
            return "odd-name"
        if link and not Path(real).is_relative_to(trail[0]):
            return "link-outside"
        if link and not os.path.exists(real):
            return "link-broken"
        if entry.is_dir():
            return "link-loop" if self._is_read_already(real, link, trail) else None
        # A pipe or a device with the name of a picture must not be opened.
        known = ending(name) in self.extensions
        return None if known and entry.is_file() else "other-files"

    def _is_read_already(self, real: str, link: bool, trail: tuple[str, ...]) -> bool:
        if real in trail or (link and real in self.linked):
            return True
        if link:
            self.linked.add(real)
        return False

    def _pass_over(self, kind: str, name: str) -> None:
        printable = os.fsencode(name).decode("utf-8", "backslashreplace")
        self.passed_over.setdefault(kind, []).append(printable)

    def findings(self) -> Iterator[Finding]:
        for kind, names in sorted(self.passed_over.items()):
            severity, reason = _REASONS[kind]
            yield Finding(kind, tuple(sorted(names)), f"{len(names)} × {reason}", severity)


def _is_debris(name: str) -> bool:
    return name.startswith(".") or name.casefold() in DEBRIS


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def names(root: Path, extensions: Collection[str]) -> list[str]:
    """The files with one of these endings, relative to the root."""
    walk = _Walk(os.path.abspath(root), extensions)
    walk.run()
    return walk.files


Join = Callable[[str, list[str]], list[str]]


def each_by_itself(root: str, files: list[str]) -> list[str]:
    """Every file is an example."""
    return files


def read(
    root: Path, extensions: Collection[str], modality: str, join: Join = each_by_itself
) -> Dataset:
    """The examples of a folder; the first folder below the root (or the part) is the class.

    extensions  lower-case endings, without the dot, of the files that are examples
    join        (root, names of files) → names of examples: folders in place of the files in them

    Files that lie in no class folder are unlabelled. Links that stay inside the root are followed
    once; others are refused, by name. Raises DataError when there is no example or when train and
    test folders lie next to folders that are neither.
    """
    walk = _Walk(os.path.abspath(root), extensions)
    walk.run()
    if not walk.files:
        raise DataError(_nothing(root, walk))
    files = sorted(join(walk.root, walk.files))
    depth = 1 if _has_parts(root, files, walk.folders) else 0
    steps = [name.split("/") for name in files]
    columns: dict[str, list[str | None]] = {
        "id": [*files],
        "path": [os.path.normpath(os.path.join(walk.root, name)) for name in files],
        "label": [s[depth] if len(s) > depth + 1 else None for s in steps],
        "split": [PART_OF[s[0].casefold()] if depth else None for s in steps],
    }
    findings = (*walk.findings(), *_empty_classes(walk.folders, files, depth))
    return Dataset.of(columns, Path(walk.root), modality=modality, findings=findings)


def _has_parts(root: Path, files: list[str], folders: list[str]) -> bool:
    """Whether the top folders are train, validation and test rather than classes."""
    tops = {name for name in folders if "/" not in name}
    parts = {name for name in tops if name.casefold() in PART_OF}
    classes = {name.split("/")[0] for name in files if "/" in name} - parts
    if not parts:
        return False
    if not classes:
        return True
    # One such name among class folders is a class: buses, cars, a train.
    if len({PART_OF[name.casefold()] for name in parts}) == 1:
        return False
    raise DataError(
        f"{root}: the folders {listed(_ordered(parts))} are parts of a split, but "
        f"{listed(_ordered(classes))} lie next to them; move those elsewhere, or write a manifest"
    )


def _empty_classes(folders: list[str], files: list[str], depth: int) -> Iterator[Finding]:
    filled = {tuple(name.split("/")[: depth + 1]) for name in files}
    empty = [f for f in folders if f.count("/") == depth and tuple(f.split("/")) not in filled]
    # Next to parts, a folder without any example is no class folder.
    named = [f for f in empty if not depth or f.split("/")[0].casefold() in PART_OF]
    for name in _ordered(named):
        yield Finding("empty-class", (name,), f"the class folder {name!r} holds no example")


def _nothing(root: Path, walk: _Walk) -> str:
    expected = f"expected files ending in {', '.join(sorted(walk.extensions))}"
    seen = [f"{len(names)} {kind}: {listed(names, 3)}" for kind, names in walk.passed_over.items()]
    return f"{root}: no example found; {expected}" + "".join(f"; {entry}" for entry in seen)


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=natural_key)
