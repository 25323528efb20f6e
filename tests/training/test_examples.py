"""Examples: which a step learns from, and what each looks like, is arithmetic and nothing else."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regraft.errors import Unreadable
from regraft.modalities import modality
from regraft.modalities.spec import InputSpec
from regraft.training import examples
from regraft.training.examples import SAMPLINGS, Augmented, Steps, Turn, loader, turns_of

SPEC = InputSpec(size=16)
IMAGES = modality("image")

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(np.array)
seeds = st.integers(0, 2**31)


# --- which examples a step learns from -----------------------------------------------------------


@given(labels_of, seeds, st.integers(0, 1000), st.sampled_from(sorted(SAMPLINGS)))
def test_an_order_names_as_many_places_as_there_are(
    labels: np.ndarray, seed: int, epoch: int, name: str
) -> None:
    order = SAMPLINGS[name](labels, seed, epoch)
    assert len(order) == len(labels)
    assert set(order) <= set(range(len(labels)))
    np.testing.assert_array_equal(order, SAMPLINGS[name](labels, seed, epoch))


@given(labels_of, seeds, st.integers(0, 1000))
def test_plain_is_each_example_once(labels: np.ndarray, seed: int, epoch: int) -> None:
    order = SAMPLINGS["plain"](labels, seed, epoch)
    assert sorted(order) == list(range(len(labels)))


@pytest.mark.parametrize("name", SAMPLINGS)
def test_another_epoch_and_another_seed_have_another_order(name: str) -> None:
    labels = np.arange(60) % 3
    orders = [SAMPLINGS[name](labels, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@given(labels_of, seeds, st.integers(0, 1000))
def test_balanced_is_each_class_as_often(labels: np.ndarray, seed: int, epoch: int) -> None:
    classes = np.unique(labels)
    share = -(-len(labels) // len(classes))
    over = share * len(classes) - len(labels)  # is left out, of any class
    counts = Counter(labels[SAMPLINGS["balanced"](labels, seed, epoch)].tolist())
    assert all(share - over <= counts[c] <= share for c in classes)


@given(labels_of, seeds, st.integers(0, 1000))
def test_paired_is_each_example_once_beside_one_of_its_class(
    labels: np.ndarray, seed: int, epoch: int
) -> None:
    order = SAMPLINGS["paired"](labels, seed, epoch)
    assert sorted(order) == list(range(len(labels)))
    pairs = sum(int(count) // 2 for count in np.bincount(labels))
    first, second = labels[order][: 2 * pairs : 2], labels[order][1 : 2 * pairs : 2]
    np.testing.assert_array_equal(first, second)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4), seeds, st.integers(1, 12))
def test_the_examples_of_a_class_take_turns(sizes: list[int], seed: int, epochs: int) -> None:
    """Where nothing is left out, none comes twice more than another of its class."""
    sizes = [*sizes, -sum(sizes) % (len(sizes) + 1) + len(sizes) + 1]  # divisible by the classes
    labels = np.repeat(np.arange(len(sizes)), sizes)
    drawn = np.concatenate([SAMPLINGS["balanced"](labels, seed, e) for e in range(epochs)])
    often = np.bincount(drawn, minlength=len(labels))
    for c in range(len(sizes)):
        own = often[labels == c]
        assert own.max() - own.min() <= 1
        assert own.sum() == epochs * len(labels) // len(sizes)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 60), seeds)
def test_steps_go_through_epoch_after_epoch(n: int, batch: int, steps: int, seed: int) -> None:
    labels = np.zeros(n, int)
    order = lambda epoch: SAMPLINGS["plain"](labels, seed, epoch)
    turns = [turn for step in range(steps) for turn in turns_of(step, batch, order, n)]
    assert len(turns) == steps * batch
    assert [turn.epoch for turn in turns] == [i // n for i in range(steps * batch)]
    for epoch in range(steps * batch // n):
        assert sorted(t.place for t in turns if t.epoch == epoch) == list(range(n))


def every_turn(labels: np.ndarray, steps: range, **settings: Any) -> list[list[Turn]]:
    return list(Steps(labels, 5, steps, 3, **settings))


@given(labels_of, st.sampled_from(sorted(SAMPLINGS)), st.integers(0, 20), st.integers(0, 20))
def test_a_step_has_the_same_turns_wherever_a_run_begins(
    labels: np.ndarray, sampling: str, first: int, more: int
) -> None:
    whole = every_turn(labels, range(first + more), sampling=sampling)
    assert every_turn(labels, range(first, first + more), sampling=sampling) == whole[first:]


@given(labels_of, st.integers(1, 5), st.integers(1, 8))
def test_the_shares_of_all_processes_are_the_batch(
    labels: np.ndarray, processes: int, steps: int
) -> None:
    whole = every_turn(labels, range(steps))
    shares = [every_turn(labels, range(steps), process=(r, processes)) for r in range(processes)]
    for step, turns in enumerate(whole):
        parts = [share[step] for share in shares]
        assert sorted(turn for part in parts for turn in part) == sorted(turns)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_number_of_batches_is_told() -> None:
    steps = Steps(np.zeros(7, int), 5, range(3, 9), 0)
    assert len(steps) == len(list(steps)) == 6


# --- what an example looks like ------------------------------------------------------------------


class Counting:
    """The modality, and how often it decodes each file."""

    def __init__(self) -> None:
        self.decoded: Counter[str] = Counter()

    def decode(self, data: bytes, file: str, spec: InputSpec | None = None) -> Any:
        self.decoded[Path(file).name] += 1
        return IMAGES.decode(data, file, spec)

    def __getattr__(self, name: str) -> Any:
        return getattr(IMAGES, name)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        made.append(str(path))
    return made


Make = Callable[..., Augmented]


@pytest.fixture(scope="module")
def make(files: list[str]) -> Make:
    def made(places: list[int], *, augment: str = "strong", seed: int = 0) -> Augmented:
        """Of the files at these places."""
        shas = [f"{place:064x}"[::-1] for place in places]
        kind: Any = Counting()
        wanted = IMAGES.augmentations(augment)
        return Augmented([files[p] for p in places], shas, kind, SPEC, wanted, seed)

    return made


@settings(max_examples=30)
@given(data=st.data())
def test_it_depends_on_seed_epoch_and_content_alone(make: Make, data: st.DataObject) -> None:
    seed, epoch = data.draw(seeds), data.draw(st.integers(0, 1000))
    order = data.draw(st.permutations(range(6)))
    asked = data.draw(st.permutations(range(6)))
    one, other = make(list(range(6)), seed=seed), make(order, seed=seed)
    expected = [one[Turn(epoch, place)][0] for place in range(6)]
    for place in asked:  # in another order, of other places, with other neighbours
        pixels, told = other[Turn(epoch, place)]
        assert told == place
        np.testing.assert_array_equal(pixels, expected[order[place]])
    np.testing.assert_array_equal(
        make([asked[0]], seed=seed)[Turn(epoch, 0)][0], expected[asked[0]]
    )


def test_another_epoch_seed_or_content_looks_otherwise(make: Make) -> None:
    looks = [
        make([0, 1], seed=seed)[Turn(epoch, place)][0].tobytes()
        for seed in (0, 1)
        for epoch in (0, 1)
        for place in (0, 1)
    ]
    assert len(set(looks)) == 8


def test_without_augmentation_it_is_what_prediction_sees(make: Make, files: list[str]) -> None:
    plain = make([0, 1], augment="none")
    for place in (0, 1):
        raw = IMAGES.decode(Path(files[place]).read_bytes(), files[place], SPEC).raw
        expected = IMAGES.prepare(raw, SPEC, IMAGES.views[0])
        np.testing.assert_array_equal(plain[Turn(3, place)][0], expected)


def test_nobody_elses_random_numbers_move(make: Make) -> None:
    np.random.seed(3)
    drawn = np.random.random(3)
    np.random.seed(3)
    make([0])[Turn(0, 0)]
    np.testing.assert_array_equal(np.random.random(3), drawn)


# Bytes of a picture as it is kept.
ONE = IMAGES.compact(Image.new("RGB", (30, 24)), SPEC)[1]


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (ONE - 1, 0), (3 * ONE, 3), (100 * ONE, 6)])
def test_decoded_ones_are_kept_while_there_is_room(
    make: Make, monkeypatch: pytest.MonkeyPatch, room: int, kept: int
) -> None:
    monkeypatch.setattr(examples, "KEPT_BYTES", room)
    made = make(list(range(6)))
    looks = [[made[Turn(0, place)][0] for place in range(6)] for _ in range(3)]
    counts = made.modality.decoded  # type: ignore[attr-defined]
    assert sorted(counts.values()) == [1] * kept + [3] * (6 - kept)
    for again in looks[1:]:  # and it changes nothing
        np.testing.assert_array_equal(again, looks[0])


def test_the_room_is_shared_among_the_workers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "KEPT_BYTES", 6 * ONE)
    monkeypatch.setattr(examples, "get_worker_info", lambda: SimpleNamespace(num_workers=3))
    made = make(list(range(6)))
    for _ in range(2):
        for place in range(6):
            made[Turn(0, place)]
    assert sorted(made.modality.decoded.values()) == [1, 1, 2, 2, 2, 2]  # type: ignore[attr-defined]


def test_a_file_that_cannot_be_read_any_more_is_named(make: Make, tmp_path: Path) -> None:
    made = make([0])
    made.files[0] = str(tmp_path / "gone.png")
    (tmp_path / "gone.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(Unreadable, match=r"gone\.png"):
        made[Turn(0, 0)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_of_the_steps(make: Make, workers: int) -> None:
    made, labels = make(list(range(6))), np.zeros(6, int)
    steps = Steps(labels, 4, range(2, 6), 0)
    for batch, turns in zip(loader(made, steps, workers), steps, strict=True):
        assert batch.places.tolist() == [turn.place for turn in turns]
        assert batch.pixels.shape == (4, 16, 16, 3)
        expected = [made[turn][0] for turn in turns]
        np.testing.assert_array_equal(batch.pixels.numpy(), np.stack(expected))


def test_a_blank_has_the_shape_of_a_batch(make: Make) -> None:
    blank = make([0]).blank()
    assert blank.shape == (1, 16, 16, 3)
    assert not blank.any()
