"""Pascal VOC (Everingham et al. 2010): one XML file for each picture.

Corners are taken as they stand, as the tools that write such files today mean them; the contest's
own files count from 1, which is one pixel off.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from regraft.data.boxes.form import Corners, Listing, Picture, Told, number, rows_of, shown
from regraft.data.dataset import PART_OF
from regraft.data.findings import Finding
from regraft.data.labels import natural_key
from regraft.errors import DataError

ANNOTATIONS, PICTURES, LISTS = "Annotations", "JPEGImages", ("ImageSets", "Main")
MOST_BYTES = 64 * 2**20  # of one file
SIDES = ("xmin", "ymin", "xmax", "ymax")
USUAL = ("jpg", "jpeg", "png")  # endings that are tried where a file names none


def annotations_of(folder: str) -> str | None:
    """The folder with the XML files: ``Annotations``, or the folder itself; never raises."""
    for place in (os.path.join(folder, ANNOTATIONS), os.path.join(folder, "annotations"), folder):
        try:
            if any(name.lower().endswith(".xml") for name in os.listdir(place)):
                return place
        except OSError:
            continue
    return None


def read(root: Path) -> Listing:
    """What the XML files of a folder say; ``ImageSets/Main/train.txt`` and so on are its parts.

    Raises DataError where no file can be read; a file that is not VOC is a finding.
    """
    folder = annotations_of(str(root))
    if folder is None:
        raise DataError(f"{root}: no XML file in {ANNOTATIONS}/ or beside the pictures")
    listing, below = Listing(root), Path(folder).relative_to(root)
    pictures = _pictures(root)
    parts = _parts(root, listing)
    for name in sorted(os.listdir(folder), key=natural_key):
        if not name.lower().endswith(".xml"):
            continue
        file = (below / name).as_posix()
        try:
            _read_one(listing, Path(folder) / name, file, pictures, parts)
        except DataError as error:
            listing.findings.append(Finding("annotation-unreadable", (file,), str(error), "error"))
    if not listing.pictures:
        raise DataError(
            "\n".join([f"{root}: no annotation can be read", *(f.reason for f in listing.findings)])
        )
    _add_bare(listing, pictures, parts)
    return listing


def parsed(data: bytes, file: str) -> ElementTree.Element:
    """XML without a document type, so that no entity can grow or read a file. Raises DataError."""
    if len(data) > MOST_BYTES:
        raise DataError(f"{file}: more than {MOST_BYTES:,} bytes are not read")
    guard = expat.ParserCreate()

    def refuse(*declared: object) -> None:
        raise DataError(f"{file}: declares a document type (DTD) or entities, which are refused")

    guard.StartDoctypeDeclHandler = refuse
    guard.EntityDeclHandler = refuse
    try:
        guard.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file}: is not XML: {error}") from None
    except RecursionError:
        raise DataError(f"{file}: is nested too deep") from None


def _read_one(
    listing: Listing,
    path: Path,
    file: str,
    pictures: dict[str, str],
    parts: dict[str, str],
) -> None:
    try:
        tree = parsed(path.read_bytes(), file)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    if tree.tag != "annotation":
        raise DataError(f"{file}: expected <annotation>, got <{tree.tag:.40}>; is it Pascal VOC?")
    told = (tree.findtext("filename") or "").strip() or path.stem
    name = pictures.get(told) or pictures.get(path.stem) or pictures.get(os.path.splitext(told)[0])
    size = _size(tree)
    picture = listing.add(
        Picture(name or _usual_place(told, pictures), file, size, parts.get(path.stem))
    )
    for place, one in rows_of(tree.iter("object")):
        picture.objects.append(_told(f"object {place}", one))


def _usual_place(told: str, pictures: dict[str, str]) -> str:
    """Where a picture that is not there should be."""
    folder = next(iter(pictures.values()), f"{PICTURES}/").rpartition("/")[0]
    name = told if os.path.splitext(told)[1] else f"{told}.{USUAL[0]}"
    return f"{folder}/{name}" if folder else name


def _size(tree: ElementTree.Element) -> tuple[float, float] | None:
    width, height = tree.findtext("size/width"), tree.findtext("size/height")
    if width is None or height is None:
        return None
    size = number(width.strip()), number(height.strip())
    return None if size == (0, 0) else size  # what some tools write for "not known"


def _told(row: str, one: ElementTree.Element) -> Told:
    name = (one.findtext("name") or "").strip()
    sides = (number((one.findtext(f"bndbox/{side}") or "").strip()) for side in SIDES)
    corners: Corners = tuple(sides)  # type: ignore[assignment]
    difficult = (one.findtext("difficult") or "0").strip() not in ("0", "")
    return Told(row, name or None, corners, False, difficult, named=f"name {shown(name)}")


def _pictures(root: Path) -> dict[str, str]:
    """File name, and name without ending → path of a picture relative to the root."""
    from regraft.data.folders import names
    from regraft.data.options import EXTENSIONS

    found: dict[str, str] = {}
    for path in sorted(names(root, EXTENSIONS["image"])):
        base = path.rpartition("/")[2]
        found.setdefault(base, path)
        found.setdefault(os.path.splitext(base)[0], path)
    return found


def _parts(root: Path, listing: Listing) -> dict[str, str]:
    """Name without ending → part, from ImageSets/Main; only lists with the name of a part count."""
    parts: dict[str, str] = {}
    for path in _lists(root):
        part = PART_OF.get(path.stem.casefold())
        if part is None:  # trainval, or the list of one class
            continue
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            reason = f"{path.relative_to(root)}: cannot be read: {error}; it is passed over"
            listing.findings.append(Finding("list-unreadable", (), reason, "error"))
            continue
        for name in (line.split()[0] for line in lines if line.split()):
            if parts.setdefault(name, part) != part:
                reason = f"{name} is in the lists {parts[name]} and {part}: the first counts"
                listing.findings.append(Finding("leak", (name,), reason, "error"))
    return parts


def _lists(root: Path) -> Iterator[Path]:
    folder = root.joinpath(*LISTS)
    if folder.is_dir():
        yield from sorted(
            folder.glob("*.txt"),
            key=lambda path: (
                list(PART_OF).index(path.stem.casefold()) if path.stem.casefold() in PART_OF else 99
            ),
        )


def _add_bare(listing: Listing, pictures: dict[str, str], parts: dict[str, str]) -> None:
    """Pictures that no file tells of."""
    for name in sorted(set(pictures.values()) - set(listing.pictures)):
        stem = os.path.splitext(name.rpartition("/")[2])[0]
        listing.add(Picture(name, "", part=parts.get(stem), bare=True))
