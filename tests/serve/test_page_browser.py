"""The page in a real browser: whole stories, by mouse and by keyboard, wide and narrow."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.browser


def answered(page: Any, count: int) -> None:
    """Waits until so many answers are there."""
    page.locator(".answer[aria-busy=false]").nth(count - 1).wait_for()
    assert page.locator(".answer").count() == count


def test_pictures_are_chosen_and_answered(show: Any, real: Any, photos: Path, shot: Any) -> None:
    page = show(real)
    page.wait_for_selector("#ask:not([hidden])")
    assert page.title() == "shapes – Regraft"
    assert page.locator("#told").text_content() == (
        "Tells pictures apart, 3 classes: disc, square, stripes"
    )
    assert not page.locator("#say").is_visible()
    files = [photos / kind / "003.png" for kind in ("disc", "stripes")]
    broken = {"name": "kaputt <b>.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#files", files)
    answered(page, 2)
    page.set_input_files("#files", [broken])
    answered(page, 3)
    verdicts = page.locator(".verdict").all_text_contents()
    assert "known format" in verdicts[0]
    assert sorted(verdicts[1:]) == ["disc", "stripes"]
    assert page.locator(".name").first.text_content() == "kaputt <b>.png"
    bars = page.locator(".answer").nth(1).locator(".bars li")
    assert bars.count() == 3
    assert bars.first.locator("span").last.text_content().endswith(" %")
    assert "ms" in page.locator(".time").nth(1).text_content()
    shot(page, "pictures")
    page.click("#clear")
    assert page.locator(".answer").count() == 0


def test_it_shows_what_an_answer_rests_on(show: Any, real: Any, photos: Path, shot: Any) -> None:
    page = show(real)
    page.wait_for_selector("#ask:not([hidden])")
    page.set_input_files("#files", [photos / "disc" / "003.png"])
    answered(page, 1)
    page.focus(".why")
    page.keyboard.press("Enter")
    page.wait_for_selector(".marked span", state="attached")
    assert page.locator(".marked span").count() == 36
    strengths = page.evaluate(
        "[...document.querySelectorAll('.marked span')].map(s => +s.style.opacity)"
    )
    assert max(strengths) == pytest.approx(0.65)
    assert "disc" in page.locator(".because").text_content()
    assert not page.locator(".why").is_visible()
    shot(page, "why")


def test_words_that_count_are_marked(show: Any, quick: Any, shot: Any) -> None:
    page = show(quick)
    page.wait_for_selector("#say:not([hidden])")
    page.fill("#text", "🙂 hello <b>")
    page.keyboard.press("Control+Enter")
    answered(page, 1)
    page.click(".why")
    page.wait_for_selector(".because:has-text('single part'), mark")
    assert page.locator("blockquote").text_content() == "🙂 hello <b>"
    shot(page, "words")


def test_a_picture_is_dropped(show: Any, real: Any, photos: Path) -> None:
    page = show(real)
    page.wait_for_selector("#ask:not([hidden])")
    data = list((photos / "square" / "004.png").read_bytes())
    page.evaluate(
        """bytes => {
          const held = new DataTransfer();
          held.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"}));
          for (const type of ["dragover", "drop"]) document.querySelector("#drop").dispatchEvent(
            new DragEvent(type, {dataTransfer: held, bubbles: true, cancelable: true}));
        }""",
        data,
    )
    answered(page, 1)
    assert page.locator(".verdict").text_content() == "square"
    assert page.locator("#state").text_content().startswith("square, ")


def test_texts_by_keyboard_alone_on_a_phone(show: Any, quick: Any, shot: Any) -> None:
    page = show(quick, 360)
    page.wait_for_selector("#say:not([hidden])")
    page.focus("body")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "text":
            break
    page.keyboard.type("hello <script>alert(1)</script>")
    page.keyboard.press("Control+Enter")
    answered(page, 1)
    page.keyboard.type("again")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answered(page, 2)
    quotes = page.locator("blockquote").all_text_contents()
    assert quotes == ["again", "hello <script>alert(1)</script>"]
    assert page.locator("main script").count() == 0
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 360
    shot(page, "phone")


def test_the_model_card_opens_and_closes_by_keyboard(show: Any, real: Any, shot: Any) -> None:
    page = show(real)
    page.wait_for_selector("#open-card:not([hidden])")
    page.focus("#open-card")
    page.keyboard.press("Enter")
    page.wait_for_selector("#card-text h3")
    titles = page.locator("#card-text h3").all_text_contents()
    assert {"Classes", "How good it is", "Networks and licences", "Limits"} <= set(titles)
    assert page.locator("#card-text table").count() >= 2
    shot(page, "card")
    page.keyboard.press("Escape")
    assert not page.locator("#card").is_visible()


def test_a_sound_is_recorded_and_sent_as_wav(show: Any, stand_in: Any, shot: Any) -> None:
    server = stand_in("--modality", "audio")
    page = show(server)
    posted: list[Any] = []
    page.on("request", lambda request: request.method == "POST" and posted.append(request))
    page.wait_for_selector("#record:not([hidden])")
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(400)
    page.click("#record")
    answered(page, 1)
    assert [request.headers["content-type"] for request in posted] == ["audio/wav"]
    assert page.locator(".answer audio").count() == 1
    shot(page, "sound")


def test_a_recording_is_a_whole_wav_file(show: Any, stand_in: Any, tmp_path: Path) -> None:
    page = show(stand_in("--modality", "audio"))
    made = page.evaluate(
        """() => {
          const sound = new AudioBuffer({length: 800, sampleRate: 8000, numberOfChannels: 2});
          sound.getChannelData(0).fill(0.5);
          return Array.from(new Uint8Array(wav(sound).buffer));
        }"""
    )
    (tmp_path / "made.wav").write_bytes(bytes(made))
    with wave.open(str(tmp_path / "made.wav")) as found:
        assert (found.getnchannels(), found.getframerate(), found.getnframes()) == (1, 8000, 800)
        values = np.frombuffer(found.readframes(800), np.int16)
    assert np.abs(values - 32767 / 4).max() <= 1


def test_a_token_is_asked_for_once(show: Any, stand_in: Any) -> None:
    token = "0123456789abcdef"
    page = show(stand_in("--token", token))
    page.wait_for_selector("#token-form:not([hidden])")
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#token-wrong:not([hidden])")
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector("#say:not([hidden])")
    page.fill("#text", "x")
    page.keyboard.press("Control+Enter")
    answered(page, 1)
    page.reload()
    page.wait_for_selector("#say:not([hidden])")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_text_stands_out_and_nothing_is_cut_off(
    show: Any, real: Any, photos: Path, scheme: str, width: int, shot: Any, faint: Any
) -> None:
    page = show(real, width, color_scheme=scheme)
    page.wait_for_selector("#ask:not([hidden])")
    page.set_input_files("#files", [photos / "disc" / "090.png", photos / "disc" / "002.png"])
    answered(page, 2)
    page.wait_for_timeout(300)
    shot(page, f"{scheme}-{width}")
    assert faint(page) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(paper.strip("rgb()").split(",")[0]) < 128) == (scheme == "dark")
    page.click("#open-card")
    page.wait_for_selector("#card-text h3")
    assert page.evaluate("document.querySelector('#card').getBoundingClientRect().right") <= width
    assert faint(page) == []


# What the server tells of a model, and its answer → what the page must show.
OTHER_TASKS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "detection": (
        {"modality": "image", "classes": ["cup", "spoon <b>"]},
        {
            "objects": [
                {"label": "cup", "score": 0.93, "box": [4, 2, 40, 44]},
                {"label": "spoon <b>", "score": 0.61, "box": [30, 20, 62, 60]},
            ],
            "width": 64,
            "height": 64,
        },
        "1 × cup, 1 × spoon <b>",
    ),
    "tags": (
        {"modality": "image", "classes": ["disc", "lines", "square"]},
        {
            "tags": [{"label": "disc", "probability": 0.9}],
            "top": [{"label": "disc", "probability": 0.9}, {"label": "lines", "probability": 0.2}],
            "note": "unlike the training data",
        },
        "disc",
    ),
    "regression": (
        {"modality": "image", "classes": ["height", "dark"]},
        {
            "values": [
                {"name": "height", "value": 51234.5, "low": 49000.25, "high": 53000.75},
                {"name": "dark", "value": 12.25, "low": None, "high": None},
            ],
            "note": None,
        },
        "",
    ),
    "transcription": (
        {"modality": "audio", "classes": []},
        {"text": "zero nine two", "confidence": 0.87, "length": 2.5},
        "zero nine two",
    ),
}


@pytest.mark.parametrize("width", [1000, 360])
@pytest.mark.parametrize("task", OTHER_TASKS)
def test_answers_of_other_tasks_are_shown(
    show: Any, quick: Any, photos: Path, shot: Any, task: str, width: int
) -> None:
    about, answer, verdict = OTHER_TASKS[task]
    told = {"name": task, "task": task, "sayable": False, "explains": False, **about}
    page = show(quick, width)
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": [told]}))
    page.route("**/v1/predict*", lambda route: route.fulfill(json=answer))
    page.reload()
    page.wait_for_selector("#ask:not([hidden])")
    page.set_input_files("#files", [photos / "disc" / "003.png"])
    answered(page, 1)
    assert page.locator(".verdict").text_content() == verdict
    assert not page.locator(".why").is_visible()
    assert page.locator(".boxed .box").count() == len(answer.get("objects", ()))
    assert page.locator(".note").nth(-1).is_visible() == bool(answer.get("note"))
    rows = page.locator(".answer tr").all_text_contents()
    assert len(rows) == (len(answer.get("values", answer.get("objects", []))) or -1) + 1
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    shot(page, f"{task}-{width}")
