"""Recordings with transcripts: which columns hold what, and what is wrong by row."""

import json
from pathlib import Path

import polars as pl
import pytest

from regraft.data.dataset import Dataset
from regraft.data.sources import load, task_of
from regraft.errors import DataError, UsageError

ROWS = [
    {"path": "a.wav", "text": "Hello there.", "speaker": "x", "split": "train"},
    {"path": "b.wav", "text": "One, two", "speaker": "y", "split": "train"},
    {"path": "c.wav", "text": "", "speaker": "y", "split": "test"},
    {"path": "d.wav", "text": "three", "speaker": "z", "split": "test"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in ROWS:
        (tmp_path / row["path"]).write_bytes(b"no matter")
    return tmp_path


def written(folder: Path, ending: str, rows: list[dict[str, str]] = ROWS) -> Path:
    path = folder / f"said{ending}"
    if ending == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pl.DataFrame(rows).write_csv(path)
    return path


def transcribed(path: Path, **settings: str) -> Dataset:
    return load(path, task="transcribe", **settings)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_every_format_says_the_same(folder: Path, ending: str) -> None:
    data = transcribed(written(folder, ending))
    assert (data.task, data.modality, data.split_source) == ("transcription", "audio", "given")
    assert data.transcripts == {"a.wav": "Hello there.", "b.wav": "One, two", "d.wav": "three"}
    assert data.table["group"].to_list() == ["x", "y", "y", "z"]
    assert data.labelled.table["id"].to_list() == ["a.wav", "b.wav", "d.wav"]
    assert data.learning.table["id"].to_list() == ["a.wav", "b.wav"]
    assert data.held_out.table["id"].to_list() == ["d.wav"]
    (bare,) = [f for f in data.findings if f.kind == "unlabelled"]
    assert bare.files == ("c.wav",)
    assert data.classes == ()


def test_columns_are_named_or_guessed(folder: Path) -> None:
    rows = [
        {"audio": r["path"], "sentence": r["text"], "note": "-", "client_id": r["speaker"]}
        for r in ROWS
    ]
    path = written(folder, ".csv", rows)
    assert len(transcribed(path).transcripts) == 3
    named = transcribed(path, path_column="audio", text="note", group="sentence")
    assert set(named.transcripts.values()) == {"-"}
    for row in rows:
        row["words"] = row["sentence"]
    with pytest.raises(UsageError, match="say which with text="):
        transcribed(written(folder, ".csv", rows))
    with pytest.raises(UsageError, match=r"text: .* has no column of texts"):
        transcribed(written(folder, ".csv", [{"path": "a.wav"}]))
    with pytest.raises(UsageError, match="label: cannot be set for a manifest of transcripts"):
        transcribed(path, label="note")


def test_one_file_says_one_thing(folder: Path) -> None:
    twice = [*ROWS, {**ROWS[0], "text": "something else"}]
    with pytest.raises(DataError, match=r"rows 2 and 6: 'a\.wav' is told as .*something else"):
        transcribed(written(folder, ".csv", twice))


def test_the_task_is_asked_for(folder: Path) -> None:
    path = written(folder, ".csv")
    assert task_of(path) == "classification"
    assert task_of(path, "transcribe") == task_of(path, "transcription") == "transcription"
    assert task_of(transcribed(path)) == "transcription"
    for source, asked in ((folder, "transcribe"), (transcribed(path), "classify")):
        with pytest.raises(UsageError, match=r"task: .* not for"):
            task_of(source, asked)
    with pytest.raises(UsageError, match="task: 'sing' is not known; choose one of classify"):
        task_of(path, "sing")
