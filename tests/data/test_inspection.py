"""inspect(...): each planted oddity is found by name, and nothing in clean data."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from regraft.data.findings import SEVERITIES, Finding
from regraft.data.inspection import Inspection, inspect
from regraft.data.sources import load
from regraft.errors import Unreadable, UsageError
from regraft.modalities.facts import Facts
from regraft.modalities.image import MODALITY

SIZE = 120, 90


def photo(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Soft blobs of colour, unlike those of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def fill(root: Path, classes: Mapping[str, int]) -> Path:
    """A clean folder: as many pictures of each class as are asked for."""
    seeds = iter(range(10_000))
    for name, n in classes.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            photo(next(seeds)).save(root / name / f"{i:03}.png")
    return root


def inspected(source: object, **options: str) -> Inspection:
    dataset = load(source, **options)
    shas, looks = [], []
    for path in dataset.table["path"]:
        data = Path(path).read_bytes()
        shas.append(hashlib.sha256(data).hexdigest())
        try:
            looks.append(MODALITY.decode(data, path).facts)
        except Unreadable as error:
            looks.append(error)  # it has a kind and a reason
    return inspect(dataset, shas, looks)


def found(inspection: Inspection, kind: str) -> list[Finding]:
    return [finding for finding in inspection.findings if finding.kind == kind]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos", {"cat": 8, "dog": 9})


def test_clean_data_has_no_findings(folder: Path) -> None:
    inspection = inspected(folder)
    assert inspection.findings == inspection.dataset.findings == ()
    assert inspection.together == ()
    table = inspection.dataset.table
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in table["path"]]
    assert table["sha256"].to_list() == digests


# Unreadable --------------------------------------------------------------------------------------


def test_unreadable_files_are_named_one_by_one_and_left_out(folder: Path) -> None:
    (folder / "cat" / "empty.jpg").touch()
    (folder / "cat" / "text.jpg").write_text("no picture")
    whole = (folder / "dog" / "000.png").read_bytes()
    (folder / "dog" / "torn.png").write_bytes(whole[: len(whole) // 2])
    inspection = inspected(folder)
    unreadable = found(inspection, "unreadable")
    kinds = {f.files: f.reason.split(":")[0] for f in unreadable}
    assert kinds == {
        ("cat/empty.jpg",): "empty",
        ("cat/text.jpg",): "not-an-image",
        ("dog/torn.png",): "truncated",
    }
    assert {f.severity for f in unreadable} == {"error"}
    assert len(inspection.dataset) == 17
    assert inspection.findings == tuple(unreadable)


def test_a_class_of_unreadable_files_leaves_the_classes(folder: Path) -> None:
    (folder / "newt").mkdir()
    (folder / "newt" / "a.jpg").touch()
    inspection = inspected(folder)
    assert inspection.dataset.classes == ("cat", "dog")
    assert [f.kind for f in inspection.findings] == ["unreadable", "empty-class"]


def test_nothing_readable_is_no_crash(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    inspection = inspected(tmp_path)
    assert len(inspection.dataset) == 0
    assert [f.kind for f in inspection.findings] == ["unreadable", "unreadable"]


# Duplicates --------------------------------------------------------------------------------------


def copy(folder: Path, source: str, *targets: str) -> None:
    for target in targets:
        (folder / target).write_bytes((folder / source).read_bytes())


def test_exact_duplicates_are_one_finding_per_group(folder: Path) -> None:
    copy(folder, "cat/000.png", "cat/a.png", "cat/b.png")
    copy(folder, "dog/003.png", "dog/a.png")
    inspection = inspected(folder)
    groups = [("cat/000.png", "cat/a.png", "cat/b.png"), ("dog/003.png", "dog/a.png")]
    assert [f.files for f in found(inspection, "exact-duplicate")] == groups
    assert inspection.together == tuple(groups)
    assert len(inspection.findings) == 2
    assert len(inspection.dataset) == 20


@pytest.mark.parametrize(
    ("change", "name", "ways"),
    [
        pytest.param(lambda p: p.resize((80, 60)), "x.png", "(resized)", id="resized"),
        pytest.param(lambda p: p, "x.jpg", "(re-encoded)", id="re-encoded"),
        pytest.param(ImageOps.mirror, "x.png", "(mirrored)", id="mirrored"),
        pytest.param(
            lambda p: ImageOps.mirror(p).resize((80, 60)),
            "x.webp",
            "(resized, mirrored, re-encoded)",
            id="all of it",
        ),
    ],
)
def test_near_duplicates_say_what_was_done(
    folder: Path, change: Callable[[Image.Image], Image.Image], name: str, ways: str
) -> None:
    with Image.open(folder / "cat" / "001.png") as picture:
        change(picture).save(folder / "cat" / name)
    (finding,) = inspected(folder).findings
    assert (finding.kind, finding.files) == ("near-duplicate", ("cat/001.png", f"cat/{name}"))
    assert ways in finding.reason
    assert finding.score is not None
    assert 0.98 <= finding.score <= 1


def test_exact_and_near_copies_of_one_picture_stay_together(folder: Path) -> None:
    copy(folder, "cat/000.png", "cat/a.png")
    photo(0).save(folder / "cat" / "b.jpg", quality=90)
    inspection = inspected(folder)
    whole = ("cat/000.png", "cat/a.png", "cat/b.jpg")
    assert inspection.together == (whole,)
    assert [f.files for f in found(inspection, "exact-duplicate")] == [whole[:2]]
    assert [f.files for f in found(inspection, "near-duplicate")] == [whole]


def test_identical_files_with_two_labels_are_an_error(folder: Path) -> None:
    copy(folder, "cat/000.png", "dog/a.png")
    (conflict,) = found(inspected(folder), "conflicting-labels")
    assert conflict.files == ("cat/000.png", "dog/a.png")
    assert conflict.severity == "error"
    assert "'cat', 'dog'" in conflict.reason


def test_resized_copies_with_two_labels_are_a_warning(folder: Path) -> None:
    photo(0).resize((80, 60)).save(folder / "dog" / "a.png")
    (conflict,) = found(inspected(folder), "conflicting-labels")
    assert (conflict.files, conflict.severity) == (("cat/000.png", "dog/a.png"), "warning")


def test_mirrored_copies_may_be_of_two_classes(folder: Path) -> None:
    ImageOps.mirror(photo(0)).save(folder / "dog" / "a.png")
    (finding,) = inspected(folder).findings
    assert finding.kind == "near-duplicate"
    assert "labels differ" in finding.reason


def test_copies_without_a_label_do_not_conflict(folder: Path, tmp_path: Path) -> None:
    copy(folder, "cat/000.png", "dog/a.png")
    rows = ["file,label", "photos/cat/000.png,cat", "photos/dog/a.png,", "photos/dog/000.png,dog"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert not found(inspected(tmp_path / "list.csv"), "conflicting-labels")


# Leaks -------------------------------------------------------------------------------------------


def test_a_copy_in_another_part_of_a_given_split_is_a_leak(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 6, "dog": 6})
    for name, seed in {"cat": 500, "dog": 600}.items():
        (tmp_path / "test" / name).mkdir(parents=True)
        for i in range(5):
            photo(seed + i).save(tmp_path / "test" / name / f"{i}.png")
    assert inspected(tmp_path).findings == ()
    photo(0).resize((100, 75)).save(tmp_path / "test" / "cat" / "x.jpg", quality=90)
    (leak,) = found(inspected(tmp_path), "leak")
    assert leak.files == ("test/cat/x.jpg", "train/cat/000.png")
    assert leak.severity == "error"


def test_a_group_in_two_parts_is_a_leak(folder: Path, tmp_path: Path) -> None:
    names = sorted(path.relative_to(tmp_path).as_posix() for path in folder.rglob("*.png"))
    groups = ["p1", "p1", *(f"g{i}" for i in range(len(names) - 2))]
    rows = [
        f"{name},{name.split('/')[1]},{group},{'train' if i % 2 else 'test'}"
        for i, (name, group) in enumerate(zip(names, groups, strict=True))
    ]
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(["file,label,patient,split", *rows]))
    (leak,) = found(inspected(manifest, group="patient"), "group-leak")
    assert leak.files == tuple(names[:2])
    assert "'p1'" in leak.reason


# Classes -----------------------------------------------------------------------------------------


def test_tiny_classes_are_one_finding(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 8, "dog": 8, "newt": 1, "owl": 4, "pug": 5})
    (finding,) = inspected(tmp_path).dataset.findings
    assert finding.kind == "tiny-class"
    assert len(finding.files) == 5
    assert "'newt', 'owl'" in finding.reason
    assert "single" in finding.reason


@pytest.mark.parametrize(
    ("few", "many", "severity"),
    [(5, 50, None), (5, 51, "note"), (1, 100, "note"), (1, 101, "warning")],
)
def test_imbalance_has_two_degrees(few: int, many: int, severity: str | None) -> None:
    inspection = of_facts([facts() for _ in range(few + many)], ["a"] * few + ["b"] * many)
    assert [f.severity for f in found(inspection, "imbalance")] == ([severity] if severity else [])


def test_only_the_examples_to_learn_from_count(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 5, "dog": 5})
    (tmp_path / "test" / "cat").mkdir(parents=True)
    photo(900).save(tmp_path / "test" / "cat" / "a.png")
    assert not found(inspected(tmp_path), "tiny-class")


# Sizes, modes, frames ----------------------------------------------------------------------------


def facts(size: tuple[int, int] = (640, 480), mode: str = "RGB", **more: object) -> Facts:
    """Of a blank picture, which is a duplicate of none."""
    thumb = np.zeros((32, 32, 3), np.uint8)
    given = {"format": "JPEG", "orientation": 1, "frames": 1, "thumb": thumb} | more
    return Facts(*size, mode, **given)


def of_facts(looks: list[Facts], labels: list[str] | None = None) -> Inspection:
    from regraft.data.dataset import Dataset

    ids = [f"{i}.jpg" for i in range(len(looks))]
    columns = {"id": ids, "path": ids, "label": labels or [None] * len(ids)}
    shas = [f"{i:064x}" for i in range(len(looks))]
    return inspect(Dataset.of(columns, Path("/photos")), shas, looks)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        pytest.param(facts((31, 40)), "under 32 pixels", id="small"),
        pytest.param(facts((3000, 500)), "times as long", id="wide"),
        pytest.param(facts((500, 3000)), "times as long", id="high"),
        pytest.param(facts((6400, 4800)), "far from that of the rest", id="large"),
        pytest.param(facts((64, 48)), "far from that of the rest", id="smaller"),
    ],
)
def test_a_picture_of_odd_size_is_found_once(odd: Facts, reason: str) -> None:
    (finding,) = of_facts([*(facts() for _ in range(9)), odd]).findings
    assert (finding.kind, finding.files) == ("odd-size", ("9.jpg",))
    assert reason in finding.reason


def test_sizes_that_spread_widely_or_are_all_small_are_not_odd() -> None:
    spread = [facts((int(100 * 1.2**i), int(80 * 1.2**i))) for i in range(20)]
    assert of_facts(spread).findings == ()
    assert of_facts([facts((28, 28)) for _ in range(20)]).findings == ()
    assert of_facts([facts((480, 640)), facts((640, 480))]).findings == ()


def test_many_odd_pictures_are_one_finding() -> None:
    (finding,) = of_facts([facts()] * 100 + [facts((20, 20))] * 50).findings
    assert len(finding.files) == 50
    assert finding.reason.startswith("50 pictures under 32 pixels")


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        ("L", "grey"),
        ("CMYK", "CMYK"),
        ("I;16", "16-bit"),
        ("P", "palette"),
        ("RGBA", "transparent"),
    ],
)
def test_minority_modes_are_told(mode: str, word: str) -> None:
    (finding,) = of_facts([facts(), facts(mode=mode), facts()]).findings
    assert (finding.kind, finding.files) == ("odd-mode", ("1.jpg",))
    assert word in finding.reason


def test_one_mode_for_all_is_not_odd() -> None:
    assert of_facts([facts(mode="L"), facts(mode="1"), facts(mode="L")]).findings == ()


def test_animations_are_told_but_not_photos_with_a_preview() -> None:
    looks = [facts(), facts(format="GIF", frames=7), facts(format="MPO", frames=2)]
    (finding,) = of_facts(looks).findings
    assert (finding.kind, finding.files) == ("animated", ("1.jpg",))


def test_a_picture_on_its_side_is_a_copy_of_the_upright_one(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photo(0).transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "cat" / "turned.jpg", exif=exif, quality=95)
    (finding,) = inspected(folder).findings
    assert finding.files == ("cat/000.png", "cat/turned.jpg")
    assert "(re-encoded)" in finding.reason


# Properties --------------------------------------------------------------------------------------

SIDES = st.integers(1, 5000)
LOOKS = st.lists(
    st.builds(
        facts,
        st.tuples(SIDES, SIDES),
        st.sampled_from(["RGB", "L", "CMYK", "LAB"]),
        frames=st.integers(1, 3),
        orientation=st.integers(1, 8),
    )
    | st.just(Unreadable("x", "empty", "the file is empty")),
    max_size=30,
)


@given(LOOKS, st.randoms(use_true_random=False))
def test_each_file_is_kept_or_named(looks, random) -> None:
    labels = [random.choice("abc") for _ in looks]
    inspection = of_facts(looks, labels) if looks else of_facts([])
    kept = set(inspection.dataset.table["id"])
    named = {file for f in found(inspection, "unreadable") for file in f.files}
    assert kept.isdisjoint(named)
    assert kept | named == {f"{i}.jpg" for i in range(len(looks))}
    for finding in inspection.findings:
        assert finding.severity in SEVERITIES
        assert finding.kind in ("unreadable", "empty-class") or set(finding.files) <= kept


def test_a_second_inspection_replaces_the_first(folder: Path) -> None:
    copy(folder, "cat/000.png", "dog/a.png")
    (folder / "cat" / "empty.jpg").touch()
    first = inspected(folder)
    readable = [MODALITY.decode(Path(p).read_bytes(), p).facts for p in first.dataset.table["path"]]
    second = inspect(first.dataset, first.dataset.table["sha256"].to_list(), readable)
    assert second.dataset.findings == first.dataset.findings
    assert not found(second, "unreadable")


def test_one_look_for_each_row_is_needed(folder: Path) -> None:
    dataset = load(folder)
    with pytest.raises(UsageError, match="17 examples; got 0 shas"):
        inspect(dataset, [], [])
