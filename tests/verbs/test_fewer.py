"""Fewer examples where there is no time for all: in proportion, and told."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regraft
from regraft.data.dataset import Dataset
from regraft.verbs import fewer, forecast
from regraft.verbs.fewer import affordable


def many(parts: dict[str | None, dict[str | None, int]]) -> Dataset:
    """A dataset with so many examples of each class in each part."""
    rows = [(p, c) for p, counts in parts.items() for c, n in counts.items() for _ in range(n)]
    names = [str(i) for i in range(len(rows))]
    columns = {"id": names, "path": names, "label": [c for _, c in rows]}
    return Dataset.of(columns | {"split": [p for p, _ in rows]}, Path("/"))


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 400), min_size=2, max_size=5),
    st.integers(1, 300),
    st.integers(1, 900),
    st.integers(0, 3),
)
def test_classes_and_parts_stay_in_proportion(
    sizes: list[int], held: int, most: int, seed: int
) -> None:
    classes = {f"c{i}": n for i, n in enumerate(sizes)}
    data = many({"train": classes, "test": {"c0": held, "c1": held}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fewer, "AT_LEAST", 20)
        some, place = affordable(data, most, 100.0, seed)
    assert some.table["id"].to_list() == [data.table["id"][int(i)] for i in place]
    assert list(place) == sorted(set(place))
    assert len(some.test) == min(2 * held, max(20, most * 2 * held // len(data)))
    room = min(sum(sizes), max(20, most * sum(sizes) // len(data)))
    assert len(some.train) == room
    left = Counter(some.train.table["label"])
    assert set(left) == set(classes)
    assert all(abs(left[c] - room * n / sum(sizes)) <= len(sizes) for c, n in classes.items())
    if len(some) < len(data):
        assert f"{len(some):,} of {len(data):,} are used" in fewer.told(some)
    else:
        assert some is data


def test_without_labels_and_parts_too() -> None:
    data = many({None: {None: 3000, "a": 40, "b": 60}})
    some, _ = affordable(data, 1000, 9.6, 0)
    assert len(some) == 1000
    assert {"a", "b"} <= set(some.table["label"].drop_nulls())


def test_of_a_small_set_all_are_used_and_nothing_is_said() -> None:
    data = many({"train": {"a": 450, "b": 450}})
    some, place = affordable(data, 10, 60.0, 0)
    assert some is data
    assert [*place] == [*range(900)]


def test_what_is_said_of_the_budget_is_found_behind_other_findings() -> None:
    data = many({None: {f"c{i}": 1 for i in range(1200)}})
    some, _ = affordable(data, 1000, 60.0, 0)
    assert some.findings[-1].kind == "empty-class"
    assert "1,000 of 1,200 are used" in fewer.told(some)


def test_a_fit_for_which_time_is_short_says_what_it_left_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fewer, "AT_LEAST", 1)
    monkeypatch.setattr(forecast, "SECONDS", 0.2)
    monkeypatch.setattr(forecast.Forecast, "learn", lambda self, one: setattr(self, "speed", 10.0))
    whole = regraft.load(photos)
    found = regraft.fit(photos, budget=20, size=64, engine="torch", resamples=100)
    told = found.record["chosen"]["examples"]
    assert f"of {len(whole)} are used, drawn by class" in told
    assert set(found.classes) == set(whole.classes)
