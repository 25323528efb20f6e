"""predict: one answer for one picture, however it is named, and a reason where there is none."""

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import regraft
from regraft.backbones.catalog import find
from regraft.backbones.network import class_names, load_network, synthetic_picture
from regraft.errors import DataError, UsageError
from regraft.model.model import Model
from regraft.model.named import files
from regraft.model.predict import Prediction, Predictions, predict, predict_pretrained
from regraft.verbs.fitted import Fitted

DEFAULT = "efficientnet-lite0"


@pytest.fixture(scope="module")
def model(fitted: Fitted) -> Model:
    return fitted.model


@pytest.fixture(scope="module")
def picture(photos: Path) -> Path:
    return photos / "disc" / "003.png"


@pytest.fixture(scope="module")
def answer(model: Model, picture: Path) -> Prediction:
    (found,) = predict(model, picture)
    return found


def unnamed(answer: Prediction) -> Prediction:
    return replace(answer, file="")


# --- what can be asked about ---------------------------------------------------------------------


def test_the_answer_is_complete(model: Model, answer: Prediction, picture: Path) -> None:
    assert answer.file == str(picture)
    assert [name for name, _ in answer.top] == [answer.label, *(n for n, _ in answer.top[1:])]
    assert answer.top[0] == (answer.label, answer.probability)
    probabilities = [p for _, p in answer.top]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert {name for name, _ in answer.top} == set(model.classes)
    assert answer.label in answer.set
    assert answer.error is None


def test_every_way_to_name_a_picture_gives_the_same_answer(
    model: Model, answer: Prediction, picture: Path, bundle: Path
) -> None:
    opened = Image.open(picture)
    in_memory = Image.open(picture)
    in_memory.load()
    one = {
        "text": str(picture),
        "glob": str(picture.parent / "00[3].png"),
        "list": [picture],
        "list of lists": [[picture]],
        "bytes": picture.read_bytes(),
        "picture that was opened": opened,
        "picture in memory": in_memory,
        "picture without a file": Image.fromarray(np.asarray(in_memory)),
        "dataset": regraft.load([str(picture)]),
    }
    for way, source in one.items():
        assert [unnamed(p) for p in predict(model, source)] == [unnamed(answer)], way
    assert predict(bundle, picture) == predict(str(bundle), picture) == [answer]
    assert model.predict(picture) == [answer]


def test_a_folder_a_glob_a_list_and_a_dataset_are_answered_in_order(
    model: Model, photos: Path, fitted: Fitted
) -> None:
    inside = sorted((photos / "square").iterdir())
    by_folder = predict(model, photos / "square")
    assert [p.file for p in by_folder] == [str(path) for path in inside]
    assert predict(model, str(photos / "square" / "*.png")) == by_folder
    assert predict(model, inside) == by_folder
    mixed = predict(model, [inside[4], photos / "square", str(photos / "square" / "01*.png")])
    assert [p.file for p in mixed][:2] == [str(inside[4]), str(inside[0])]
    assert len(mixed) == 1 + len(inside) + 10
    held = fitted.data.held_out
    assert [p.file for p in predict(model, held)] == list(held.table["path"])
    everything = predict(model, str(photos / "**" / "*.png"))
    assert len(everything) == len(list(photos.rglob("*.png")))


def test_a_name_with_the_signs_of_a_pattern_is_taken_as_it_is(
    model: Model, picture: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "a[3]*.png"
    shutil.copy(picture, odd)
    assert [p.file for p in predict(model, odd)] == [str(odd)]


def test_the_home_folder_may_be_written_as_a_tilde(
    model: Model, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(picture, tmp_path / "a.png")
    assert len(predict(model, "~/a.png")) == len(predict(model, "~/*.png")) == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "RGBX", "CMYK", "I;16", "F", "HSV"])
def test_pictures_of_every_mode_are_answered_as_their_files_are(
    mode: str, model: Model, picture: Path, tmp_path: Path
) -> None:
    grey = Image.open(picture).convert("L")
    made = {
        "I;16": lambda: Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
        "F": lambda: Image.fromarray(np.asarray(grey).astype(np.float32)),
        "LA": lambda: Image.open(picture).convert("LA"),
    }.get(mode, lambda: Image.open(picture).convert(mode))()
    assert made.mode == mode
    file = tmp_path / "a.tif"
    (made.convert("RGB") if mode in ("HSV", "RGBX", "P") else made).save(file)
    (told,) = predict(model, made)
    (expected,) = predict(model, file)
    assert unnamed(told) == unnamed(expected)


def test_a_transparent_palette_stays_transparent(model: Model, tmp_path: Path) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[16:48, 16:48] = 1
    made = Image.fromarray(pixels, "L").convert("P")
    made.putpalette([0, 0, 0, 250, 40, 40])
    made.save(tmp_path / "a.gif", transparency=0)
    opened = Image.open(tmp_path / "a.gif")
    (told,), (expected,) = predict(model, opened), predict(model, tmp_path / "a.gif")
    assert unnamed(told) == unnamed(expected)
    (black,) = predict(model, made.convert("RGB"))
    assert black.top != expected.top


def test_a_picture_that_lies_on_its_side_is_turned_in_memory_too(
    model: Model, picture: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(picture).resize((90, 60)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    (by_file,) = predict(model, tmp_path / "a.jpg")
    (by_picture,) = predict(model, Image.open(tmp_path / "a.jpg"))
    assert unnamed(by_picture) == unnamed(by_file)


# --- what cannot be answered ---------------------------------------------------------------------


def test_a_file_that_cannot_be_read_has_a_reason_and_stops_nothing(
    model: Model, answer: Prediction, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:300])
    os.mkfifo(tmp_path / "pipe.png")
    shutil.copy(picture, tmp_path / "good.png")
    names = [str(tmp_path / f"{n}.png") for n in ("empty", "good", "text", "cut", "pipe")]
    found = predict(model, names)
    assert [p.file for p in found] == names
    assert [p.error is None for p in found] == [False, True, False, False, False]
    assert unnamed(found[1]) == unnamed(answer)
    for bad in (found[0], *found[2:]):
        assert bad == Prediction(bad.file, error=bad.error)
    assert "empty" in str(found[0].error)
    assert "not a regular file" in str(found[4].error)


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_bytes_that_are_no_picture_have_a_reason(data: bytes, model: Model) -> None:
    (found,) = predict(model, data)
    assert found == Prediction("<memory>", error=found.error)
    assert found.error


def test_a_picture_whose_file_is_cut_off_has_a_reason(
    model: Model, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:3000])
    (found,) = predict(model, Image.open(tmp_path / "cut.png"))
    assert "cannot be read" in str(found.error)


def test_nothing_found_is_told_with_every_name(model: Model, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError) as caught:
        predict(model, [tmp_path / "no.png", tmp_path / "folder", str(tmp_path / "*.jpg")])
    assert len(str(caught.value).splitlines()) == 3
    for word in ("no.png", "folder", "*.jpg"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "", "nowhere/*.png", "x" * 5000, "a\0b"])
def test_a_name_of_nothing_is_told(name: str, model: Model) -> None:
    with pytest.raises(DataError):
        predict(model, name)


def test_empty_sources_are_told(model: Model, fitted: Fitted) -> None:
    with pytest.raises(DataError, match="the list is empty"):
        predict(model, [])
    nobody = fitted.data.with_table(fitted.data.table.head(0))
    with pytest.raises(DataError, match="the dataset"):
        predict(model, nobody)


@pytest.mark.parametrize("source", [3, None, {"a": 1}, 1.5])
def test_what_names_nothing_is_a_wrong_use(source: Any, model: Model) -> None:
    with pytest.raises(UsageError, match=f"source: .* got {type(source).__name__}"):
        predict(model, source)
    with pytest.raises(UsageError):
        files([source], "image")


def test_top_is_obeyed_or_refused(model: Model, picture: Path) -> None:
    for top, expected in ((1, 1), (2, 2), (3, 3), (99, 3)):
        (found,) = predict(model, picture, top=top)
        assert len(found.top) == expected
    for wrong in (0, -1, 1.5, None):
        with pytest.raises(UsageError, match="top: expected 1 or more"):
            predict(model, picture, top=wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="top: expected 1 or more"):
            predict_pretrained(DEFAULT, picture, top=wrong)  # type: ignore[arg-type]


# --- unlike --------------------------------------------------------------------------------------


def test_pictures_of_nothing_that_was_learned_are_told_apart(
    model: Model, photos: Path, tmp_path: Path
) -> None:
    """Black and white noise, plain colours, soft blobs: the learned ones have grey noise behind."""
    rng = np.random.default_rng(0)
    for i in range(8):
        noise = rng.choice(np.array([0, 255], np.uint8), (64, 64))
        Image.fromarray(noise).save(tmp_path / f"noise-{i}.png")
        blobs = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        blobs.resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / f"blobs-{i}.png")
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"plain-{i}.png")
    strange = np.mean([p.unlike for p in predict(model, tmp_path)])
    usual = np.mean([p.unlike for p in predict(model, photos)])
    assert strange > 0.9
    assert usual < 0.2


# --- forms ---------------------------------------------------------------------------------------

AWKWARD = Predictions(
    [
        Prediction("a,b.png", 'quo"te', 0.1, (('quo"te', 0.1), ("b", 0.05)), ("b", "c"), True),
        Prediction("line\nbreak.png", error="it is, alas, empty"),
        Prediction("ünï.png", "☃", 1 / 3, (("☃", 1 / 3),), ("☃",)),
    ]
)


@pytest.fixture(params=["real", "awkward"])
def predictions(request: pytest.FixtureRequest, model: Model, photos: Path) -> Predictions:
    return AWKWARD if request.param == "awkward" else predict(model, photos / "disc")


def as_plain(predictions: Predictions) -> list[dict[str, Any]]:
    return json.loads(json.dumps([p.to_dict() for p in predictions]))


def test_json_reads_back(predictions: Predictions) -> None:
    assert json.loads(predictions.to_json()) == as_plain(predictions)
    lines = predictions.to_json_lines().split("\n")
    assert lines[-1] == ""
    assert [json.loads(line) for line in lines[:-1]] == as_plain(predictions)


def test_csv_reads_back(predictions: Predictions) -> None:
    rows = list(csv.DictReader(io.StringIO(predictions.to_csv())))
    assert len(rows) == len(predictions)
    for row, p in zip(rows, predictions, strict=True):
        assert (row["file"], row["label"], row["error"]) == (p.file, p.label or "", p.error or "")
        assert row["probability"] == ("" if p.probability is None else repr(p.probability))
        assert row["set"].split("|") == (list(p.set) or [""])
        assert row["unlike"] == str(p.unlike)


# --- a pretrained network as it is ---------------------------------------------------------------


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The picture of the self-check, at the size of the network: nothing is resampled."""
    file = tmp_path_factory.mktemp("card") / "card.png"
    Image.fromarray(synthetic_picture(256)[0].numpy()).save(file)
    return file


def test_a_pretrained_network_answers_with_its_own_classes(card: Path) -> None:
    (found,) = predict_pretrained(DEFAULT, card, top=1000)
    row = find(DEFAULT)
    names = class_names(row)
    assert {name for name, _ in found.top} == set(names)
    assert [p for _, p in found.top] == sorted((p for _, p in found.top), reverse=True)
    assert sum(p for _, p in found.top) == pytest.approx(1, abs=1e-4)
    assert (found.label, found.probability) == found.top[0]
    assert found.set == ()
    assert not found.unlike


def test_its_probabilities_are_the_softmax_of_its_logits(card: Path) -> None:
    row = find(DEFAULT)
    size, spec = row.spec.size, row.spec
    side = round(256 * spec.crop_fraction)
    left = (256 - side) // 2
    cut = Image.open(card).crop((left, left, left + side, left + side))
    pixels = np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC))
    import torch

    with torch.inference_mode():
        logits = load_network(row).logits(torch.from_numpy(pixels.copy())[None])[0].numpy()
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    (found,) = predict_pretrained(DEFAULT, card, top=5)
    assert side == 224
    order = np.argsort(-expected)[:5]
    assert [name for name, _ in found.top] == [class_names(row)[k] for k in order]
    assert [p for _, p in found.top] == pytest.approx(expected[order], rel=1e-5)


def test_its_size_is_obeyed_or_refused(card: Path) -> None:
    (small,), (own,) = predict_pretrained(DEFAULT, card, size=96), predict_pretrained(DEFAULT, card)
    assert small.top != own.top
    assert predict_pretrained(DEFAULT, card, size=224) == [own]
    with pytest.raises(UsageError, match="size"):
        predict_pretrained(DEFAULT, card, size=16)


def test_it_takes_what_predict_takes(card: Path, tmp_path: Path) -> None:
    (by_file,) = predict_pretrained(DEFAULT, card)
    (tmp_path / "bad.png").write_text("no picture")
    bad, good = predict_pretrained(DEFAULT, [tmp_path / "bad.png", card])
    assert (bad.label, good) == (None, by_file)
    assert bad.error
    for source in (card.read_bytes(), Image.open(card)):
        assert [unnamed(p) for p in predict_pretrained(DEFAULT, source)] == [unnamed(by_file)]


def test_an_unknown_network_is_told_with_the_closest_names(card: Path) -> None:
    with pytest.raises(UsageError, match="efficientnet-lite0"):
        predict_pretrained("efficientnet-lit0", card)
