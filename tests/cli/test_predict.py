"""regraft predict: every way to name files and to get answers."""

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import regraft
from regraft.cli.answers import KINDS, Form
from regraft.cli.predict import AT_ONCE, _Tally, _texts
from regraft.errors import UsageError
from regraft.model.predict import Prediction


def answers(shell: Any, *words: object, code: int = 0, **settings: Any) -> list[dict[str, Any]]:
    done = shell.invoke("predict", *words, "--json", **settings)
    assert done.exit_code == code, done.output
    found = shell.document(done)
    assert found["model"]["classes"] == ["blau", "grün", "red [1]"]
    return list(found["predictions"])


@pytest.fixture(scope="module")
def pictures(photos: Path) -> list[str]:
    return sorted(map(str, (photos / "blau").glob("Bild *.png")))


def test_a_folder_as_a_document(bundle: Path, photos: Path, shell: Any, fingerprint: Any) -> None:
    before = fingerprint(photos)
    done = shell.invoke("predict", bundle, photos, "--json", "--top", 2)
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)["predictions"]
    assert len(found) == 43
    [bad] = [one for one in found if one["error"]]
    assert bad["file"].endswith("kaputt ✗.png")
    assert (bad["label"], bad["set"], bad["top"]) == (None, [], [])
    for one in found:
        if not one["error"]:
            assert one["top"][0] == [one["label"], one["probability"]]
            assert len(one["top"]) == 2
            assert set(one) == {"file", "label", "probability", "top", "set", "unlike", "error"}
    assert fingerprint(photos) == before


def test_files_globs_and_folders_keep_their_order(
    bundle: Path, photos: Path, pictures: list[str], shell: Any
) -> None:
    pattern = f"{photos}/grün/Bild 1* ä.png"
    found = answers(shell, bundle, pictures[3], pattern, pictures[0], photos / "red [1]")
    names = [one["file"] for one in found]
    assert names[0] == pictures[3]
    assert len(names) == 1 + 5 + 1 + 14
    assert names[6] == pictures[0]
    assert all("grün" in name for name in names[1:6])
    assert all("red [1]" in name for name in names[7:])


@pytest.mark.parametrize(("end", "words"), [("\n", []), ("\r\n", []), ("\0", ["-0"])])
def test_paths_on_stdin(
    end: str, words: list[str], bundle: Path, pictures: list[str], shell: Any
) -> None:
    some = pictures[:3]
    found = answers(shell, bundle, "-", *words, input=end.join([*some, ""]).encode())
    assert [one["file"] for one in found] == some


def test_stdin_in_a_process_of_its_own(
    bundle: Path, pictures: list[str], broken: Path, shell: Any
) -> None:
    lines = f"{pictures[0]}\nno such file.png\n{broken}\n"
    done = shell.run("predict", bundle, "-", "--format", "jsonl", stdin=lines.encode())
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["file"] for one in found] == lines.splitlines()
    assert [one["error"] is None for one in found] == [True, False, False]


def test_a_table_for_a_person(bundle: Path, pictures: list[str], broken: Path, shell: Any) -> None:
    done = shell.invoke("predict", bundle, pictures[0], broken)
    assert done.exit_code == 0
    heading = next(line for line in done.stdout.splitlines() if "file" in line)
    assert heading.split() == ["file", "label", "probability", "set", "note"]
    assert "kaputt" in done.stdout
    done = shell.invoke("predict", bundle, pictures[0], "--top", 2)
    assert "top 2" in done.stdout


def test_csv_on_stdout_and_in_a_file(
    bundle: Path, pictures: list[str], shell: Any, tmp_path: Path
) -> None:
    done = shell.invoke("predict", bundle, *pictures[:2], "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["file"] for row in rows] == pictures[:2]
    assert all(0 < float(row["probability"]) <= 1 for row in rows)
    file = tmp_path / "answers.csv"
    told = shell.invoke("predict", bundle, *pictures[:2], "--output", file)
    assert file.read_text() == done.stdout
    assert str(file) in told.stdout


def test_parquet_holds_the_columns_of_csv(
    bundle: Path, pictures: list[str], broken: Path, shell: Any, tmp_path: Path
) -> None:
    files = [tmp_path / "answers.parquet", tmp_path / "answers.csv"]
    for file in files:
        shell.invoke("predict", bundle, *pictures[:2], broken, "--output", file)
    found, written = pl.read_parquet(files[0]), pl.read_csv(files[1])
    assert found.columns == written.columns
    for name in ("file", "label", "probability", "error"):
        assert found[name].to_list() == written[name].to_list()
    assert found["set"].list.join("|").to_list() == [text or "" for text in written["set"]]
    done = shell.invoke("predict", bundle, pictures[0], "--format", "parquet")
    assert done.exit_code == 2
    assert "--output" in done.stderr


def test_json_and_an_output_file_go_together(
    bundle: Path, pictures: list[str], shell: Any, tmp_path: Path
) -> None:
    file = tmp_path / "answers.jsonl"
    found = answers(shell, bundle, *pictures[:2], "--output", file)
    assert [json.loads(line) for line in file.read_text().splitlines()] == found


def test_no_answer_at_all_is_a_failure(bundle: Path, broken: Path, shell: Any) -> None:
    done = shell.invoke("predict", bundle, broken, "no such file.png", "--json")
    assert done.exit_code == 1
    found = shell.document(done)
    assert found["error"]["kind"] == "data"
    assert [one["file"] for one in found["predictions"]] == [str(broken), "no such file.png"]
    assert any("no such file.png" in message for message in found["error"]["messages"])
    assert "error: no file could be read" in done.stderr
    done = shell.invoke("predict", bundle, "-", "--json", input=b"\n")
    assert (done.exit_code, shell.error(done)["kind"]) == (1, "data")


def test_a_pretrained_network_answers_as_it_is(pictures: list[str], shell: Any) -> None:
    words = ("--pretrained", "efficientnet-lite0", "--top", 3, "--json")
    done = shell.invoke("predict", *words, *pictures[:2])
    assert done.exit_code == 0, done.stderr
    found = shell.document(done)
    assert found["model"] == {"pretrained": "efficientnet-lite0"}
    assert [one["file"] for one in found["predictions"]] == pictures[:2]
    assert all(len(one["top"]) == 3 for one in found["predictions"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "MODEL"),
        (["m.regraft"], "INPUT"),
        (["--pretrained", "efficientnet-lite0"], "INPUT"),
        (["m.regraft", "-", "-"], "stdin"),
        (["m.regraft", "a.png", "-0"], "--null"),
        (["m.regraft", "a.png", "--output", "a.txt"], "--output"),
        (["m.regraft", "a.png", "--output", "a.csv", "--format", "table"], "--output"),
        (["m.regraft", "a.png", "--output", "/nowhere/a.csv"], "/nowhere"),
        (["m.regraft", "a.png", "--format", "csv"], "--format"),
        (["m.regraft", "a.png", "--output", "a.csv", "--top", "3"], "--top"),
        (["m.regraft", "a.png", "--top", "0"], "--top"),
        (["m.regraft", "a.png", "--format", "xml"], "xml"),
    ],
)
def test_wrong_usage(words: list[str], told: str, shell: Any) -> None:
    done = shell.invoke("predict", *words, "--json")
    assert done.exit_code == 2
    assert told in shell.error(done)["messages"][0]


def test_the_bundle_has_to_be_one(pictures: list[str], broken: Path, shell: Any) -> None:
    done = shell.invoke("predict", broken, pictures[0], "--json")
    assert done.exit_code == 1
    error = shell.error(done)
    assert error["kind"] == "bundle"
    assert str(broken) in error["messages"][0]


def test_a_name_that_is_no_text_still_gives_json(
    bundle: Path, pictures: list[str], shell: Any, tmp_path: Path
) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff.png"
    with open(odd, "wb") as file:
        file.write(Path(pictures[0]).read_bytes())
    [one] = answers(shell, bundle, "-", input=odd + b"\n")
    assert os.fsencode(one["file"]) == odd
    assert one["error"] is None


def test_the_heading_comes_once_however_many_answers_there_are() -> None:
    many = [Prediction(str(i)) for i in range(2 * AT_ONCE + 1)]
    form = Form(lambda some: "head\n" + "".join(f"{p.file}\n" for p in some), 1)
    lines = "".join(_texts(iter(many), form, KINDS["classification"])).splitlines()
    assert lines == ["head", *(p.file for p in many)]


def test_an_error_names_some_files_and_counts_the_rest() -> None:
    tally = _Tally(keep=False)
    list(tally.watch(Prediction(str(i), error="broken") for i in range(50)))
    messages = tally.messages()
    assert len(messages) == 22
    assert messages[1] == "0: broken"
    assert messages[-1] == "and 30 more files"
    assert (tally.answered, tally.kept) == (0, [])


@pytest.fixture(scope="module")
def clip(pictures: list[str], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of each of two classes, ten of each a second: blau, then grün."""
    import av
    from PIL import Image

    path = tmp_path_factory.mktemp("films") / "clip.mkv"
    shown = [pictures[0], str(photos / "grün" / "Bild 1 ä.png")]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        sizes = [Image.open(name).size for name in shown]
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "bgr0"
        for name in (shown[0], shown[1]):
            picture = Image.open(name).convert("RGB").resize(sizes[0])
            for _ in range(20):
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


def test_a_video_is_looked_at_every_so_many_seconds(
    bundle: Path, clip: Path, photos: Path, pictures: list[str], shell: Any
) -> None:
    green = photos / "grün" / "Bild 1 ä.png"
    found = answers(shell, bundle, clip, pictures[0], green, "--every", 0.5)
    assert [one["file"] for one in found] == [
        *(f"{clip}#t={t}" for t in ("0", "0.5", "1", "1.5", "2", "2.5", "3", "3.5")),
        pictures[0],
        str(green),
    ]
    for i, one in enumerate(found[:8]):  # the very same pixels
        assert one["probability"] == found[8 + i // 4]["probability"]
    assert len(answers(shell, bundle, clip)) == 4
    (moment,) = answers(shell, bundle, f"{clip}#t=3")
    assert moment == found[6]


def test_a_time_between_moments_has_no_use_without_a_video(
    bundle: Path, pictures: list[str], shell: Any
) -> None:
    done = shell.invoke("predict", bundle, pictures[0], "--every", 2, "--json")
    assert done.exit_code == 2
    assert shell.error(done)["messages"] == ["every: is for videos; none is named"]
    done = shell.invoke("predict", bundle, pictures[0], "--every", "inf", "--json")
    assert "expected seconds above 0" in shell.error(done)["messages"][0]


def test_a_moment_that_is_named_has_no_use_for_a_time_between(
    bundle: Path, clip: Path, shell: Any
) -> None:
    done = shell.invoke("predict", bundle, f"{clip}#t=3", "--every", 2, "--json")
    assert done.exit_code == 2
    assert "is one moment already; leave it out" in shell.error(done)["messages"][0]
    with pytest.raises(UsageError, match="one moment already"):
        regraft.predict(bundle, [f"{clip}#t=3"], every=2)
    assert len(answers(shell, bundle, f"{clip}#t=3", clip, "--every", 2)) == 3


def test_videos_in_a_folder_are_looked_at_where_that_is_asked(
    bundle: Path, clip: Path, pictures: list[str], tmp_path: Path, shell: Any
) -> None:
    folder = tmp_path / "mixed"
    (folder / "sub").mkdir(parents=True)
    inner, torn = folder / "sub" / "clip.mkv", folder / "torn.mp4"
    shutil.copy(clip, inner)
    torn.write_bytes(bytes(100))
    done = shell.invoke("predict", bundle, folder, "--json")
    assert "holds only videos" in shell.error(done)["messages"][1]
    shutil.copy(pictures[0], folder / "a.png")
    found = answers(shell, bundle, folder, "--every", 1.5)
    names = ["a.png", *(f"sub/clip.mkv#t={t}" for t in ("0", "1.5", "3")), "torn.mp4#t=0"]
    assert [one["file"] for one in found] == [str(folder / name) for name in names]
    assert [bool(one["error"]) for one in found] == [False] * 4 + [True]
    done = shell.invoke("predict", bundle, folder, "--json")
    told = json.loads(done.stdout)
    assert [one["file"] for one in told["predictions"]] == [str(folder / "a.png")]
    assert told["left_out"] == [str(inner), str(torn)]
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("note:"))
    assert "sub/clip.mkv" in line
    assert "add --every" in line
    again = regraft.predict(bundle, folder, every=1.5)
    assert [one.file for one in again] == [str(folder / name) for name in names]


def test_a_video_that_is_not_there_has_its_reason(
    bundle: Path, pictures: list[str], shell: Any
) -> None:
    lost, there = answers(shell, bundle, "lost.mp4", pictures[0], "--every", 2)
    assert "no such file" in lost["error"]
    assert there["error"] is None


def test_what_is_no_video_has_its_reason(bundle: Path, tmp_path: Path, shell: Any) -> None:
    path = tmp_path / "torn.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    (lost,) = answers(shell, bundle, path, code=1)
    assert "no video that can be read" in lost["error"]
