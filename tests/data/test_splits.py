"""split(...) and audit(...): properties that hold for any data."""

import json
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regraft.data.dataset import PARTS, Dataset
from regraft.data.splits import audit, split
from regraft.errors import DataError, UsageError

FRACTIONS = st.sampled_from(
    [(0.7, 0.15, 0.15), (0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.8, 0, 0.2), (0.6, 0.4, 0), (1, 0, 0)]
)


def dataset(labels, groups=None) -> Dataset:
    ids = [f"{i:05}.jpg" for i in range(len(labels))]
    columns = {"id": ids, "path": ids, "label": labels, "group": groups or [None] * len(ids)}
    return Dataset.of(columns, Path("/photos"))


def part_of(data: Dataset) -> dict[str, str | None]:
    return dict(data.table.select("id", "split").iter_rows())


@st.composite
def labelled(draw, pure=False):
    """Labels (some missing), groups (some missing; of one class where pure), and duplicates."""
    n = draw(st.integers(1, 60))
    classes, units = draw(st.integers(1, 5)), draw(st.integers(1, 20))
    groups = draw(st.lists(st.integers(-3, units), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0 if pure else -1, classes), min_size=n, max_size=n))
    if pure:
        labels = [g % classes if g >= 0 else c for g, c in zip(groups, labels, strict=True)]
    data = dataset(
        [f"class {c}" if c >= 0 else None for c in labels],
        [f"group {g}" if g >= 0 else None for g in groups],
    )
    names = st.sampled_from(data.table["id"].to_list())
    together = [] if pure else draw(st.lists(st.lists(names, min_size=1, max_size=4), max_size=4))
    return data, together


@pytest.fixture(scope="module")
def singles() -> Dataset:
    rng = np.random.default_rng(0)
    return dataset([f"class {c}" for c in rng.integers(0, 7, 3000)])


def has_labels(case) -> bool:
    return len(case[0].labelled) > 0


class TestProperties:
    @given(labelled().filter(has_labels), FRACTIONS, st.integers(0, 9))
    def test_parts_are_disjoint_and_complete(self, case, fractions, seed):
        data, together = case
        made = split(data, fractions, seed, together)
        names = [name for part in PARTS for name in getattr(made, part).table["id"]]
        assert sorted(names) == sorted(data.labelled.table["id"])
        allowed = {part for part, share in zip(PARTS, fractions, strict=True) if share}
        assert set(made.table["split"].drop_nulls()) <= allowed
        assert made.table.drop("split").equals(data.table.drop("split"))

    @given(labelled().filter(has_labels), FRACTIONS, st.integers(0, 9))
    def test_groups_and_duplicates_never_cross(self, case, fractions, seed):
        data, together = case
        made = split(data, fractions, seed, together)
        assert audit(made, together) == ()
        parts, by_group = part_of(made), defaultdict(set)
        for name, group in data.labelled.table.drop_nulls("group").select("id", "group").rows():
            by_group[group].add(parts[name])
        assert all(len(where) == 1 for where in by_group.values())
        for ids in together:
            assert len({parts[name] for name in ids} - {None}) <= 1

    @given(labelled().filter(has_labels), st.integers(0, 9), st.randoms(use_true_random=False))
    def test_the_order_of_rows_and_of_duplicates_is_nothing(self, case, seed, random):
        data, together = case
        rows = list(range(len(data)))
        random.shuffle(rows)
        shuffled = [random.sample(ids, len(ids)) for ids in random.sample(together, len(together))]
        one = split(data, seed=seed, together=together)
        other = split(data.with_table(data.table[rows]), seed=seed, together=shuffled)
        assert part_of(one) == part_of(other)
        assert one.split_record == other.split_record

    @given(labelled(pure=True), FRACTIONS, st.integers(0, 9))
    def test_a_class_with_enough_units_is_in_each_part_and_else_in_train(
        self, case, fractions, seed
    ):
        data, _ = case
        made = split(data, fractions, seed)
        active = {part for part, share in zip(PARTS, fractions, strict=True) if share}
        for name in data.classes:
            mine = made.table.filter(pl.col("label") == name)
            units = mine["group"].drop_nulls().n_unique() + mine["group"].null_count()
            assert set(mine["split"]) >= (active if units >= len(active) else {"train"})

    @settings(max_examples=25)
    @given(
        st.lists(st.integers(20, 300), min_size=1, max_size=6),
        st.sampled_from([(0.7, 0.15, 0.15), (0.8, 0.1, 0.1), (0.5, 0.5, 0)]),
        st.integers(0, 9),
    )
    def test_single_examples_are_stratified_to_the_example(self, sizes, fractions, seed):
        data = dataset([f"class {c}" for c, n in enumerate(sizes) for _ in range(n)])
        made = split(data, fractions, seed)
        counts = Counter(made.table.select("label", "split").iter_rows())
        for c, n in enumerate(sizes):
            for part, share in zip(PARTS, fractions, strict=True):
                assert abs(counts[f"class {c}", part] - n * share) < 1.5

    @settings(max_examples=25)
    @given(st.integers(0, 1000))
    def test_groups_of_mixed_classes_are_stratified_nearly(self, seed):
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 150, 1500)
        data = dataset([f"c{c}" for c in rng.integers(0, 4, 1500)], [f"g{g}" for g in groups])
        made = split(data, seed=seed)
        counts = Counter(made.table.select("label", "split").iter_rows())
        sizes = Counter(data.table["label"])
        for name, n in sizes.items():
            for part, share in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
                assert abs(counts[name, part] / n - share) < 0.04


class TestSplit:
    def test_a_seed_repeats_and_another_draws_anew(self, singles):
        assert split(singles, seed=1).table.equals(split(singles, seed=1).table)
        same = (
            split(singles, seed=1).table["split"] == split(singles, seed=2).table["split"]
        ).mean()
        assert same == pytest.approx(0.7**2 + 2 * 0.15**2, abs=0.03)  # as for independent draws

    def test_a_new_example_moves_few_others(self, singles):
        before = part_of(split(singles))
        after = part_of(split(singles.without(["00007.jpg"])))
        assert np.mean([before[name] != part for name, part in after.items()]) < 0.05

    def test_is_recorded(self, singles):
        made = split(singles, seed=3)
        record = json.loads(json.dumps(made.split_record))
        assert made.split_source == "made"
        assert record["seed"] == 3
        assert record["fractions"] == [0.7, 0.15, 0.15]
        assert record["units"] == 3000
        assert "greedy" in record["how"]
        assert {part: c["examples"] for part, c in record["counts"].items()} == {
            part: len(getattr(made, part)) for part in PARTS
        }

    def test_a_part_without_a_share_is_not_in_the_record(self, singles):
        assert [*split(singles, (0.8, 0, 0.2)).split_record["counts"]] == ["train", "test"]

    def test_a_given_split_is_obeyed(self, singles):
        parts = pl.Series(["train", "test", "train"] * 1000)
        data = Dataset.of(
            singles.table.with_columns(split=parts).to_dict(as_series=False), Path("/")
        )
        assert split(data, seed=5) is data

    def test_a_made_split_is_made_anew(self, singles):
        made = split(split(singles, seed=1), (0.5, 0.25, 0.25), seed=2)
        assert part_of(made) == part_of(split(singles, (0.5, 0.25, 0.25), seed=2))

    def test_duplicates_join_groups_also_through_an_unlabelled_example(self):
        data = dataset([*"aab", None, *"bababab"], ["x", "x", "y", None, "y", *[None] * 6])
        together = [["00000.jpg", "00003.jpg"], ["00003.jpg", "00002.jpg"], ["gone.jpg"]]
        for seed in range(20):
            parts = part_of(split(data, seed=seed, together=together))
            assert len({parts[f"0000{i}.jpg"] for i in (0, 1, 2, 4)}) == 1
            assert parts["00003.jpg"] is None

    def test_classes_missing_from_a_part_are_a_finding(self):
        made = split(dataset([*"aaaabbbbc"]))
        assert [(f.kind, f.reason.split(":")[0]) for f in made.findings[-2:]] == [
            ("class-not-in-part", "validation has no example of 'c'"),
            ("class-not-in-part", "test has no example of 'c'"),
        ]
        assert part_of(made)["00008.jpg"] == "train"
        assert split(made).findings == made.findings

    def test_a_clash_of_mixed_groups_is_solved_by_another_order(self):
        rng = np.random.default_rng(2)
        groups = np.repeat(np.arange(9), 4)
        held = []
        for _ in range(30):
            labels = [f"c{c}" for c in rng.integers(0, 4, 36)]
            made = split(dataset(labels, [f"g{g}" for g in groups]))
            units = Counter(c for c, _ in set(zip(labels, groups, strict=True)))
            present = set(made.table.select("label", "split").iter_rows())
            held += [(c, part) in present for c, n in units.items() if n >= 3 for part in PARTS]
        assert np.mean(held) > 0.99

    def test_no_label_at_all(self):
        with pytest.raises(DataError, match="no example has a label"):
            split(dataset([None, None]))

    @pytest.mark.parametrize(
        ("fractions", "reason"),
        [
            ((0.7, 0.3), "are not three numbers"),
            ((0.7, 0.4, -0.1), "are not three numbers"),
            ((0.7, float("nan"), 0.3), "are not three numbers"),
            (("0.7", 0.2, 0.1), "are not three numbers"),
            ((0.7, 0.2, 0.2), "add up to 1.1; expected 1"),
            ((0, 0.5, 0.5), "train is 0"),
        ],
    )
    def test_wrong_parameters_are_told_together(self, singles, fractions, reason):
        with pytest.raises(UsageError, match=f"(?s){reason}.*seed: -1 is not"):
            split(singles, fractions, seed=-1)

    @pytest.mark.parametrize("groups", [None, 20_000])
    def test_a_hundred_thousand_rows_in_seconds(self, groups):
        rng = np.random.default_rng(0)
        labels = [f"c{c}" for c in rng.integers(0, 100, 100_000)]
        drawn = None if groups is None else [f"g{g}" for g in rng.integers(0, groups, 100_000)]
        data = dataset(labels, drawn)
        start = time.process_time()
        split(data)
        assert time.process_time() - start < 15  # 1.5 s, on a slow day 6; a loop too many fails


class TestAudit:
    def test_groups_and_duplicates_that_cross_are_named(self):
        data = dataset([*"aabbab"], ["x", "x", "y", "y", None, None])
        parts = ["train", "test", "train", "train", "validation", "train"]
        data = data.with_table(data.table.with_columns(split=pl.Series(parts)))
        together = [["00004.jpg", "00002.jpg", "gone.jpg"], ["00002.jpg", "00005.jpg"]]
        group, leak = audit(data, together)
        assert (group.kind, group.severity) == ("group-leak", "error")
        assert group.files == ("00000.jpg", "00001.jpg")
        assert "group 'x' in several parts (1 in train, 1 in test)" in group.reason
        assert (leak.kind, leak.severity) == ("leak", "error")
        assert leak.files == ("00002.jpg", "00004.jpg")

    def test_without_a_split_nothing_crosses(self):
        assert audit(dataset([*"ab"], ["x", "x"]), [["00000.jpg", "00001.jpg"]]) == ()
