"""Moments of videos: what a player would show, whatever order they are asked for in."""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from regraft.backbones.reading import file_sha, hash_files
from regraft.data.inline import contents
from regraft.errors import DataError, MissingExtra, Unreadable
from regraft.modalities import video
from regraft.modalities.video import frame_bytes, moment_of, moments, plain_name

RATE, FRAMES = 10, 35


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lossless: the brightness of a frame is its number; a key frame every twelve."""
    return shot(tmp_path_factory.mktemp("films") / "clip.mkv")


def shot(
    path: Path,
    codec: str = "ffv1",
    frames: int = FRAMES,
    form: str = "gray",
    aspect: Fraction | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        stream.codec_context.gop_size = 12
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for i in range(frames):
            picture = np.full((48, 64), 5 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    return path


def number(data: bytes) -> float:
    """The number of the frame."""
    return float(np.asarray(Image.open(io.BytesIO(data)).convert("L")).mean() / 5)


def outcome(read: Callable[[], Any]) -> Any:
    """What it gives, or the reason why there is nothing."""
    try:
        return read()
    except (DataError, Unreadable) as error:
        return str(error)


def test_a_moment_every_so_many_seconds(film: Path) -> None:
    assert moments(str(film), 1.0) == [f"{film}#t={t}" for t in (0, 1, 2, 3)]
    assert len(moments(str(film), 0.25)) == 14
    with pytest.raises(DataError, match="at most 100,000 can be looked at"):
        moments(str(film), 1e-6)


def test_late_moments_keep_their_milliseconds(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_duration", lambda container, stream: 3600.0)
    names = moments(str(film), 0.04)
    assert len(set(names)) == len(names) == 90_000
    assert names[25_001].endswith("#t=1000.04")
    assert moment_of(names[-1]) == (str(film), pytest.approx(3599.96))
    assert plain_name("a/clip.mp4#t=1234.567") == "clip-1234.567s"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0, 3.499), min_size=1, max_size=6))
def test_any_order_gives_what_a_player_shows(film: Path, times: list[float]) -> None:
    for seconds in times:
        shown = min(int((seconds + video.NEAR) * RATE + 1e-6), FRAMES - 1)
        assert number(frame_bytes(str(film), seconds)) == pytest.approx(shown, abs=0.01)


def test_there_is_nothing_after_the_end(film: Path) -> None:
    with pytest.raises(Unreadable, match=r"the video lasts 3\.5 s only"):
        frame_bytes(str(film), 3.6)


def test_threads_see_the_same(film: Path) -> None:
    times = [i * 7 % FRAMES / RATE for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda t: number(contents(f"{film}#t={t}")), times)]
    assert found == pytest.approx([round(t * RATE) for t in times], abs=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [("a.mp4", "mpeg4", "yuv420p"), ("a.avi", "mjpeg", "yuvj420p"), ("a.mov", "mpeg4", "yuv420p")],
)
def test_usual_containers(name: str, codec: str, form: str, tmp_path: Path) -> None:
    path = shot(tmp_path / name, codec, form=form)
    assert len(moments(str(path), 1.0)) == 4
    for seconds in (2.0, 0.5, 3.4):
        found = number(frame_bytes(str(path), seconds))
        assert found == pytest.approx(RATE * seconds, abs=1.6)  # of limited range and lossy


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(4, 3), (85, 48)),
        (Fraction(2, 3), (64, 72)),
        (Fraction(1), (64, 48)),
        (Fraction(99), (64, 48)),  # nonsense
    ],
)
def test_pixels_that_are_not_square_are_shown_as_a_player_does(
    aspect: Fraction, size: tuple[int, int], tmp_path: Path
) -> None:
    path = shot(tmp_path / "a.mp4", "mpeg4", 3, "yuv420p", aspect)
    assert Image.open(io.BytesIO(frame_bytes(str(path), 0.1))).size == size


def test_what_is_no_video_has_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "torn.mp4"
    path.write_bytes(bytes(200))
    assert video.watched(str(path), 1.0) == [f"{path}#t=0"]
    with pytest.raises(Unreadable, match="no video that can be read"):
        contents(f"{path}#t=0")


def test_the_hash_is_that_of_the_frame(film: Path) -> None:
    one, same, other = hash_files([f"{film}#t=1", f"{film}#t=1.04", f"{film}#t=2"])
    assert one == same != other
    assert file_sha(Path(f"{film}#t=1")) == one


def test_names_of_moments(tmp_path: Path) -> None:
    assert moment_of("a/clip.MP4#t=12.5") == ("a/clip.MP4", 12.5)
    assert plain_name("a/clip.MP4#t=12.5") == "clip-12.5s"
    assert plain_name("a/photo.png") == "photo"
    for name in ("photo.png#t=1", "clip.mp4", "clip.mp4#t=", "clip.mp4#t=-1", "clip.mp4#t=1e9"):
        assert moment_of(name) is None
    odd = tmp_path / "clip.mp4#t=1"  # a file that has such a name is itself
    odd.write_bytes(b"its own")
    assert contents(odd) == b"its own"


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_what_is_cut_off_gives_frames_or_a_reason(film: Path, share: float, tmp_path: Path) -> None:
    whole = film.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: int(share * len(whole))])
    found = outcome(lambda: number(frame_bytes(str(cut), 0.5)))
    if isinstance(found, float):
        assert 0 <= found <= 5.01
    else:
        assert share < 0.5
        assert found
    if share < 0.02:
        with pytest.raises(DataError, match="no video that can be read"):
            moments(str(cut), 1.0)


def test_damage_anywhere_is_a_reason_at_most(film: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(40):
        data = bytearray(film.read_bytes())
        for place in rng.integers(len(data), size=20):
            data[place] = rng.integers(256)
        hurt = tmp_path / f"{i}.mkv"
        hurt.write_bytes(data)
        for read in (lambda p: moments(p, 1.0), lambda p: frame_bytes(p, 2.0)):
            assert outcome(partial(read, str(hurt)))


def test_a_video_that_is_written_anew_is_opened_anew(tmp_path: Path) -> None:
    path = shot(tmp_path / "a.mkv")
    assert number(frame_bytes(str(path), 3.0)) == pytest.approx(30, abs=0.01)
    shot(path, frames=8)
    os.utime(path, ns=(0, 1))
    assert number(frame_bytes(str(path), 0.7)) == pytest.approx(7, abs=0.01)
    with pytest.raises(Unreadable, match=r"lasts 0\.8 s only"):
        frame_bytes(str(path), 3.0)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="no pictures in it, only sound"):
        moments(str(path), 1.0)


def test_without_the_library_its_extra_is_named(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtra, match=r"regraft\[video\]"):
        moments(str(film), 1.0)


def test_only_pictures_are_watched() -> None:
    from regraft.modalities import MODALITIES

    assert set(video.WATCHING) <= set(MODALITIES)
