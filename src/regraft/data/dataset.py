"""Dataset: a manifest and how to read it, with no pixels inside."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from regraft.data.findings import Finding
from regraft.data.inline import inline_text
from regraft.data.labels import FORMS, Form, matrix, natural_key
from regraft.errors import DataError, UsageError
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.data.boxes.form import Boxes

COLUMNS = ("id", "path", "label", "group", "split", "sha256")
SCHEMA = pl.Schema({column: pl.String for column in COLUMNS})
PARTS = ("train", "validation", "test")
SPLIT_SOURCES = ("given", "made", "none")

# How folders and split columns call the parts, case aside.
PART_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def listed(names: Iterable[str], limit: int = 10) -> str:
    """``'a', 'b', 'c' and 7 more``: names for a message, in the order given."""
    named = [repr(name) for name in names]
    rest = len(named) - limit
    return ", ".join(named[:limit]) + (f" and {rest} more" if rest > 0 else "")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples by name; a view (``.train`` ...) is a Dataset over fewer rows of the same table.

    table         polars, one row per example: ``id`` (unique: the path relative to `root`, with /),
                  ``path`` (absolute), ``label``, ``group``, ``split`` (one of PARTS), ``sha256``;
                  all text, null where unknown; id and path are never null
    root          folder that the ids are relative to
    classes       label names in natural order; a view keeps those of the whole
    findings      what a person should know about these examples
    split_source  ``given`` by the user, ``made`` by `regraft.data.splits.split`, or ``none``
    split_record  how a made split came about: seed, fractions, how, counts
    boxes         id → the objects of a picture, where the task is to find them; a picture with none
                  has its entry too
    transcripts   id → what is said in a recording, where the task is to write it down

    Raises DataError if the table lacks a column, repeats an id or names an unknown part.
    """

    table: pl.DataFrame
    root: Path
    task: str = "classification"
    modality: str = "image"
    classes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    split_source: str = "none"
    split_record: dict[str, Any] = field(default_factory=dict)
    boxes: "Mapping[str, Boxes]" = field(default_factory=dict, repr=False)
    transcripts: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if missing := [column for column in COLUMNS if column not in self.table.columns]:
            raise DataError(f"table: the columns {listed(missing)} are missing")
        if mistakes := list(self._mistakes()):
            raise DataError("\n".join(mistakes))
        object.__setattr__(self, "table", self.table.select(COLUMNS).cast(SCHEMA))

    def _mistakes(self) -> Iterable[str]:
        ids, parts = self.table["id"], self.table["split"].drop_nulls()
        if ids.null_count() or self.table["path"].null_count():
            yield "table: every example needs an id and a path"
        if ids.n_unique() < len(ids):
            repeated = self.table.filter(ids.is_duplicated())["id"].unique(maintain_order=True)
            yield f"table: these ids appear more than once: {listed(repeated)}"
        if unknown := sorted(set(parts.unique()) - set(PARTS)):
            yield f"table: split is {listed(unknown)}; expected one of {', '.join(PARTS)}"
        if self.split_source not in SPLIT_SOURCES:
            yield f"split_source: {self.split_source!r} is not one of {', '.join(SPLIT_SOURCES)}"

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Sequence[str | None]],
        root: Path,
        *,
        modality: str = "image",
        findings: Iterable[Finding] = (),
    ) -> Self:
        """A dataset from columns of text; ``id`` and ``path`` are needed, others may be left out.

        Classes are the labels that appear. A split that names fewer than two parts separates
        nothing: it is dropped, with a note. What is odd about the labels is added to `findings`.
        """
        table = _table(columns)
        parts = table["split"].drop_nulls().unique().to_list()
        from regraft.data.odd_labels import odd_labels

        noted = tuple(findings)
        if len(parts) == 1:
            table = table.with_columns(split=pl.lit(None, pl.String))
            noted += (_one_part(parts[0]),)
        classes = tuple(sorted(table["label"].drop_nulls().unique(), key=natural_key))
        source = "given" if len(parts) > 1 else "none"
        made = cls(table, root, modality=modality, classes=classes, split_source=source)
        return replace(made, findings=(*noted, *odd_labels(made)))

    def __len__(self) -> int:
        return self.table.height

    def _in_parts(self, *parts: str) -> Self:
        return self.with_table(self.table.filter(pl.col("split").is_in(parts)))

    @property
    def train(self) -> Self:
        """View of the part ``train``."""
        return self._in_parts("train")

    @property
    def validation(self) -> Self:
        """View of the part ``validation``."""
        return self._in_parts("validation")

    @property
    def test(self) -> Self:
        """View of the part ``test``."""
        return self._in_parts("test")

    @property
    def labelled(self) -> Self:
        """View of the examples that have a label, or whose objects or words are known."""
        told = [*self.boxes, *self.transcripts]
        known = pl.col("label").is_not_null() | pl.col("id").is_in(told)
        return self.with_table(self.table.filter(known))

    @property
    def held_out(self) -> Self:
        """Labelled examples to measure on: test if it has any, else validation.

        Raises DataError when neither has any.
        """
        for part in (self.test, self.validation):
            if len(held := part.labelled):
                return held
        raise DataError(
            "there is nothing to measure on: neither the test part nor the validation part has a "
            "labelled example; make a split, or add a test folder with labelled examples"
        )

    @property
    def learning(self) -> Self:
        """Labelled examples to learn from; never any of `held_out`.

        A given split: its train part. A split made here: train and validation, because the
        closed-form head selects by leave-one-out and needs no validation set (unless validation
        stands in for a missing test part). No split: all.
        """
        if self.split_source == "none":
            return self.labelled
        both = self.split_source == "made" and len(self.test.labelled) > 0
        return self._in_parts("train", *(["validation"] if both else [])).labelled

    @property
    def form(self) -> Form:
        """How its labels are to be read."""
        return FORMS[self.task]

    def named(self, table: pl.DataFrame) -> Counter[str]:
        """How many examples of a table name each class."""
        found: Counter[str] = Counter()
        for label, n in table["label"].drop_nulls().value_counts().iter_rows():
            found.update(dict.fromkeys(self.form.names(label), n))
        return found

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(n, k) what is right for each example and class, as numbers; NaN without a label."""
        return matrix(self.table["label"].to_list(), self.task, self.classes)

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """(n,) positions of the labels in `classes`; -1 for no label and for labels not in it."""
        position = {name: i for i, name in enumerate(self.classes)}
        found = (position.get(label, -1) for label in self.table["label"])
        return np.fromiter(found, np.int64, len(self))

    def with_table(self, table: pl.DataFrame) -> Self:
        """The same dataset over another table; classes, findings and the split record stay."""
        return replace(self, table=table)

    def without(self, ids: Iterable[str], findings: Iterable[Finding] = ()) -> Self:
        """Leave out rows by id, with the findings that say why.

        A class that loses its last example leaves `classes` too, with a finding ``empty-class``:
        call this on the whole dataset, before a view is taken, so that positions agree.
        """
        table = self.table.filter(~pl.col("id").is_in(list(ids)))
        lost = set(self.named(self.table)) - set(self.named(table))
        classes = tuple(name for name in self.classes if name not in lost)
        emptied = tuple(_emptied(name) for name in sorted(lost, key=natural_key))
        noted = (*self.findings, *findings, *emptied)
        return replace(self, table=table, classes=classes, findings=noted)

    def describe(self) -> dict[str, Any]:
        """Plain numbers: examples, labelled ones and groups, and counts per part and class.

        The part of examples that are in none is called ``unsplit``.
        """
        parts = self.table.with_columns(pl.col("split").fill_null("unsplit"))
        present = [p for p in (*PARTS, "unsplit") if p in set(parts["split"])]
        return {
            "examples": len(self),
            "labelled": len(self.labelled),
            "groups": self.table["group"].drop_nulls().n_unique(),
            "classes": len(self.classes),
            "split_source": self.split_source,
            "parts": {p: self._counts(parts.filter(pl.col("split") == p)) for p in present},
        }

    def _counts(self, rows: pl.DataFrame) -> dict[str, Any]:
        counts = self.named(rows)
        per_class = {name: counts[name] for name in self.classes}
        return {"examples": rows.height, "classes": per_class}

    def to_manifest(self, path: Path, *, inside_data: bool = False) -> Path:
        """Write the table as CSV or Parquet (by the ending of `path`), whole or not at all.

        ``load(path, root=dataset.root)`` reads it back. A place inside the data folder is refused
        unless `inside_data` says that it is wanted. Raises UsageError and StorageError.
        """
        path = Path(path)
        write = _WRITERS.get(path.suffix.lower())
        if write is None:
            raise UsageError(f"path: {str(path)!r} ends in neither {' nor '.join(_WRITERS)}")
        if not inside_data and path.resolve().is_relative_to(self.root.resolve()):
            raise UsageError(
                f"path: {str(path)!r} is inside the data folder {str(self.root)!r}, which is only "
                "read; choose another place, or pass inside_data=True"
            )
        write_atomically(path, write(self._as_manifest()))
        return path

    def to_annotations(self, path: str | Path, form: str | None = None) -> Path:
        """Write boxes as ``coco`` (.json), ``csv``, ``voc`` or ``yolo`` (folders, with pictures).

        See `regraft.data.boxes.writing.write`. Raises UsageError and StorageError.
        """
        from regraft.data.boxes.writing import write

        return write(self, path, form)

    def _as_manifest(self) -> pl.DataFrame:
        """The table; of examples without files, the texts themselves in place of ids and paths."""
        texts = [inline_text(path) for path in self.table["path"]]
        if not texts or None in texts:
            return self.table
        column = pl.Series("text", texts, dtype=pl.String)
        return self.table.drop("id", "path", "sha256").insert_column(0, column)


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


# Ending of a manifest → what writes it.
_WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    ".csv": lambda table: table.write_csv().encode(),
    ".parquet": _parquet,
}


def _table(columns: Mapping[str, Sequence[str | None]]) -> pl.DataFrame:
    blank: list[str | None] = [None] * len(columns["id"])
    try:
        return pl.DataFrame({c: columns.get(c, blank) for c in COLUMNS}, schema=SCHEMA)
    except UnicodeEncodeError as error:
        raise DataError(
            f"the name {error.object!a} is not valid UTF-8; rename the file or folder"
        ) from None


def _one_part(part: str) -> Finding:
    reason = f"all examples are said to be in {part!r}: that separates nothing, so it is not used"
    return Finding("one-part", (), reason, "note")


def _emptied(name: str) -> Finding:
    return Finding("empty-class", (), f"the class {name!r} has no example left")
