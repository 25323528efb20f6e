"""regraft ui: who may ask what, and the story in a browser: folder → fit → report → answer."""

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POSTS = ("choose", "doctor", "fit", "resume", "clear", "stop", "try")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def page_of(start: Any, results: Path, photos: Path) -> Any:
    """regraft ui, begun in the folder that `photos` is in."""
    words = ("-m", "regraft", "ui", "--no-browser", "--out", results)
    return start(*words, cwd=photos.parent)


@pytest.fixture(scope="module")
def asked(page_of: Any) -> Callable[..., Any]:
    """(method, path, document, headers) → the answer; with the token where none is given."""
    token = page_of.url.partition("#token=")[2]

    def ask(method: str, path: str, document: Any = None, **headers: str | None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        usual: dict[str, str | None] = {"authorization": f"Bearer {token}"}
        if body is not None:
            usual["content_type"] = "application/json"
        return page_of.ask(method, path, body, **(usual | headers))

    return ask


def test_only_this_machine_and_only_with_the_token(page_of: Any, asked: Any) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{32}", page_of.url)
    gets = [asked("GET", f"/ui/{name}", authorization=None) for name in ("state", "folders?at=/")]
    posts = [asked("POST", f"/ui/{name}", {}, authorization="Bearer x") for name in POSTS]
    api = [asked("GET", "/v1/models", authorization=None)]
    assert {answer.status for answer in [*gets, *posts, *api]} == {401}
    files = ("/", "/ui.js", "/ui.css", "/ask.js", "/page.js", "/page.css", "/icon.svg", "/try")
    for path in files:
        answer = asked("GET", path, authorization=None)
        assert answer.status == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert b"style=" not in asked("GET", "/").body
    assert not re.search(rb"<script(?! src=\"/)", asked("GET", "/").body)


def test_other_sites_and_other_names_are_refused(asked: Any) -> None:
    assert asked("POST", "/ui/stop", {}, origin="http://evil.example").status == 403
    assert asked("POST", "/ui/stop", {}, origin="null").status == 403
    assert asked("GET", "/ui/state", host="evil.example").status == 421
    assert asked("POST", "/ui/choose", {}, content_type="text/plain").status == 415


@pytest.mark.parametrize(
    ("path", "document", "told"),
    [
        ("choose", {"folder": "relative"}, "begins with /"),
        ("choose", {"folder": ["/"]}, "expected a path"),
        ("choose", {}, "expected a path"),
        ("doctor", {}, "choose one first"),
        ("fit", {"budget": "5min"}, "choose one first"),
        ("resume", {}, "no stopped training"),
        ("try", {}, "no model yet"),
    ],
)
def test_what_cannot_be_done_is_told(asked: Any, path: str, document: Any, told: str) -> None:
    answer = asked("POST", f"/ui/{path}", document)
    assert answer.status == 422
    assert told in answer.error["messages"][0]


def test_odd_bodies_are_refused(asked: Any) -> None:
    assert asked("POST", "/ui/choose", [1]).status == 400
    assert asked("POST", "/ui/choose", "x" * 70_000).status == 413
    assert asked("GET", "/ui/folders?at=%00").status == 422
    assert asked("GET", "/report/x", authorization=None).status == 404
    assert asked("GET", "/report/", authorization=None).status == 404
    assert asked("POST", "/v1/predict", {"text": "x"}).status == 404  # no model yet


def test_settings_are_words_and_never_options(asked: Any, photos: Path, results: Path) -> None:
    assert asked("POST", "/ui/choose", {"folder": str(photos)}).status == 200
    assert asked("POST", "/ui/fit", {"budget": "soon"}).status == 422
    assert asked("POST", "/ui/fit", {"size": 3}).status == 422
    inside = asked("POST", "/ui/fit", {"budget": "1min", "out": str(photos / "out")})
    assert "inside the data folder" in inside.error["messages"][0]
    begun = asked("POST", "/ui/fit", {"budget": "1min", "size": "--out=/x", "backbone": "-h"})
    assert begun.json["fit"]["state"] == "running"
    assert asked("POST", "/ui/fit", {"budget": "1min"}).status == 409
    assert asked("POST", "/ui/stop", {}).json["fit"]["state"] != "running"
    while (found := asked("GET", "/ui/state").json["fit"])["state"] == "stopping":
        pass
    assert found["state"] in ("stopped", "failed")
    assert not list(results.iterdir())
    assert asked("POST", "/ui/clear", {}).json["fit"] is None


def kept(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_from_a_folder_to_an_answer(
    show: Any, shot: Any, faint: Any, page_of: Any, asked: Any, photos: Path, results: Path
) -> None:
    before = kept(photos)
    page = show(page_of)
    page.set_default_timeout(120_000)
    # A folder, by keyboard.
    page.wait_for_selector("#steps:not([hidden])")
    assert "token" not in page.url
    if page.locator("#another").is_visible():
        page.click("#another")
    page.fill("#at", str(photos.parent))
    page.keyboard.press("Enter")
    page.get_by_role("button", name=photos.name, exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="stripes", exact=True).wait_for()
    shot(page, "ui-folder")
    page.focus("#use")
    page.keyboard.press("Enter")
    # What is found.
    page.wait_for_selector("#classes li")
    assert "66 examples, 3 classes" in page.locator("#doctor-told").text_content()
    assert "disc: 22" in page.locator("#classes").text_content()
    # A fit, watched.
    page.select_option("#budget", "1min")
    page.click("summary")
    page.fill("#backbone", "efficientnet-lite0")
    page.fill("#size", "64")
    page.select_option("#engine", "torch")
    page.click("#start")
    page.locator("#fit-work .stage").first.wait_for()
    shot(page, "ui-live")
    page.reload()  # the work goes on, and what was told is still there
    page.wait_for_selector("#step-model:not([hidden])")
    assert "examples that it has not seen" in page.locator("#headline").text_content()
    [first, *_] = asked("GET", "/ui/state").json["fit"]["rungs"]
    assert (first["kind"], first["judged"]) == ("probe", "leave_one_out")
    assert 0.5 < first["score"] <= 1
    assert page.locator("#tried tr.kept").count() == 1
    assert (results / "photos.out" / "model.regraft").is_file()
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        assert faint(page) == []
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        shot(page, f"ui-{scheme}-{width}")
    # Its report, as a page without scripts or an origin.
    with page.expect_popup() as opened:
        page.click("#report")
    report = opened.value
    assert "disc" in report.locator("body").text_content()
    answer = report.request.get(report.url)
    assert "sandbox" in answer.headers["content-security-policy"]
    report.close()
    # The model.
    page.click("#try")
    page.wait_for_selector("#ask:not([hidden])")
    page.set_input_files("#files", [photos / "disc" / "003.png"])
    page.wait_for_selector(".answer[aria-busy=false]")
    assert page.locator(".verdict").text_content() == "disc"
    page.click("#back")
    page.wait_for_selector("#step-model:not([hidden])")
    assert kept(photos) == before


def test_a_browser_is_opened_through_a_file_of_ones_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import webbrowser

    from regraft.cli.ui import _opener

    seen: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: not seen.append(url))
    with _opener("http://127.0.0.1:1/#token=x", True) as show:
        show()
        page = Path(seen[0].removeprefix("file://"))
        assert stat.S_IMODE(os.stat(page.parent).st_mode) == 0o700
        assert "url=http://127.0.0.1:1/#token=x" in page.read_text()
    assert not page.exists()
    with _opener("http://127.0.0.1:1/", False) as show:
        show()
    assert len(seen) == 1
