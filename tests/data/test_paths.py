"""Whatever a file says, the path that comes out lies below the root."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regraft.data.paths import inside
from regraft.errors import DataError

REFUSED = {
    "empty": ("", "names no file"),
    "the root": (".", "names no file"),
    "the root again": ("./", "names no file"),
    "absolute": ("/etc/passwd", "is absolute"),
    "two slashes": ("//host/share/x.jpg", "is absolute"),
    "up": ("..", "names no file"),
    "up and out": ("../x.jpg", "leads upwards"),
    "up in the middle": ("cats/../../x.jpg", "leads upwards"),
    "up and down again": ("cats/../dogs/x.jpg", "leads upwards"),
    "up at the end": ("cats/..", "leads upwards"),
    "up with a blank": ("cats/.. /x.jpg", "leads upwards"),
    "up with a dot more": ("cats/.../x.jpg", "leads upwards"),
    "up between blanks": ("cats/ . . /x.jpg", "leads upwards"),
    "backslash": ("cats\\x.jpg", "backslash"),
    "up with backslashes": ("..\\..\\x.jpg", "backslash"),
    "absolute with a backslash": ("\\x.jpg", "backslash"),
    "share": ("\\\\host\\share\\x.jpg", "backslash"),
    "drive": ("C:/x.jpg", "drive letter"),
    "drive, relative": ("c:x.jpg", "drive letter"),
    "drive with a backslash": ("c:\\x.jpg", "backslash"),
    "NUL": ("x.jpg\0.txt", "NUL"),
    "NUL alone": ("\0", "NUL"),
    "long part": ("x" * 256, "a part may have 255 bytes"),
    "long part in bytes": ("ä" * 128 + "/x.jpg", "a part may have 255 bytes"),
    "long": ("/".join(["abcdefgh"] * 500), "a part may have 255 bytes"),
    "very long": ("." * 1_000_000 + "x", "a part may have 255 bytes"),
    "half a character": ("\ud800.jpg", "no file name can have"),
    "link to a file outside": ("to-secret", "leads out"),
    "link to a folder outside": ("to-outside/secret", "leads out"),
    "absolute link": ("to-etc/passwd", "leads out"),
    "link to what is missing outside": ("to-missing", "leads out"),
    "link to the folder above": ("to-parent", "leads out"),
    "link to a link outside": ("to-link", "leads out"),
    "link to a root's namesake": ("to-namesake/x.jpg", "leads out"),
    "link to itself": ("loop", "cannot be followed"),
    "below a loop": ("loop/x.jpg", "cannot be followed"),
    "below a file": ("cats/1.jpg/x", "cannot be followed"),
}

ACCEPTED = [
    "cats/1.jpg",
    "./cats/1.jpg",
    "cats//1.jpg",
    "missing/later.jpg",
    "..x.jpg",
    "x..",
    ".hidden",
    "~/x.jpg",
    "$HOME/x.jpg",
    "%2e%2e/x.jpg",
    "12:30.jpg",
    "http://host/x.jpg",
    "a b\n.jpg",
    "猫/ねこ.jpg",
    "кошки/ÄÖÜ é.jpg",
    "🐈/\u202egpj.x",
    "．．/x.jpg",  # full-width dots are letters like others
    "x" * 255,
    "\udc80.jpg",  # how Python says a byte that is not UTF-8
    "to-cats/1.jpg",
    "to-1.jpg",
]

LINKS = {
    "to-secret": "../outside/secret",
    "to-outside": "../outside",
    "to-etc": "/etc",
    "to-missing": "../outside/missing",
    "to-parent": "..",
    "to-link": "to-secret",
    "to-namesake": "../root-namesake",
    "loop": "loop",
    "to-cats": "cats",
    "to-1.jpg": "cats/1.jpg",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paths") / "root"
    for folder in ("root/cats", "outside", "root-namesake"):
        (root.parent / folder).mkdir(parents=True)
    for file in ("root/cats/1.jpg", "outside/secret", "root-namesake/x.jpg"):
        (root.parent / file).touch()
    for link, target in LINKS.items():
        (root / link).symlink_to(target)
    return root


@pytest.mark.parametrize("case", REFUSED)
def test_a_name_that_leads_elsewhere_is_refused_by_name_and_reason(root: Path, case: str) -> None:
    name, reason = REFUSED[case]
    with pytest.raises(DataError) as caught:
        inside(root, name)
    message = str(caught.value)
    assert message.startswith(repr(name)[:200])
    assert reason in message
    assert len(message) < 500 + len(str(root))


@pytest.mark.parametrize("name", [None, 3, 3.5, b"x.jpg", Path("x.jpg"), ["x.jpg"]])
def test_what_is_not_text_is_refused(root: Path, name: object) -> None:
    with pytest.raises(DataError, match="not text"):
        inside(root, name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_plain_name_in_any_script_is_accepted(root: Path, name: str) -> None:
    assert inside(root, name) == root / name


def test_a_root_may_itself_be_a_link_or_relative(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    monkeypatch.chdir(root.parent)
    for here in (link, Path("root"), Path("link"), Path("outside/../root")):
        assert inside(here, "cats/1.jpg") == here / "cats/1.jpg"
        with pytest.raises(DataError, match="leads out"):
            inside(here, "to-outside/secret")
    assert inside(Path("/"), "etc/passwd") == Path("/etc/passwd")


def test_a_root_that_does_not_exist_yet_will_do(root: Path) -> None:
    assert inside(root / "later", "x.jpg") == root / "later/x.jpg"


PIECES = ["..", ".", "/", "//", "\\", "C:", "\0", "cats", "1.jpg", " ", *LINKS]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=6).map("".join))
def test_no_name_leads_out(root: Path, name: str) -> None:
    try:
        path = inside(root, name)
    except DataError:
        return
    home = os.path.realpath(root)
    assert os.path.commonpath([home, os.path.realpath(path)]) == home
    assert ".." not in path.relative_to(root).parts


PART = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\\\0:. "),
    min_size=1,
    max_size=60,
)


@given(st.lists(PART, min_size=1, max_size=5))
def test_every_plain_name_leads_in(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = inside(Path(root), "/".join(parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("here")
        assert inside(Path(root), "/".join(parts)).read_text() == "here"
