"""A folder or a hub repository of transformers as a start: is it a detector that is taken?

Nothing is unpickled and no code of a repository is run: config.json is read as data, and weights
only as safetensors.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regraft.backbones.catalog import CatalogRow, Weights, find
from regraft.backbones.configs import read_config
from regraft.backbones.weights import row_file
from regraft.errors import BackboneError, UsageError
from regraft.modalities.spec import InputSpec
from regraft.tasks.detection.frames import MULTIPLE
from regraft.tasks.detection.queries.rows import QUERIES, QueryRow, taken

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
FILES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".onnx", ".h5", ".pkl")
NEEDED = ("config.json", "model.safetensors", "preprocessor_config.json")
PREPROCESSOR = NEEDED[2]
# Of a configuration, what is about another machine, or is chosen here.
LEFT_OUT = ("dtype", "torch_dtype", "_name_or_path", "num_labels")


@dataclass(frozen=True)
class Checkpoint:
    """A whole detector that is taken.

    row      where its weights are, and its own input
    classes  its names, in the order of its class rows
    config   of its architecture
    """

    row: CatalogRow
    kind: QueryRow
    classes: tuple[str, ...]
    config: Mapping[str, Any]

    def told_with(self, classes: tuple[str, ...]) -> CatalogRow:
        """Its row for other classes; the configuration is in it, the place on the disk is not."""
        names = {str(i): name for i, name in enumerate(classes)}
        own = {k: v for k, v in self.config.items() if k not in LEFT_OUT}
        # Anchors kept for one size would be wrong at every other one; they are computed as needed.
        own |= {"id2label": names, "label2id": {v: int(k) for k, v in names.items()}}
        own |= {"anchor_image_size": None}
        name = Path(self.row.name.partition(":")[2])
        short = name.resolve().name if name.is_dir() else str(name)
        return replace(self.row, name=short, config="", options=own)


def comes_whole(start: str) -> bool:
    """Whether a start is a folder or a repository, and no file."""
    if Path(start).is_dir():
        return True
    is_file = Path(start).suffix.lower() in FILES or Path(start).exists()
    return not is_file and REPOSITORY.fullmatch(start) is not None


def checkpoint(start: str) -> Checkpoint:
    """What a folder or a repository holds. Raises UsageError, with all that is wrong."""
    try:
        return _checkpoint(start)
    except BackboneError as error:
        raise UsageError(f"start: {error}") from None


def _checkpoint(start: str) -> Checkpoint:
    if lacking := [*_lacking(Path(start))]:
        raise BackboneError(
            f"{start}: expected a folder with {', '.join(NEEDED)}; it lacks {', '.join(lacking)}. "
            "Weights of other forms are not opened, for that could run code: "
            "save_pretrained() of transformers writes these files"
        )
    blank = CatalogRow(start, "transformers", "", "", Weights.at(start), InputSpec())
    config = read_config(row_file(blank, "config.json"))
    kind = _kind(start, config)
    if wrong := [*_wrong_input(read_config(row_file(blank, PREPROCESSOR)))]:
        raise BackboneError(f"{start}: {PREPROCESSOR}: {'; '.join(wrong)}")
    row = find(f"transformers:{start}")
    return Checkpoint(row, kind, _classes(start, config), config)


def _lacking(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from (name for name in NEEDED if not (folder / name).is_file())


def _kind(start: str, config: Mapping[str, Any]) -> QueryRow:
    """By the architecture. Raises BackboneError for others, naming it and those that are taken."""
    told = config.get("architectures")
    known = {row.architecture: row for row in QUERIES.values()}
    name = str(told[0]) if isinstance(told, list) and told else ""
    if name not in known:
        found = f"a {name:.80}" if name else f"a {config.get('model_type')!r:.60}"
        raise BackboneError(
            f"{start}: holds {found}, which is no detector that is taken as a start; taken are "
            f"{taken()}, and files .safetensors of torchvision's detectors"
        )
    return known[name]


def _wrong_input(config: Mapping[str, Any]) -> Iterator[str]:
    """What of a preprocessor is not a whole picture squashed into a square."""
    size = config.get("size")
    sides = [size.get(k) for k in ("height", "width")] if isinstance(size, Mapping) else [size] * 2
    side = sides[0]
    if side != sides[1] or type(side) is not int or side <= 0 or side % MULTIPLE:
        yield (
            f"size: expected a height and a width that are one multiple of {MULTIPLE}, got {size}"
        )
    for name, wanted in {"do_resize": True, "do_rescale": True, "do_pad": False}.items():
        if config.get(name, wanted) not in (wanted, None):
            yield f"{name}: expected {str(wanted).lower()}"
    if config.get("do_center_crop"):
        yield "do_center_crop: expected false: objects at the edges would be lost"


def _classes(start: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label")
    try:
        found = [str(names[key]) for key in sorted(names, key=int)]  # type: ignore[index, arg-type]
    except (TypeError, ValueError):
        found = []
    if not found or sorted(map(int, names or ())) != [*range(len(found))]:
        raise BackboneError(f"{start}: config.json: id2label: expected a name for 0, 1, 2 …")
    return tuple(found)
