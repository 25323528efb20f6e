"""The pages as a browser shows them: at every width, in light and dark, without a network."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regraft.evaluation.compare_page import compare_page
from regraft.evaluation.page import doctor_page
from regraft.evaluation.report import Report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

PAGES = ("ten", "two", "many", "hostile", "doctor", "compare", "odd-names")
WIDTHS = (1280, 768, 390, 360)

LONG = "_".join(["refund", "not", "showing", "up", "after", "a", "cancelled", "transfer"])
AWKWARD = ["<script>document.title = 'run'</script>", "שלום עולם", "W" * 300, "a\u202eb", '"><b>']

# Relative luminance and contrast as WCAG 2.2 defines them, of every text that is shown.
CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = (top, below) => {
    const alpha = top.length > 3 ? top[3] : 1;
    return [0, 1, 2].map(k => alpha * top[k] + (1 - alpha) * below[k]);
  };
  const luminance = color => {
    const [r, g, b] = color.map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(getComputedStyle(e).backgroundColor);
    return layers.reverse().reduce((below, layer) => over(parse(layer), below), [255, 255, 255]);
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const color = over(parse(element.closest('svg') ? style.fill : style.color), below);
    const [low, high] = [luminance(color), luminance(below)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    seen += 1;
    if (ratio < 4.5) faint.push([ratio.toFixed(2), texts.currentNode.data.trim()]);
  }
  return {seen, faint};
}"""


# What is cut off at the edge, except in a box that scrolls or is meant to be unseen.
OUTSIDE = """() => [...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll, nav, .skip, .hidden, svg'))
  .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.outerHTML.slice(0, 99))"""


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    make_record: Callable[..., dict[str, Any]],
    make_comparison: Callable[..., dict[str, Any]],
) -> Path:
    """A file for each page."""
    folder = tmp_path_factory.mktemp("pages")
    ten = make_record()
    records = {
        "ten": ten,
        "two": make_record(["cat", "dog"], n=60, signal=1.0),
        "many": make_record([f"{LONG}_{k}" for k in range(77)], n=1500, findings=100),
        "hostile": make_record(AWKWARD, n=60, signal=0.5),
    }
    for name, record in records.items():
        Report(record).save(folder / f"{name}.html")
    found = {"counts": ten["split"]["counts"]["train"], "n": 3069, "root": f"/{LONG}" * 4}
    doctor = doctor_page({**ten, **found})
    (folder / "doctor.html").write_text(doctor, "utf-8")
    (folder / "compare.html").write_text(compare_page(make_comparison()), "utf-8")
    odd = make_comparison(AWKWARD)
    for row, name in zip(odd["strategies"], AWKWARD, strict=False):
        row["name"] = row["told"] = name
    (folder / "odd-names.html").write_text(compare_page(odd), "utf-8")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def show(chromium: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page by name; in the end, nothing was complained about and nothing requested."""
    complaints: list[str] = []
    requests: list[str] = []
    opened: list[Any] = []

    def open_page(name: str, width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        opened.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on("request", lambda request: requests.append(request.url))
        shown.goto((folder / f"{name}.html").as_uri())
        return shown

    yield open_page
    for context in opened:
        context.close()
    assert not complaints
    assert requests
    assert not [url for url in requests if not url.startswith((folder.as_uri(), "data:image/jpeg"))]
    assert sum(url.startswith("file:") for url in requests) == len(opened)


def unfold(shown: Any) -> None:
    shown.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")


@pytest.mark.parametrize("name", PAGES)
def test_only_wide_tables_scroll_sideways_and_in_their_own_box(
    show: Callable[..., Any], name: str
) -> None:
    shown = show(name)
    unfold(shown)
    for width in WIDTHS:
        shown.set_viewport_size({"width": width, "height": 900})
        assert shown.evaluate("document.scrollingElement.scrollWidth") <= width
        assert not shown.evaluate(OUTSIDE)


@pytest.mark.parametrize("name", ["ten", "doctor", "compare"])
def test_every_text_stands_out_in_light_and_dark(show: Callable[..., Any], name: str) -> None:
    shown = show(name)
    unfold(shown)
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        contrast = shown.evaluate(CONTRAST)
        assert contrast["seen"] > 50
        assert not contrast["faint"]
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(paper.strip("rgb()").split(",")[0]) < 128) == (scheme == "dark")


def test_it_works_without_javascript(show: Callable[..., Any]) -> None:
    shown = show("ten", java_script_enabled=False)
    folded = shown.locator("details", has_text="All 17 metrics")
    table = folded.locator("table")
    assert not table.is_visible()
    folded.locator("summary").click()
    assert table.is_visible()


def test_hostile_names_run_nothing(show: Callable[..., Any]) -> None:
    shown = show("hostile")
    assert shown.title() == "clothing – Regraft report"
    assert shown.locator("script, b").count() == 0
    assert shown.get_by_text(AWKWARD[0]).count() > 0


def test_the_contents_lead_to_the_sections(show: Callable[..., Any]) -> None:
    shown = show("ten", 390)
    for link in shown.locator("nav a").all()[1::4]:
        link.click()
        title = shown.locator(f"{link.get_attribute('href')} h2")
        assert title.text_content() == link.text_content()
        assert title.bounding_box()["y"] >= shown.locator("nav").bounding_box()["height"]


def test_pictures_are_drawn(show: Callable[..., Any]) -> None:
    shown = show("ten")
    unfold(shown)
    sizes = shown.evaluate("[...document.images].map(i => [i.naturalWidth, i.width, i.height])")
    assert len(sizes) > 30
    assert all(natural in (96, 72) for natural, _, _ in sizes)
    assert all(width == height for _, width, height in sizes)


def test_print_is_on_white_with_nothing_folded(show: Callable[..., Any]) -> None:
    shown = show("ten", 700, color_scheme="dark")
    shown.emulate_media(media="print")
    assert shown.evaluate("document.scrollingElement.scrollWidth") <= 700
    assert not shown.locator("nav").is_visible()
    assert shown.locator("details table").first.is_visible()
    ink = shown.evaluate("getComputedStyle(document.body).color")
    assert max(map(int, ink.strip("rgb()").split(","))) < 64
