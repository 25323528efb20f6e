"""Examples without files: what stands in place of a path gives the text back."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from regraft.backbones.reading import file_bytes, file_sha
from regraft.data.inline import contents, inline_bytes, inline_text, inlined


@given(st.text())
def test_every_text_comes_back_also_by_way_of_a_path(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    place = inlined(text)
    assert inline_text(place) == text
    for way in (place, Path(place)):
        assert inline_bytes(way) == text.encode()
        assert contents(way) == text.encode()
    sha = file_sha(Path(place))
    assert isinstance(sha, str)
    assert file_bytes(Path(place), sha) == text.encode()


def test_a_path_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"from the disk")
    assert inline_bytes(tmp_path / "a.txt") is None
    assert inline_text(str(tmp_path / "a.txt")) is None
    assert contents(tmp_path / "a.txt") == b"from the disk"
