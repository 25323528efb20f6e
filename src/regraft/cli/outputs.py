"""What a fit leaves behind: the files in its folder, the words on the terminal, the document."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.cli.edge import Voice
from regraft.cli.tables import pairs
from regraft.errors import StorageError, UsageError
from regraft.storage import write_atomically

if TYPE_CHECKING:
    from regraft.verbs.fitted import Fitted

# Key in the document → name in the folder, and what it is.
FILES: Mapping[str, tuple[str, str]] = {
    "bundle": ("model.regraft", "the model"),
    "report": ("report.html", "how good it is, as a page"),
    "record": ("report.json", "the same for programs"),
    "recipe": ("recipe.toml", "what was asked for: regraft fit --recipe repeats it"),
    "findings_file": ("findings.json", "what was found in the data, by name"),
}


def default_folder(source: str) -> Path:
    """``<name of the source>.out`` in the current folder.

    Raises UsageError where that is inside the source: the user's data are only read.
    """
    data = Path(source).expanduser().resolve()
    name = data.name if data.is_dir() else data.stem
    out = Path(f"{name or 'regraft'}.out")
    if data.is_dir() and out.resolve().is_relative_to(data):
        raise UsageError(
            f"--out: the results would be written to {out.resolve()}, inside the data folder "
            f"{data}, which is only read; name another folder with --out, or call regraft from "
            "elsewhere"
        )
    return out


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """The folder, made before the work so that a bad place fails first; none is left empty."""
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"--out: {folder} is a file; name a folder") from None
    except OSError as error:
        raise StorageError(
            f"--out {folder}: cannot be made: {error.strerror}; choose another place"
        ) from error
    try:
        yield
    finally:
        if new:
            with suppress(OSError):  # it is not empty: all is well
                folder.rmdir()


def save(fitted: "Fitted", folder: Path) -> dict[str, Path]:
    """Write all FILES; returns their paths."""
    from regraft.recipe import Recipe

    paths = {key: folder / name for key, (name, _) in FILES.items()}
    record = fitted.report.record
    fitted.model.save(paths["bundle"])
    fitted.report.save(paths["report"])
    fitted.report.save(paths["record"])
    recipe = Recipe.from_dict(record["recipe"]).to_toml()
    write_atomically(paths["recipe"], recipe.encode())
    findings = {"findings": without_thumbnails(record["findings"])}
    text = json.dumps(findings, ensure_ascii=False, indent=2) + "\n"
    write_atomically(paths["findings_file"], text.encode("utf-8", "backslashreplace"))
    return paths


def save_as(fitted: "Fitted", bundle: Path, report: Path | None) -> dict[str, Path]:
    """Write the bundle, and the report where one is asked for; returns their paths."""
    fitted.model.save(bundle)
    if report is None:
        return {"bundle": bundle}
    fitted.report.save(report)
    return {"bundle": bundle, "report": report}


def document(fitted: "Fitted", folder: Path, paths: Mapping[str, Path]) -> dict[str, Any]:
    """What a fit prints with ``--json``."""
    return {"out": str(folder), **made_document(fitted, paths)}


def made_document(fitted: "Fitted", paths: Mapping[str, Path]) -> dict[str, Any]:
    """The paths that were written, and what was found on the way."""
    record = without_thumbnails(fitted.report.record)
    told = (
        *("tried", "findings", "chosen", "leave_one_out", "held_back"),
        *("split", "timings", "training"),
        *("boxes_per_class", "box_errors", "box_confusion", "box_training"),
        *("members", "before_after"),
        *("transcripts", "mistaken", "trivial", "as_it_came", "speech_training"),
        *("per_tag", "beside", "per_number"),
    )
    files = {key: str(path) for key, path in paths.items()}
    figures = {"metrics": fitted.report.metrics} | {
        key: record[key] for key in told if key in record
    }
    return files | figures


def show(voice: Voice, fitted: "Fitted", paths: Mapping[str, Path]) -> None:
    """What a fit tells a person."""
    record = fitted.report.record
    voice.print(fitted.report.table(voice.width))
    if record["chosen"]:
        voice.print("\nchosen for you", pairs(record["chosen"].items()))
    if found := counted(record["findings"]):
        where = f"; by name in {paths['findings_file']}" if "findings_file" in paths else ""
        voice.print(f"\nfound in the data: {found}{where}")
    voice.print("\nwritten", pairs((str(path), FILES[key][1]) for key, path in paths.items()))


def counted(findings: Iterable[Mapping[str, Any]]) -> str:
    """``2 exact-duplicate, 1 unreadable``: findings by kind, but for mere notes."""
    kinds = Counter(f["kind"] for f in findings if f["severity"] != "note")
    return ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())


def without_thumbnails(record: Any) -> Any:
    """Plain data without the small pictures and sounds in it."""
    match record:
        case dict():
            pictures = ("thumbnail", "thumbnails", "clip", "change", "changed")
            return {k: without_thumbnails(v) for k, v in record.items() if k not in pictures}
        case list():
            return [without_thumbnails(item) for item in record]
        case _:
            return record
