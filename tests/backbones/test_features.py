"""One pass over files: right numbers, nothing twice, nothing lost, no file that stops it."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regraft.backbones import features as features_module
from regraft.backbones.catalog import CatalogRow
from regraft.backbones.engines import Engine, Vector
from regraft.backbones.extractor import Extractor, extractor
from regraft.backbones.features import Pass, pass_over
from regraft.backbones.network import FrozenNetwork
from regraft.backbones.parity import PARITY, difference
from regraft.backbones.readers import Example
from regraft.backbones.reading import hash_files
from regraft.backbones.store import Store, Verdict
from regraft.errors import BackboneError, StorageError, UsageError
from regraft.modalities.image import MODALITY
from regraft.modalities.spec import InputSpec

Make = Callable[..., Extractor]


class Counting:
    """An engine that counts its runs, and may be told to fail."""

    name, lanes = "counting", 2

    def __init__(self, engine: Engine) -> None:
        self.engine, self.runs = engine, 0
        self.spoil: Callable[[Vector], Vector] = lambda vector: vector

    def run(self, pixels: Example) -> Vector:
        self.runs += 1
        return self.spoil(self.engine.run(pixels))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite3") as opened:
        yield opened


@pytest.fixture
def make(row: CatalogRow, spec: InputSpec, network: FrozenNetwork, engine: Engine) -> Make:
    """An extractor with the network and the engine of all tests, which counts its runs."""

    def made(**changes: Any) -> Extractor:
        one = Extractor(row, InputSpec(**spec.to_dict() | changes), "openvino")
        one.__dict__.update(network=network, engine=Counting(engine))
        return one

    return made


def runs(one: Extractor) -> int:
    counting = one.engine
    assert isinstance(counting, Counting)
    return counting.runs


def same(a: Pass, b: Pass) -> bool:
    assert a.features is not None
    assert b.features is not None
    return a.features.tobytes() == b.features.tobytes() and a.widths == b.widths


class Watcher:
    """Progress that remembers what it was told, and may interrupt."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.said: list[str] = []
        self.steps, self.interrupt_at = 0, interrupt_at

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        self.stages.append((name, total))

        def advance(steps: int) -> None:
            if name.startswith("features"):
                self.steps += steps
                if self.steps == self.interrupt_at:
                    raise KeyboardInterrupt

        yield advance

    def say(self, message: str) -> None:
        self.said.append(message)


# --- right numbers -------------------------------------------------------------------------------


def test_features_are_those_of_the_network(
    pictures: list[Path], store: Store, make: Make, network: FrozenNetwork, spec: InputSpec
) -> None:
    import torch

    seen = pass_over(pictures, MODALITY, store, make())
    assert seen.widths == network.block_widths
    assert seen.features is not None
    assert seen.features.dtype == np.float32
    assert seen.features.shape == (12, sum(network.block_widths))
    for path, found in zip(pictures, seen.features, strict=True):
        raw = MODALITY.decode(path.read_bytes(), path.name, spec).raw
        pixels = torch.from_numpy(MODALITY.prepare(raw, spec, "centre").copy())[None]
        with torch.inference_mode():
            truth = network(pixels)[0].numpy()
        assert difference(truth, found, seen.widths) <= PARITY


def test_hashes_and_facts_are_those_of_the_files(
    pictures: list[Path], store: Store, make: Make
) -> None:
    seen = pass_over(pictures, MODALITY, store, make())
    assert seen.verdicts == {}
    for i, path in enumerate(pictures):
        assert seen.shas[i] == hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as picture:
            assert (seen.facts[i].width, seen.facts[i].height) == picture.size
            assert seen.facts[i].format == picture.format


def test_a_picture_has_the_same_features_alone_among_others_and_in_any_order(
    pictures: list[Path], make: Make, tmp_path: Path
) -> None:
    def features(name: str, files: Sequence[Path]) -> Any:
        with Store(tmp_path / name) as store:
            return pass_over(files, MODALITY, store, make()).features

    together = features("together", pictures)
    order = np.random.default_rng(1).permutation(len(pictures))
    shuffled = features("shuffled", [pictures[i] for i in order])
    assert shuffled.tobytes() == together[order].tobytes()
    for i in (0, 7):
        assert features(f"alone {i}", [pictures[i]])[0].tobytes() == together[i].tobytes()


def test_two_views_are_averaged(pictures: list[Path], store: Store, make: Make) -> None:
    names = ("centre", "whole-mirrored")
    both = pass_over(pictures, MODALITY, store, make(views=names)).features
    each = []
    for name in names:
        one = make(views=(name,))
        each.append(pass_over(pictures, MODALITY, store, one).features)
        assert runs(one) == 0  # each view is kept by itself
    assert both is not None
    assert np.allclose(both, np.mean(each, axis=0), rtol=1e-6, atol=0)
    assert not np.allclose(each[0], each[1], rtol=1e-3)


# --- nothing twice -------------------------------------------------------------------------------


def test_a_second_pass_opens_no_engine(
    pictures: list[Path], store: Store, make: Make, row: CatalogRow, spec: InputSpec
) -> None:
    first = pass_over(pictures, MODALITY, store, make())
    fresh, watcher = Extractor(row, spec, "openvino"), Watcher()
    again = pass_over(pictures, MODALITY, store, fresh, watcher)
    assert same(first, again)
    assert "engine" not in fresh.__dict__
    assert "network" not in fresh.__dict__
    assert watcher.stages == [("reading files", 12)]


SECOND = """
import sys
from pathlib import Path
from regraft.backbones.catalog import find
from regraft.backbones.extractor import extractor
from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.modalities.image import MODALITY
row = find("efficientnet-lite0")
one = extractor(row, row.spec.at(64), "openvino")
with Store(Path(sys.argv[1])) as store:
    seen = pass_over(sorted(Path(sys.argv[2]).iterdir()), MODALITY, store, one)
loaded = {"torch", "timm", "openvino", "onnxruntime"} & sys.modules.keys()
print(seen.features.shape, *sorted(loaded))
"""


def test_a_second_run_loads_neither_torch_nor_an_engine(
    pictures: list[Path], store: Store, make: Make
) -> None:
    first = pass_over(pictures, MODALITY, store, make())
    command = [sys.executable, "-c", SECOND, str(store.path), str(pictures[0].parent)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert first.features is not None
    assert run.stdout.strip() == str(first.features.shape)


def test_the_module_loads_no_heavy_library() -> None:
    code = "import sys, regraft.backbones.features; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "timm", "transformers", "openvino", "onnxruntime", "sklearn", "polars", "PIL"}
    assert not heavy & set(run.stdout.split())


def test_duplicates_are_computed_once(pictures: list[Path], store: Store, make: Make) -> None:
    copies = []
    for i in range(5):
        copies.append(pictures[0].with_name(f"copy {i}"))
        copies[-1].write_bytes(pictures[0].read_bytes())
    one = make()
    seen = pass_over([*pictures, *copies], MODALITY, store, one)
    assert runs(one) == 12
    assert seen.features is not None
    assert (seen.features[12:] == seen.features[0]).all()


def test_a_changed_file_is_computed_anew_and_only_it(
    pictures: list[Path], store: Store, make: Make, draw: Callable[[int], Image.Image]
) -> None:
    before = pass_over(pictures, MODALITY, store, make()).features
    draw(99).save(pictures[4])
    one = make()
    after = pass_over(pictures, MODALITY, store, one).features
    assert runs(one) == 1
    assert before is not None
    assert after is not None
    differs = (before != after).any(1)
    assert differs.tolist() == [i == 4 for i in range(12)]


def test_other_sizes_fits_and_engines_are_other_spaces(make: Make, row: CatalogRow) -> None:
    base = make()
    assert base.space("centre") == make().space("centre") == make(views=("a",)).space("centre")
    others = [
        base.space("whole-mirrored"),
        make(size=96).space("centre"),
        make(fit="pad").space("centre"),
        make(crop_fraction=0.5).space("centre"),
        make(mean=(0.1, 0.2, 0.3)).space("centre"),
        make(interpolation="bilinear").space("centre"),
        Extractor(row, base.spec, "torch").space("centre"),
    ]
    assert len({base.space("centre"), *others}) == 8


def test_another_version_of_the_decoder_is_another_space(
    pictures: list[Path], store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pass_over(pictures, MODALITY, store, make())
    monkeypatch.setattr(type(MODALITY), "version", "another")
    one = make()
    pass_over(pictures, MODALITY, store, one)
    assert runs(one) == 12


def test_a_look_without_a_network_is_enough_for_facts_and_stays(
    store: Store, make: Make, tmp_path: Path, draw: Callable[[int], Image.Image]
) -> None:
    draw(1).resize((900, 700)).save(tmp_path / "large.jpg")  # decoded at another scale for each
    files = [tmp_path / "large.jpg"]
    glance = pass_over(files, MODALITY, store)
    assert glance.features is None
    assert glance.widths == ()
    seen = pass_over(files, MODALITY, store, make())
    assert (seen.facts[0].thumb == glance.facts[0].thumb).all()
    once_more = pass_over(files, MODALITY, store, make(crop_fraction=0.1))
    assert (once_more.facts[0].thumb == glance.facts[0].thumb).all()


# --- no file stops it ----------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_unreadable_files_get_verdicts(pictures: list[Path], store: Store, make: Make) -> None:
    folder = pictures[0].parent
    alone = pass_over(pictures, MODALITY, store, make()).features
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.png").write_bytes(pictures[1].read_bytes()[:300])
    (folder / "large.jpg").open("wb").truncate(2**40)
    (folder / "sub.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    odd = {
        "empty.jpg": "empty",
        "text.jpg": "not-an-image",
        "cut.png": "truncated",
        "large.jpg": "too-large",
        "sub.jpg": "not-a-file",
        "pipe.jpg": "not-a-file",
        "missing.jpg": "no-access",
        "a\0b.jpg": "no-access",
        os.fsdecode(b"not \xff utf-8.jpg"): "no-access",
    }
    one = make()
    files = [*pictures[:6], *(folder / name for name in odd), *pictures[6:]]
    seen = pass_over(files, MODALITY, store, one)
    assert runs(one) == 0  # the pictures are known
    verdicts = {files[i].name: verdict for i, verdict in seen.verdicts.items()}
    assert {name: verdict.kind for name, verdict in verdicts.items()} == odd
    assert all(verdict.reason for verdict in verdicts.values())
    assert seen.features is not None
    assert not seen.features[6 : 6 + len(odd)].any()
    rest = np.delete(seen.features, range(6, 6 + len(odd)), axis=0)
    assert alone is not None
    assert rest.tobytes() == alone.tobytes()
    assert [bool(sha) for sha in seen.shas] == [k not in (9, 10, 11, 12, 13, 14) for k in range(21)]


def test_verdicts_are_remembered_and_those_of_the_moment_are_not(
    tmp_path: Path, store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").write_text("no picture")
    (tmp_path / "other").write_text("no picture either")
    files = [tmp_path / "text", tmp_path / "other"]
    first = pass_over(files, MODALITY, store, make())
    monkeypatch.setattr(features_module, "file_bytes", None)  # would be called to look again
    assert pass_over(files, MODALITY, store, make()).looks == first.looks
    monkeypatch.undo()
    files[0].write_text("something else")
    stale = [sha for sha in first.shas if sha]
    monkeypatch.setattr(type(MODALITY), "version", "another")
    seen = pass_over(files, MODALITY, store, make(), shas=stale)
    assert [verdict.kind for verdict in seen.verdicts.values()] == ["changed", "not-an-image"]
    assert store.looks(stale, "image another").keys() == {stale[1]}


def test_a_file_that_changes_between_hashing_and_reading(
    pictures: list[Path], store: Store, make: Make, draw: Callable[[int], Image.Image]
) -> None:
    shas = hash_files(pictures)
    draw(77).save(pictures[2])
    seen = pass_over(pictures, MODALITY, store, make(), shas=shas)
    assert {i: verdict.kind for i, verdict in seen.verdicts.items()} == {2: "changed"}
    one = make()
    assert pass_over(pictures, MODALITY, store, one).verdicts == {}
    assert runs(one) == 1


def test_decoders_do_not_warn(tmp_path: Path, store: Store, make: Make) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\xff\xff\xff\xff" * 3
    Image.new("RGB", (80, 80), "red").save(tmp_path / "a.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = pass_over([tmp_path / "a.jpg"], MODALITY, store, make())
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)  # the filters are as they were
    assert seen.verdicts == {}


def test_no_files_at_all(store: Store, make: Make) -> None:
    one = make()
    seen = pass_over([], MODALITY, store, one)
    assert seen.features is not None
    assert seen.features.shape == (0, sum(one.widths))
    assert runs(one) == 0


def test_hash_files_tells_progress_and_what_cannot_be_read(pictures: list[Path]) -> None:
    watcher = Watcher()
    found = hash_files([*pictures, "missing"], watcher)
    assert found[:12] == [hashlib.sha256(p.read_bytes()).hexdigest() for p in pictures]
    assert isinstance(found[12], Verdict)
    assert watcher.stages == [("reading files", 13)]


# --- interrupts, kills, damage -------------------------------------------------------------------


def test_an_interrupt_leaves_what_was_done(
    pictures: list[Path], store: Store, make: Make, tmp_path: Path
) -> None:
    whole = pass_over(pictures, MODALITY, Store(tmp_path / "other"), make())
    one = make()
    with pytest.raises(KeyboardInterrupt):
        pass_over(pictures, MODALITY, store, one, Watcher(interrupt_at=5))
    rest = make()
    watcher = Watcher()
    assert same(pass_over(pictures, MODALITY, store, rest, watcher), whole)
    assert runs(rest) == 7  # the five that were done are kept
    assert watcher.stages[-1] == (f"features of {one.row.name}", 7)


RUN = """
import json, sys, time
from pathlib import Path
from regraft.backbones import features
from regraft.backbones.catalog import find
from regraft.backbones.store import Store
from regraft.modalities.image import MODALITY
from regraft.progress import Quiet
from contextlib import contextmanager
features.KEEP_SECONDS = 0.01

class Telling(Quiet):
    @contextmanager
    def stage(self, name, total=None):
        def advance(steps):
            if name.startswith("features"):
                print("step", flush=True)
                time.sleep(0.01)
        yield advance

row = find("efficientnet-lite0")
one = features.Extractor(row, row.spec.at(64), "openvino")
files = sorted(Path(sys.argv[2]).iterdir())
with Store(Path(sys.argv[1])) as store:
    features.pass_over(files, MODALITY, store, one, Telling())
"""


def interrupted(store: Path, folder: Path, after: int, how: signal.Signals) -> int:
    """Number of files that a child told to be done before the signal, or all."""
    command = [sys.executable, "-c", RUN, str(store), str(folder)]
    told = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        for _ in child.stdout:
            told += 1
            if told == after:
                child.send_signal(how)
        child.wait(30)
    return told


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_a_killed_run_goes_on_where_it_was(
    how: signal.Signals, make: Make, tmp_path: Path, draw: Callable[[int], Image.Image]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(40):
        draw(number).save(folder / f"{number}.png")
    files = sorted(folder.iterdir())
    whole = pass_over(files, MODALITY, Store(tmp_path / "whole"), make())
    told = interrupted(tmp_path / "store", folder, 9, how)
    assert 9 <= told < 40
    with Store(tmp_path / "store") as store:
        assert store.damaged is None
        one = make()
        assert same(pass_over(files, MODALITY, store, one), whole)
        assert 0 < runs(one) <= 40 - 9 + 1  # at most the last handful is lost


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_kills_in_one_run(
    make: Make, tmp_path: Path, draw: Callable[[int], Image.Image]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(120):
        draw(number).save(folder / f"{number}.png")
    files = sorted(folder.iterdir())
    whole = pass_over(files, MODALITY, Store(tmp_path / "whole"), make())
    rng = np.random.default_rng(3)
    for _ in range(10):
        interrupted(tmp_path / "store", folder, int(rng.integers(1, 20)), signal.SIGKILL)
    with Store(tmp_path / "store") as store:
        one = make()
        assert same(pass_over(files, MODALITY, store, one), whole)
        assert runs(one) < 120


def test_a_spoiled_vector_is_computed_anew(pictures: list[Path], store: Store, make: Make) -> None:
    whole = pass_over(pictures, MODALITY, store, make())
    store._sql.execute("UPDATE features SET vector = zeroblob(100) WHERE sha = ?", whole.shas[3:4])
    one = make()
    assert same(pass_over(pictures, MODALITY, store, one), whole)
    assert runs(one) == 1


def test_a_store_that_was_damaged_is_told_once(
    pictures: list[Path], tmp_path: Path, make: Make
) -> None:
    (tmp_path / "damaged").write_bytes(b"damaged" * 99)
    watcher = Watcher()
    with Store(tmp_path / "damaged") as store:
        for _ in range(2):
            pass_over(pictures, MODALITY, store, make(), watcher)
    (message,) = watcher.said
    assert str(tmp_path / "damaged.damaged") in message


def test_a_full_disk_is_a_named_error_and_the_next_pass_goes_on(
    pictures: list[Path], store: Store, make: Make
) -> None:
    store._sql.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StorageError, match="full"):
        pass_over(pictures, MODALITY, store, make())
    store._sql.execute("PRAGMA max_page_count = 100000")
    assert pass_over(pictures, MODALITY, store, make()).verdicts == {}


# --- networks and engines that fail --------------------------------------------------------------


def test_features_that_are_not_numbers_are_refused_with_the_file(
    pictures: list[Path], store: Store, make: Make
) -> None:
    one = make()
    assert isinstance(one.engine, Counting)
    one.engine.spoil = lambda vector: np.where(np.arange(len(vector)) == 7, np.nan, vector)
    with pytest.raises(BackboneError, match=r"gives NaN or infinity for .*00\.jpg") as caught:
        pass_over(pictures[:1], MODALITY, store, one)
    assert one.row.name in str(caught.value)
    one.engine.spoil = lambda vector: vector
    assert pass_over(pictures[:1], MODALITY, store, one).verdicts == {}


def test_an_engine_that_fails_is_named_with_the_file(
    pictures: list[Path], store: Store, make: Make
) -> None:
    one = make()

    def fail(vector: Vector) -> Vector:
        raise RuntimeError("out of order")

    assert isinstance(one.engine, Counting)
    one.engine.spoil = fail
    with pytest.raises(BackboneError, match=r"openvino failed at .*00\.jpg: out of order"):
        pass_over(pictures[:1], MODALITY, store, one)


def test_an_unknown_view_is_refused_before_any_work(
    pictures: list[Path], store: Store, row: CatalogRow, spec: InputSpec
) -> None:
    one = Extractor(row, InputSpec(**spec.to_dict() | {"views": ("centre", "left")}), "openvino")
    with pytest.raises(UsageError, match="'left' is not one of centre, whole-mirrored"):
        pass_over(pictures, MODALITY, store, one)
    assert "engine" not in one.__dict__


def test_an_unknown_engine_is_refused_at_once(row: CatalogRow, spec: InputSpec) -> None:
    with pytest.raises(UsageError, match="'tensorrt' is not known; choose one of openvino"):
        extractor(row, spec, "tensorrt")
    with pytest.raises(UsageError, match="'tensorrt'"):
        Extractor(row, spec, "tensorrt").space("centre")


def test_an_extractor_by_measurement(
    row: CatalogRow, spec: InputSpec, network: FrozenNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choice(row: Any, spec: Any, load: Any) -> tuple[str, float]:
        assert load() is network
        return "openvino", 123.0

    monkeypatch.setattr("regraft.backbones.extractor.choose_engine", choice)
    monkeypatch.setattr("regraft.backbones.network.load_network", lambda row, spec: network)
    one = extractor(row, spec)
    assert (one.engine_name, one.rate) == ("openvino", 123.0)
    assert one.__dict__["network"] is network  # it is not loaded again
    assert one == Extractor(row, spec, "openvino")  # the rate is no part of what it is


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[1.5]", b"\xff", b'["a"]'])
def test_a_damaged_note_of_widths_is_made_anew(
    content: bytes, row: CatalogRow, spec: InputSpec, network: FrozenNetwork
) -> None:
    from regraft.backbones.cache import cache_folder

    one = Extractor(row, spec, "openvino")
    note = cache_folder("graphs") / f"{one.fingerprint[:32]}-widths.json"
    note.write_bytes(content)
    one.__dict__["network"] = network
    assert one.widths == network.block_widths
    assert json.loads(note.read_bytes()) == list(network.block_widths)


def test_work_is_kept_after_some_seconds_where_the_network_is_slow(
    pictures: list[Path], store: Store, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "KEEP_SECONDS", 0.05)
    monkeypatch.setattr("regraft.backbones.reading.lanes", lambda: 1)  # several rounds anywhere
    writes = []
    keep = store.keep_features
    monkeypatch.setattr(
        store, "keep_features", lambda s, r, v: (writes.append(len(v)), keep(s, r, v))
    )
    one = make()

    def slow(vector: Vector) -> Vector:
        time.sleep(0.12)
        return vector

    assert isinstance(one.engine, Counting)
    one.engine.spoil = slow
    pass_over(pictures, MODALITY, store, one)
    assert sum(writes) == 12
    assert len(writes) > 2
