"""load(...): whatever the user points at → Dataset.

Each kind of source is a row of `SOURCES`; packages add rows through the entry-point group
``regraft.data_sources``, whose entries are `Source` objects and are asked first.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import polars as pl

from regraft.data import folders, manifests, transcripts
from regraft.data.boxes import kinds as boxes
from regraft.data.boxes.checks import dataset_of
from regraft.data.boxes.form import Listing
from regraft.data.dataset import PART_OF, Dataset, listed
from regraft.data.findings import Finding
from regraft.data.labelled import READERS, joined
from regraft.data.options import EXTENSIONS, Options
from regraft.data.paths import ending
from regraft.data.series import joined_series
from regraft.data.sheets import FORMATS
from regraft.data.tasks import USUAL_TASK, WANTS, task_named
from regraft.errors import DataError, RegraftError, UsageError

# Modalities of which a folder of files may be one example.
JOINED: dict[str, folders.Join] = {"volume": joined_series}
USUAL = "image"  # where no name tells

ENTRY_POINTS = "regraft.data_sources"


@dataclass(frozen=True)
class Source:
    """One kind of source.

    name      of the kind, as messages put it
    accepts   whether it can read what the user pointed at; must not raise
    read      → Dataset (`Dataset.of` makes one from columns)
    obeys     the optional `Options` that it can obey; others are refused when they are set
    task      what its examples are for; None: what the Dataset itself says
    asks      where that depends on what it holds: what tells it
    """

    name: str
    accepts: Callable[[Any, Options], bool]
    read: Callable[[Any, Options], Dataset]
    obeys: frozenset[str] = frozenset()
    task: str | None = "classification"
    asks: Callable[[Any, Options], str] | None = None


def load(
    source: object,
    *,
    label: str | None = None,
    path_column: str | None = None,
    text: str | None = None,
    group: str | None = None,
    split: str | None = None,
    modality: str | None = None,
    root: str | Path | None = None,
    repair: bool | None = None,
    task: str | None = None,
    labels: Sequence[str] = (),
    separator: str | None = None,
) -> Dataset:
    """The examples that `source` names; none is decoded and nothing is written.

    source       a folder with one sub-folder per class, or with train, validation and test folders
                 of such; a CSV, TSV, Parquet or JSON lines manifest; a folder with one for each
                 part (train.csv, test.csv); a file; a list of files; a Dataset (returned as is);
                 boxes: a COCO file or a folder of them, a Pascal VOC folder, a YOLO folder or its
                 data.yaml, a CSV with path, label, x1, y1, x2, y2
    label, path_column, text, group, split
                 columns of a manifest; plain names (label, file, patient ...) are found without.
                 An example is the file that `path_column` names, or the text in `text` itself
    modality     one of EXTENSIONS; None: that of most files, by their endings
    root         folder that a manifest's paths are relative to and must stay in; None: its own
    repair       True: boxes with a fault that can be mended are mended and named; else they are
                 named and left out
    task         ``classification`` (one class each), ``tags`` (any number of them) or
                 ``regression`` (numbers); None: told by the source, of a manifest guessed
    labels       several columns of a manifest: tags (0 or 1), or numbers
    separator    between the tags in a cell, such as ``;``

    Raises UsageError for parameters, DataError for what the source holds.
    """
    if modality is not None and modality not in EXTENSIONS:
        raise UsageError(f"modality: {modality!r} is not one of {listed(sorted(EXTENSIONS))}")
    folder = None if root is None else Path(os.path.expanduser(root))
    own = None if task is None else task_named(task)
    options = Options(label, path_column, text, group, split, modality, folder, repair)
    options = replace(options, task=own, labels=tuple(labels) or None, separator=separator)
    source = _named(source)
    kind = _kind_of(source, options)
    if kind is None:
        raise UsageError(f"source: {_unfit(source, options)}")
    if mistakes := list(_mistakes(kind, options)):
        raise UsageError(*mistakes)
    found = kind.read(source, options)
    if own not in (None, found.task):
        raise UsageError(f"task: the examples are for {found.task}, and {own} was asked for")
    return found


def _kind_of(source: object, options: Options) -> Source | None:
    return next((kind for kind in registered() if kind.accepts(source, options)), None)


def task_of(source: object, asked: str | None = None, **told: Any) -> str:
    """What the examples of a source are for; of what no source is, the usual task.

    asked  the user's word, where there is one
    told   fields of `Options`: which column holds the labels, and what is said of them

    Raises UsageError where the examples can't be for what was asked.
    """
    wanted = None if asked is None else task_named(asked)
    if isinstance(source, Dataset):
        kind, task = "the Dataset", source.task
    else:
        named, options = _named(source), Options(task=wanted, **told)
        found = _kind_of(named, options)
        kind, task = (found.name if found else "the source"), (found and found.task) or USUAL_TASK
        task = found.asks(named, options) if found and found.asks else task
    if wanted not in (None, task):
        raise UsageError(f"task: {kind} is for {task}, not for {wanted}; expected {WANTS[wanted]}")
    return task


def modality_of(names: Iterable[str]) -> str:
    """The modality that most files are of, by their endings."""
    counts = Counter(map(ending, names))
    found = {m: sum(counts[e] for e in endings) for m, endings in EXTENSIONS.items()}
    most = max(found.values())
    return USUAL if found[USUAL] == most else max(found, key=lambda name: found[name])


def registered() -> Iterator[Source]:
    """All kinds of sources, those of installed packages first; RegraftError names a broken one."""
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            found = entry.load()
        except Exception as error:
            raise RegraftError(
                f"the data source {entry.name!r} ({entry.value}) cannot be loaded: {error}; repair "
                "or uninstall the package that brings it"
            ) from error
        if not isinstance(found, Source):
            raise RegraftError(f"the data source {entry.name!r} ({entry.value}) is not a Source")
        yield found
    yield from SOURCES


def _mistakes(kind: Source, options: Options) -> Iterator[str]:
    optional = [f.name for f in fields(Options) if f.name not in ("modality", "task")]
    if kind.task is not None and kind.asks is None and options.task not in (None, kind.task):
        yield f"task: {options.task} needs a manifest that tells it; this is {kind.name}"
    for name in optional:
        if getattr(options, name) is not None and name not in kind.obeys:
            yield f"{name}: cannot be set for {kind.name}"
    if options.root is not None and not options.root.is_dir():
        yield f"root: {str(options.root)!r} is not a folder"


def _unfit(source: object, options: Options) -> str:
    endings = f"{', '.join(FORMATS)}), a file ({', '.join(sorted(options.extensions))}"
    expected = f"expected a folder, a manifest ({endings}), a list of files or a Dataset"
    if not isinstance(source, str):
        return f"a value of type {type(source).__name__} cannot be read; {expected}"
    if not _kind(source):
        return f"{source!r} does not exist or cannot be reached (from {os.getcwd()!r})"
    return f"{source!r} is of no kind that can be read (unpack an archive first); {expected}"


# The kinds ---------------------------------------------------------------------------------------


def _named(source: object) -> object:
    """A path as text, with ~ spelt out; anything else as it is."""
    if isinstance(source, str | os.PathLike):
        return os.path.expanduser(os.fsdecode(source))
    return source


def _kind(source: Any) -> int:
    """The kind bits of a path (`stat.S_IFMT`), 0 for what does not exist or is no path."""
    try:
        return stat.S_IFMT(os.stat(source).st_mode) if isinstance(source, str) else 0
    except (OSError, ValueError):
        return 0


def _ending(source: Any) -> str:
    return os.path.splitext(source)[1].lower()


def _is_dataset(source: Any, options: Options) -> bool:
    return isinstance(source, Dataset)


def _is_folder(source: Any, options: Options) -> bool:
    return _kind(source) == stat.S_IFDIR


def _is_manifest(source: Any, options: Options) -> bool:
    return _kind(source) == stat.S_IFREG and _ending(source) in FORMATS


def _is_folder_of_manifests(source: Any, options: Options) -> bool:
    return _is_folder(source, options) and len(_part_manifests(source)) > 1


def _is_file(source: Any, options: Options) -> bool:
    return _kind(source) == stat.S_IFREG and ending(source) in options.extensions


def _is_list(source: Any, options: Options) -> bool:
    return isinstance(source, list | tuple)


def _read_dataset(source: Any, options: Options) -> Dataset:
    return source


def _read_folder(source: Any, options: Options) -> Dataset:
    kind = options.modality or modality_of(folders.names(Path(source), options.extensions))
    join = JOINED.get(kind, folders.each_by_itself)
    return folders.read(Path(source), EXTENSIONS[kind], kind, join)


def _read_manifest(source: Any, options: Options) -> Dataset:
    about = (options.columns, options.root, options.asked)
    found = manifests.read(Path(source), options.modality or USUAL, *about)
    if options.modality or found.modality == manifests.TEXTS:
        return found
    return replace(found, modality=modality_of(found.table["path"]))


def _asks_manifest(source: Any, options: Options) -> str:
    return manifests.task_of(Path(source), options.columns, options.asked)


def _asks_manifests(source: Any, options: Options) -> str:
    tasks = [_asks_manifest(path, options) for path in _part_manifests(source).values()]
    return next((task for task in tasks if task in READERS), tasks[0])


def _entries(folder: str) -> list[str]:
    """What is in a folder; nothing where it cannot be opened."""
    try:
        return sorted(os.path.join(folder, name) for name in os.listdir(folder))
    except OSError:
        return []


def _part_manifests(folder: str) -> dict[str, str]:
    """Part → manifest, such as train.csv and test.csv; two for one part are none at all."""
    found: dict[str, list[str]] = {}
    for path in _entries(folder):
        part = PART_OF.get(os.path.splitext(os.path.basename(path))[0].casefold())
        if part and _is_manifest(path, Options()):
            found.setdefault(part, []).append(path)
    return {part: paths[0] for part, paths in found.items() if len(paths) == 1}


def _is_transcribed(source: Any, options: Options) -> bool:
    return options.task == transcripts.TASK and _is_manifest(source, options)


def _read_transcribed(source: Any, options: Options) -> Dataset:
    columns = {role: getattr(options, role) for role in transcripts.COLUMNS}
    return transcripts.read(Path(source), columns, options.root)


def _read_manifests(source: Any, options: Options) -> Dataset:
    """A manifest for each part, one below the other."""
    options = replace(options, task=_asks_manifests(source, options))
    parts = {part: _read_manifest(path, options) for part, path in _part_manifests(source).items()}
    tables = [data.table.with_columns(split=pl.lit(part)) for part, data in parts.items()]
    columns = pl.concat(tables).to_dict(as_series=False)
    kinds = {data.modality: data for data in parts.values()}
    if len(kinds) > 1:
        raise DataError(f"{source}: its manifests hold different kinds of data: {listed(kinds)}")
    findings = {
        f.reason: f for data in parts.values() for f in data.findings if f.kind == "columns"
    }
    (kind,) = kinds
    about = {"modality": kind, "findings": findings.values()}
    return joined([*parts.values()], columns, Path(os.path.abspath(source)), **about)


def _read_file(source: Any, options: Options) -> Dataset:
    return _read_list([source], options)


def _read_list(source: Any, options: Options) -> Dataset:
    """Files by name, unlabelled; ids are relative to the folder that holds them all."""
    names = [_named(name) for name in source]
    if wrong := [f"source[{i}]: {name!r}" for i, name in enumerate(names) if not _is_plain(name)]:
        rest = [f"and {len(wrong) - 20} more like these"] if len(wrong) > 20 else []
        raise UsageError("a list of files names what is no file:", *wrong[:20], *rest)
    if not names:
        raise DataError("source: the list is empty; expected the paths of files")
    every = [os.path.abspath(str(name)) for name in names]
    root = os.path.commonpath([os.path.dirname(path) for path in every])
    paths = list(dict.fromkeys(every))
    repeated = tuple(path for path, times in Counter(every).items() if times > 1)
    ids = [Path(path).relative_to(root).as_posix() for path in paths]
    reason = f"{len(repeated)} files are named more than once and are read once"
    findings = [Finding("repeated-row", repeated, reason)] if repeated else []
    columns = {"id": ids, "path": paths}
    kind = options.modality or modality_of(paths)
    return Dataset.of(columns, Path(root), modality=kind, findings=findings)


def _is_file_of(sniff: Callable[[str], bool]) -> Callable[[Any, Options], bool]:
    return lambda source, options: _kind(source) == stat.S_IFREG and sniff(source)


def _is_folder_of(sniff: Callable[[str], object]) -> Callable[[Any, Options], bool]:
    return lambda source, options: _is_folder(source, options) and bool(sniff(source))


def _of_boxes(
    name: str, accepts: Callable[[Any, Options], bool], read: Callable[..., Listing], *more: str
) -> Source:
    """A row for annotated boxes; `more` names options that its reader takes beside `repair`."""

    def checked(source: Any, options: Options) -> Dataset:
        listing = read(Path(source), *(getattr(options, option) for option in more))
        return dataset_of(listing, repair=bool(options.repair))

    return Source(name, accepts, checked, frozenset({"repair", *more}), "detection")


def _is_plain(name: object) -> bool:
    return _kind(name) == stat.S_IFREG


BOXES = (
    _of_boxes("a COCO file", _is_file_of(boxes.is_coco), boxes.read_coco, "root"),
    _of_boxes("a table of boxes", _is_file_of(boxes.is_rows), boxes.read_rows, "root"),
    _of_boxes("a YOLO file", _is_file_of(boxes.is_yaml), boxes.read_yolo),
    _of_boxes("a folder of COCO files", _is_folder_of(boxes.coco_files), boxes.read_coco_folder),
    _of_boxes("a YOLO folder", _is_folder_of(boxes.is_yolo), boxes.read_yolo),
    _of_boxes("a Pascal VOC folder", _is_folder_of(boxes.is_voc), boxes.read_voc),
)
OF_MANIFESTS = frozenset({*manifests.GUESSES, "root", "labels", "separator"})
SOURCES = (
    Source("a Dataset", _is_dataset, _read_dataset, task=None),
    Source(
        "a manifest of transcripts",
        _is_transcribed,
        _read_transcribed,
        frozenset({*transcripts.COLUMNS, "root"}),
        transcripts.TASK,
    ),
    *BOXES,
    Source(
        "a folder of manifests",
        _is_folder_of_manifests,
        _read_manifests,
        OF_MANIFESTS - {"split"},
        asks=_asks_manifests,
    ),
    Source("a folder", _is_folder, _read_folder),
    Source("a manifest", _is_manifest, _read_manifest, OF_MANIFESTS, asks=_asks_manifest),
    Source("a single file", _is_file, _read_file),
    Source("a list of files", _is_list, _read_list),
)
