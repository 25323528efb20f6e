"""Ranking real networks on small pictures of digits, and a network that knows nothing."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from regraft.backbones.catalog import catalog, find
from regraft.backbones.extractor import extractor
from regraft.backbones.features import pass_over
from regraft.backbones.store import Store
from regraft.data.sources import load
from regraft.errors import BackboneError, DataError, UsageError
from regraft.evaluation.intervals import Interval
from regraft.modalities import modality
from regraft.progress import Advance, Quiet
from regraft.recipe import Recipe
from regraft.transfer import halving
from regraft.transfer import ranking as ranking_module
from regraft.transfer.candidates import Candidate, Wanted, parameters
from regraft.transfer.halving import Clock, Examples, LeftOut, RankRow, ordered
from regraft.transfer.inputs import first_input
from regraft.transfer.probe import fit_head
from regraft.transfer.ranking import Ranking, rank

LITE = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
FEW, SIDE = 8, 40  # pictures a class, pixels
FAST: dict[str, Any] = {"size": SIDE, "engine": "torch"}  # converts nothing


def write_digits(folder: Path, each: int, first: int = 0) -> Path:
    """Pictures of scikit-learn's digits in folders by class."""
    digits = load_digits()
    for label in range(10):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        for i in np.flatnonzero(digits.target == label)[first : first + each]:
            picture = Image.fromarray((digits.images[i] * (255 / 16)).astype(np.uint8))
            picture.resize((SIDE, SIDE)).save(folder / str(label) / f"{i:04}.png")
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty digits and a file that is no picture."""
    folder = write_digits(tmp_path_factory.mktemp("data") / "digits", FEW)
    (folder / "3" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store") / "features.sqlite3") as opened:
        yield opened


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a network in a folder that was never trained."""
    import timm
    import torch
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("lcnet_035", num_classes=3), str(folder), safe_serialization=True)
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def ranking(digits: Path, store: Store, untrained: str) -> Ranking:
    return rank(digits, backbones=(untrained, *LITE), limit=2, store=store, **FAST)


def names(found: Ranking) -> list[str]:
    return [row.name for row in found.rows]


def reasons(found: Ranking) -> dict[str, str]:
    return dict(found.skipped)


# --- the ranking ---------------------------------------------------------------------------------


def test_a_network_that_knows_nothing_is_last(ranking: Ranking, untrained: str) -> None:
    assert set(names(ranking)) == {untrained, *LITE}
    *lite, last = ranking.rows
    assert last.name == untrained
    assert last.stage == "screened"
    assert "not in the better half" in last.note
    assert {row.stage for row in lite} == {"measured"}
    assert last.leave_one_out.value < min(row.leave_one_out.value for row in lite)
    assert ranking.best == ranking.rows[0]


def test_the_order_is_by_leave_one_out(ranking: Ranking) -> None:
    spread = 0.1 * 0.9  # mean variance of the one-hot labels of ten equal classes
    errors = [round(row.error / spread, 2) for row in ranking.rows[:3]]
    assert errors == sorted(errors)
    assert all(0 < row.error < spread for row in ranking.rows)
    assert all(0.1 < r.leave_one_out.low <= r.leave_one_out.value <= 1 for r in ranking.rows)


def test_a_row_is_what_the_head_on_all_blocks_gives(
    ranking: Ranking, digits: Path, store: Store
) -> None:
    data = load(digits)
    data = data.without(["3/broken.png"])
    row = find("efficientnet-lite0")
    made = extractor(row, first_input(row, Recipe(size=SIDE), []).spec, "torch")
    seen = pass_over(data.table["path"].to_list(), modality("image"), store, made)
    assert seen.features is not None
    fit = fit_head(seen.features, data.targets, classes=10, widths=seen.widths, weigh=False)
    (found,) = (r for r in ranking.rows if r.name == row.name)
    assert found.error == pytest.approx(fit.error, rel=1e-9)
    right = fit.left_out.argmax(1) == data.targets
    assert found.leave_one_out.value == pytest.approx(right.mean())


def test_a_row_tells_what_the_catalog_knows(ranking: Ranking, untrained: str) -> None:
    (found,) = (row for row in ranking.rows if row.name == LITE[0])
    row = find(LITE[0])
    assert found.parameters == row.parameters
    assert found.megabytes == pytest.approx(4 * row.parameters / 1e6, abs=0.1)
    assert (found.upstream_score, found.licence_weights) == (74.83, "Apache-2.0")
    assert (found.size, found.engine) == (SIDE, "torch")
    assert found.pictures_per_second > 1
    assert ranking.rows[-1].upstream_score is None


def test_parameters_are_counted_where_the_catalog_does_not_tell(untrained: str) -> None:
    import timm

    net = timm.create_model("lcnet_035", num_classes=3)
    assert parameters(find(untrained)) == sum(p.numel() for p in net.parameters())


def test_files_that_cannot_be_read_are_listed(ranking: Ranking) -> None:
    ((name, reason),) = ranking.left_out
    assert name == "3/broken.png"
    assert "not-an-image" in reason
    assert (ranking.examples, ranking.classes) == (10 * FEW, 10)


def test_it_is_plain_data_and_a_table(ranking: Ranking) -> None:
    record = json.loads(json.dumps(ranking.to_dict(), allow_nan=False))
    assert [row["name"] for row in record["rows"]] == names(ranking)
    assert set(record["rows"][0]["leave_one_out"]) == {"value", "low", "high"}
    assert record["left_out"][0]["file"] == "3/broken.png"
    assert ranking.table().row_count == ranking.limit == 2


def test_a_name_in_the_table_is_no_markup(ranking: Ranking) -> None:
    odd = replace(ranking, rows=(replace(ranking.best, name="folder:[red]x[/red]"),))
    console = Console(width=250)
    with console.capture() as caught:
        console.print(odd.table())
    assert "folder:[red]x[/red]" in caught.get()


def test_a_second_call_is_the_same_and_needs_no_torch(
    ranking: Ranking, digits: Path, store: Store, untrained: str
) -> None:
    code = (
        "import json, sys; from pathlib import Path\n"
        "from regraft.backbones.store import Store\n"
        "from regraft.transfer.ranking import rank\n"
        "data, store, *networks = sys.argv[1:]\n"
        f"found = rank(data, backbones=networks, store=Store(Path(store)), **{FAST})\n"
        "print(json.dumps([found.to_dict(), 'torch' in sys.modules]))"
    )
    command = [sys.executable, "-c", code, str(digits), str(store.path), untrained, *LITE]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    record, torch_was_imported = json.loads(run.stdout)
    assert not torch_was_imported
    for again, row in zip(record["rows"], ranking.to_dict()["rows"], strict=True):
        assert again.pop("seconds") < 20
        row.pop("seconds")
        assert again.pop("leave_one_out") == pytest.approx(row.pop("leave_one_out"))
        assert again == pytest.approx(row)


class Heard(Quiet):
    """Progress that remembers the names of stages and the steps done."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        self.steps[name] = 0

        def advance(steps: int) -> None:
            self.steps[name] += steps

        yield advance


def test_progress_names_the_network_and_counts_the_pictures(digits: Path, store: Store) -> None:
    heard = Heard()
    rank(digits, backbones=LITE[:1], store=store, progress=heard, **FAST)
    assert heard.steps["efficientnet-lite0 at 40 px"] == 10 * FEW


# --- which networks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "settings", "reason"),
    [
        (LITE[0], {"licence": ("mit", "bsd-3-clause")}, "licence is Apache-2.0, not mit or bsd"),
        (LITE[0], {"max_parameters": 10**6}, "4,652,008 parameters, more than 1,000,000"),
        (LITE[0], {"min_rate": 1e9}, "examples/s here at 40 px, less than 1e[+]09"),
        (LITE[0], {"size": 24}, "cannot read 24 px; the next size that it can is 32"),
        (LITE[0], {"time_limit": 1e-6}, "no time for it: the limit is 1e-06 s"),
        ("vit-tiny", {}, "cannot read 40 px; the next size that it can is 48"),
        ("resnet18", {}, "not on this machine.* hf download"),
        ("folder:/nowhere", {}, "expected a folder with config.json"),
    ],
)
def test_a_network_is_skipped_with_the_reason(
    digits: Path, store: Store, network: str, settings: dict[str, Any], reason: str
) -> None:
    found = rank(digits, backbones=[network], store=store, **(FAST | settings))
    assert not found.rows
    ((name, told),) = found.skipped
    assert name == network
    with pytest.raises(BackboneError, match=f"no network could be ranked:\n{network}.*{reason}"):
        found.best
    assert told in json.dumps(found.to_dict(), ensure_ascii=False)


def test_the_catalog_is_filtered(digits: Path, store: Store) -> None:
    found = rank(digits, licence="apache-2.0", max_parameters=5_000_000, store=store, **FAST)
    assert names(found) == [LITE[0]]
    assert {*names(found), *reasons(found)} == set(catalog())


def test_a_damaged_network_is_skipped_and_the_others_are_ranked(
    digits: Path, store: Store, untrained: str, tmp_path: Path
) -> None:
    for file in Path(untrained.partition(":")[2]).iterdir():
        data = file.read_bytes().replace(b'"num_classes": 3', b'"num_classes": 4')
        (tmp_path / file.name).write_bytes(data)
    damaged = f"folder:{tmp_path}"
    found = rank(digits, backbones=[damaged, LITE[0]], store=store, **FAST)
    assert names(found) == [LITE[0]]
    assert "wrong shape" in reasons(found)[damaged]


def test_unknown_names_are_told_together(digits: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)efficientnet-light0.*close: .*resnet19"):
        rank(digits, backbones=["efficientnet-light0", LITE[0], "resnet19"])


def test_all_wrong_settings_are_told_together(digits: Path) -> None:
    wrong: dict[str, Any] = {
        "size": 0,
        "seed": -1,
        "limit": 0,
        "time_limit": -1,
        "max_parameters": "many",
        "min_rate": 0,
    }
    with pytest.raises(UsageError) as told:
        rank(digits, **wrong)
    assert {mistake.split(":")[0] for mistake in told.value.mistakes} == set(wrong)
    with pytest.raises(UsageError, match="engine: 'steam' is not known"):
        rank(digits, engine="steam")


@pytest.mark.parametrize(
    ("network", "settings", "side", "low", "own"),
    [
        ("efficientnet-lite0", {}, 400, 128, 224),
        ("efficientnet-lite0", {}, 40, 128, 128),
        ("efficientnet-lite0", {"size": 96}, 400, 96, 96),
        ("swin-tiny", {}, 400, 128, 224),
        ("dinov2-small", {}, 600, 140, 518),
        ("vit-base-torchvision", {}, 40, 224, 224),
    ],
)
def test_networks_are_screened_small_and_measured_as_a_fit_begins(
    network: str, settings: dict[str, Any], side: int, low: int, own: int
) -> None:
    one = Candidate.of(find(network), Recipe(**settings), [side])
    assert (one.low.size, one.own.size) == (low, own)
    assert one.own == first_input(one.row, Recipe(**settings), [side]).spec.at(own)


# --- time ----------------------------------------------------------------------------------------


def test_what_there_is_no_time_to_measure_stays_as_it_was_screened(
    ranking: Ranking, digits: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halving, "CONVERSION", 1e6)
    monkeypatch.setenv("REGRAFT_CACHE", str(store.path.parent / "empty"))  # no engine is chosen yet
    found = rank(digits, backbones=LITE[:1], size=SIDE, time_limit=1000, store=store)
    assert found.best.stage == "screened"
    assert "only screened: there was no time for it: the limit is 1000 s; it would" in (
        found.best.note
    )
    assert not found.skipped


def test_within_the_limit_everything_is_measured(
    ranking: Ranking, digits: Path, store: Store
) -> None:
    found = rank(digits, backbones=LITE[:2], time_limit=1000, store=store, **FAST)
    assert {row.stage for row in found.rows} == {"measured"}
    assert all(row.error < 0.1 for row in found.rows)


@dataclass(frozen=True)
class Hourglass(Clock):
    """Runs out at the sixth look."""

    looks: list[float] = field(default_factory=list)

    def check(self, needed: float = 0.0, share: float = 1.0) -> None:
        self.looks.append(share)
        if len(self.looks) > 5:
            raise LeftOut("the sand has run out")


def test_a_pass_stops_when_time_runs_out_and_goes_on_where_it_stopped(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    title, settings = "efficientnet-lite0 at 40 px", {"backbones": LITE[:1], **FAST}
    with Store(tmp_path / "features.sqlite3") as fresh:
        with monkeypatch.context() as patch:
            patch.setattr(ranking_module, "Clock", Hourglass)
            heard = Heard()
            found = rank(digits, time_limit=1000, store=fresh, progress=heard, **settings)
        assert reasons(found) == {LITE[0]: "the sand has run out"}
        assert heard.steps[title] == 4 * halving.SLICE < 10 * FEW
        before = vectors_in(fresh)
        assert rank(digits, store=fresh, **settings).rows
        assert (before, vectors_in(fresh)) == (4 * halving.SLICE, 10 * FEW)


def vectors_in(store: Store) -> int:
    """How many feature vectors a store's file holds."""
    with closing(sqlite3.connect(store.path)) as file:
        return int(file.execute("SELECT COUNT(*) FROM features").fetchone()[0])


def test_the_better_half_is_measured(
    ranking: Ranking,
    digits: Path,
    store: Store,
    untrained: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(halving, "ALWAYS", 1)
    found = rank(digits, backbones=(untrained, *LITE), store=store, **FAST)
    assert [row.stage for row in found.rows] == ["measured"] * 2 + ["screened"] * 2
    assert found.rows[-1].name == untrained


@pytest.mark.slow
def test_without_a_named_engine_the_fastest_measures(digits: Path, store: Store) -> None:
    found = rank(digits, backbones=LITE[:1], size=SIDE, store=store).best
    one = Candidate.of(find(LITE[0]), Recipe(size=SIDE), [])
    chosen = extractor(one.row, one.own)
    assert one.is_chosen(None)
    assert (found.engine, found.pictures_per_second) == (chosen.engine_name, chosen.rate)


# --- the order -----------------------------------------------------------------------------------


def row_of(name: str, accuracy: float, **settings: Any) -> RankRow:
    interval = Interval(accuracy, accuracy - 0.05, accuracy + 0.05)
    known: dict[str, Any] = {
        **{"name": name, "leave_one_out": interval, "error": 0.01, "stage": "measured"},
        **dict.fromkeys(("knn", "logme", "h_score", "upstream_score", "megabytes"), 0.5),
        **dict.fromkeys(("parameters", "size"), 1),
        **dict.fromkeys(("engine", "licence_code", "licence_weights"), ""),
        **{"pictures_per_second": 10.0, "seconds": 1.0},
    }
    return RankRow(**(known | settings))


def test_the_order_is_by_error_then_speed() -> None:
    rows = [
        row_of("screened", 0.99, error=0.001, stage="screened"),
        row_of("worse", 0.8, error=0.03, pictures_per_second=1e3),
        row_of("slower", 0.9, error=0.0101),
        row_of("less sure", 0.91, error=0.02, pictures_per_second=1e3),
        row_of("faster", 0.9, error=0.0103, pictures_per_second=20.0),
    ]
    found = ordered(rows, spread=0.09)
    assert [r.name for r in found] == ["faster", "slower", "less sure", "worse", "screened"]
    assert ["not surely worse" in r.note for r in found] == [False, True, True, False, True]
    assert ordered([], spread=0.09) == []


# --- examples ------------------------------------------------------------------------------------


@pytest.fixture
def examples_of(store: Store) -> Callable[..., Examples]:
    return lambda data, seed=0: Examples.of(data.learning, seed, store, Quiet())


def test_many_examples_are_thinned_class_by_class(
    digits: Path, examples_of: Callable[..., Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halving, "MOST", 30)
    data = load(digits).without(["3/broken.png"])
    found, again, other = (examples_of(data, seed) for seed in (0, 0, 1))
    assert np.bincount(found.labels).tolist() == [3] * 10
    assert found.paths == again.paths != other.paths


def test_copies_and_groups_are_left_out_together(
    tmp_path: Path, examples_of: Callable[..., Examples]
) -> None:
    write_digits(tmp_path, 2)
    first = sorted((tmp_path / "0").iterdir())[0]
    (tmp_path / "0" / "copy.png").write_bytes(first.read_bytes())
    found = examples_of(load(tmp_path))
    number = dict(zip((Path(p).name for p in found.paths), found.groups, strict=True))
    assert number["copy.png"] == number[first.name]
    assert len(set(found.groups)) == len(found.groups) - 1
    data = load(tmp_path)
    grouped = data.with_table(data.table.with_columns(group=data.table["label"]))
    assert len(set(examples_of(grouped).groups)) == 10


def test_the_held_out_part_is_not_read(tmp_path: Path, store: Store) -> None:
    write_digits(tmp_path / "train", 3)
    write_digits(tmp_path / "test", 1, first=5)
    (tmp_path / "test" / "0" / "broken.png").write_bytes(b"no picture")
    found = rank(tmp_path, backbones=LITE[:1], store=store, **FAST)
    assert (found.examples, found.left_out) == (30, ())


def test_without_two_readable_classes_there_is_nothing_to_rank(
    tmp_path: Path, store: Store
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"two classes or more.*'a/x\.png', 'b/x\.png'"):
        rank(tmp_path, backbones=LITE[:1], store=store, **FAST)


def test_the_likeliest_are_tried_first() -> None:
    def order(*networks: str) -> list[str]:
        wanted = Wanted(Recipe(backbone=networks), include_missing=True)
        return [row.name for row in wanted.candidates()[0]]

    everything = order()
    assert set(everything) == {n for n, row in catalog().items() if row.spec.reads == "picture"}
    assert everything.index("convnext-tiny") < everything.index("vgg11")
    assert everything.index("efficientnet-b0") < everything.index("resnet18")
    assert order("vgg11", LITE[0], "vgg11") == ["vgg11", LITE[0]]  # named ones as they are named
