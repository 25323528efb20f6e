"""What every kind of data must do, whoever brings it: add a maker of files to MADE, and run it."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regraft.backbones.store import Store
from regraft.data.options import EXTENSIONS
from regraft.errors import Unreadable, UsageError
from regraft.modalities import MODALITIES, modality
from regraft.modalities.base import MOST_CLIP
from regraft.modalities.facts import Facts
from regraft.modalities.spec import UNITS, Hearing, InputSpec
from regraft.transfer.baselines import BASELINES

ANY = -1  # of a shape: any length

SPEC = InputSpec(size=48)
SHAPES: dict[str, tuple[Any, ...]] = {"picture": (48, 48, 3), "text": (ANY,), "sound": (ANY,)}
OWN: dict[str, dict[str, Any]] = {"sound": {"size": 30, "hears": Hearing("samples")}}


def spec(name: str, reads: str | None = None) -> InputSpec:
    """As a network reads it that takes one of the modality's inputs."""
    reads = reads or modality(name).inputs[0]
    return replace(SPEC, reads=reads, **OWN.get(reads, {}))


def fits(seen: Any, wanted: InputSpec) -> bool:
    shape = SHAPES[wanted.reads]
    return seen.dtype == np.uint8 and [
        ANY if s == ANY else n for n, s in zip(seen.shape, shape, strict=True)
    ] == [*shape]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def recording(seed: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.random.default_rng(seed).normal(0, 0.1, 4000), 8000, format="WAV")
    return out.getvalue()


def text(seed: int) -> bytes:
    words = np.random.default_rng(seed).integers(0, 9999, 40)
    return " ".join(f"wörd{w}" for w in words).encode()


def volume(seed: int) -> bytes:
    voxels = np.random.default_rng(seed).integers(0, 900, (20, 24, 16), dtype=np.int16)
    found: bytes = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])).to_bytes()
    return found


# Modality → a whole file of it, another one for another seed.
MADE: dict[str, Callable[[int], bytes]] = {
    **{"image": picture, "audio": recording, "text": text, "volume": volume}
}

kinds = pytest.mark.parametrize("name", MODALITIES)


def raw(name: str, seed: int = 0) -> Any:
    return modality(name).decode(MADE[name](seed), "x", spec(name)).raw


@kinds
def test_it_is_described(name: str) -> None:
    kind = modality(name)
    assert kind.name == name
    assert kind.version == modality(name).version
    assert kind.extensions
    assert all(e == e.lower().strip(".") for e in kind.extensions)
    assert EXTENSIONS[name] <= kind.extensions
    assert len(set(kind.views)) == len(kind.views) >= 1
    assert InputSpec().views[0] in kind.views  # catalog rows ask for it
    assert all(map(len, kind.plainly))
    assert kind.baseline in BASELINES
    facts = [kind.decode(MADE[name](seed), "x").facts for seed in range(3)]
    for some in (facts, [replace(f, width=10**6) for f in facts], []):
        assert all(set(views) <= set(kind.views) for views in kind.view_sets(some).values())
    assert kind.inputs
    assert set(kind.inputs) <= set(UNITS)


@kinds
def test_a_look_gives_facts_that_the_store_keeps(name: str, tmp_path: Path) -> None:
    facts = modality(name).decode(MADE[name](0), "x").facts
    assert isinstance(facts, Facts)
    with Store(tmp_path / "store") as store:
        store.keep_looks({"a" * 64: facts}, name)
        kept = store.looks(["a" * 64], name)["a" * 64]
    assert isinstance(kept, Facts)
    assert kept.to_dict() == facts.to_dict()
    np.testing.assert_array_equal(kept.thumb, facts.thumb)


@kinds
def test_every_view_is_what_networks_read(name: str) -> None:
    kind = modality(name)
    for view, wanted in product(kind.views, (spec(name, reads) for reads in kind.inputs)):
        seen = kind.prepare(raw(name), wanted, view)
        assert fits(seen, wanted)
        np.testing.assert_array_equal(seen, kind.prepare(raw(name), wanted, view))
        assert not np.array_equal(seen, kind.prepare(raw(name, 1), wanted, view))
    with pytest.raises(UsageError, match="'no such view' is not one of"):
        kind.prepare(raw(name), spec(name), "no such view")


@kinds
def test_several_threads_at_once_get_the_same(name: str) -> None:
    kind = modality(name)

    def seen(seed: int) -> bytes:
        return kind.prepare(raw(name, seed % 4), spec(name), kind.views[0]).tobytes()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(seen, range(32)))
    assert found == [seen(seed) for seed in range(32)]


@kinds
@settings(max_examples=30)
@given(data=st.binary(max_size=200), cut=st.integers(0, 3000))
def test_no_bytes_are_too_odd(name: str, data: bytes, cut: int) -> None:
    for odd in (data, MADE[name](0)[:cut], MADE[name](0)[:cut] + data):
        try:
            modality(name).decode(odd, "folder/name ☀", spec(name))
        except Unreadable as error:
            assert "folder/name ☀" in str(error)  # noqa: PT017
            assert error.kind  # noqa: PT017


@pytest.mark.parametrize(
    ("name", "reads"), [(name, reads) for name in MODALITIES for reads in modality(name).inputs]
)
def test_augmentation_repeats_itself_and_without_any_it_is_the_usual_view(
    name: str, reads: str
) -> None:
    kind, wanted_by = modality(name), spec(name, reads)

    def seen(text: str, seed: int = 0) -> Any:
        wanted = kind.augmentations(text)
        return kind.augment(raw(name), wanted_by, wanted, np.random.default_rng(seed))

    plain = kind.prepare(raw(name), wanted_by, kind.views[0])
    np.testing.assert_array_equal(seen("none"), plain)
    for text in ("light", "medium", "strong"):
        assert kind.augmentations(kind.augmentations(text)) == kind.augmentations(text)
        assert fits(seen(text), wanted_by)
        np.testing.assert_array_equal(seen(text), seen(text))
        assert any(not np.array_equal(seen(text, seed), seen(text)) for seed in range(1, 6))
    for part in kind.usual:
        for tried, used in part.alternatives:
            assert kind.augmentations(tried)
            assert kind.augmentations(used)
    with pytest.raises(UsageError, match="'no-such' is unknown"):
        kind.augmentations("no-such")


@kinds
def test_what_is_kept_for_training_is_enough_and_counted(name: str) -> None:
    kind = modality(name)
    kept, size = kind.compact(raw(name), spec(name))
    assert 0 < size < 100_000
    assert fits(kind.prepare(kept, spec(name), kind.views[0]), spec(name))


@kinds
def test_the_plain_vector_is_as_long_for_all(name: str) -> None:
    kind = modality(name)
    vectors = [kind.plain(kind.decode(MADE[name](seed), "x").facts) for seed in range(3)]
    assert {v.shape for v in vectors} == {(len(vectors[0]),)}
    assert all(v.dtype == np.float32 and np.isfinite(v).all() for v in vectors)


@kinds
def test_a_report_can_show_it(name: str) -> None:
    kind = modality(name)
    assert kind.thumbnail(MADE[name](0), "x").startswith("data:image/")
    assert kind.natural_size(kind.decode(MADE[name](0), "x").facts) > 0
    clip = kind.clip(MADE[name](0), "x")
    assert clip is None or (clip.startswith("data:audio/") and len(clip) <= MOST_CLIP)
    with pytest.raises(Unreadable, match="broken"):
        kind.thumbnail(b"", "broken")
