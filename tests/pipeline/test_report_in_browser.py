"""The report in a real browser: on a phone, on a desk, in the dark, on paper, and without a network."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import NAMES, Browser, find_browser, read_png

ROOT = Path(__file__).resolve().parents[2]
RUNS = ("base", "sft", "factscore")
BLUE, VERMILION = (21, 96, 159), (179, 71, 14)  # --good and --bad, light
# What sticks out of the window sideways, but for what scrolls in a box of its own.
STICKING_OUT = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg') && e.getClientRects().length
  && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))"""
FIRST_FACT = "document.querySelector('.bio .fact')"
TIP = f"(() => {{ const r = {FIRST_FACT}.querySelector('.tip').getBoundingClientRect(); return [r.left, r.right, r.width * r.height]; }})()"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small made volume, by the stages themselves; the folder's name has a space in it."""
    data = tmp_path_factory.mktemp("a volume")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / name / "src") for name in ("volume", "csenv"))}
    stages: list[list[str]] = [["-m", "confscoring.evaluate", "--run", run] for run in RUNS] + [["-m", "confscoring.report"]]
    commands = [[str(ROOT / "tests" / "csenv" / "fake_volume.py"), str(data), "24"]]
    commands += [[*stage, "--dataset", "synth", "--data-dir", str(data)] for stage in stages]
    for command in commands:
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    return data / "dataset_synth" / "report" / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests; without one they are skipped, unless CI_BROWSER=1 says that it must be there."""
    program = find_browser()
    if program is None:
        message = f"no browser: none of {', '.join(NAMES)} is installed (Debian: apt-get install chromium)"
        if os.environ.get("CI_BROWSER") == "1":
            pytest.fail(f"{message}, and CI_BROWSER=1 asks for one")
        pytest.skip(message)
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def shoot(browser: Browser, selector: str = "") -> bytes:
    """Return a PNG of the window, or of one element."""
    clip: dict[str, Any] = {}
    if selector:
        box = browser.run(
            f"(() => {{ const r = document.querySelector('{selector}').getBoundingClientRect(); return [r.left + scrollX, r.top + scrollY, r.width, r.height]; }})()"
        )
        clip = {"clip": dict(zip(("x", "y", "width", "height"), box, strict=True), scale=1), "captureBeyondViewport": True}
    return base64.b64decode(browser.call("Page.captureScreenshot", format="png", **clip)["data"])


def near(colours: set[tuple[int, int, int]], wanted: tuple[int, int, int]) -> bool:
    return any(max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) <= 6 for colour in colours)


@pytest.mark.parametrize("name", ["index.html", "cost.html"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_of_the_window_sideways(browser: Browser, page: Path, width: int, name: str) -> None:
    browser.open(page if name == "index.html" else page.parents[1] / name, width, touch=width < 600)
    assert browser.run(STICKING_OUT) == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("innerWidth") == width  # a page that is too wide for it is shrunk by a phone


def test_the_page_asks_for_nothing_but_itself_and_the_console_stays_empty(browser: Browser, page: Path) -> None:
    browser.events.clear()
    browser.open(page, 1280)
    asked = [event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"]
    assert asked == [page.as_uri()]
    said = [event for event in browser.events if event["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
    assert said == []


@pytest.mark.parametrize("width", [360, 1280])
def test_the_first_screen_is_drawn_and_the_samples_have_the_colours_of_their_verdicts(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    shown, _, colours = read_png(shoot(browser))
    assert shown == width and len(colours) > 50 and near(colours, BLUE)
    _, _, colours = read_png(shoot(browser, ".bios:has(.incorrect)"))
    assert near(colours, BLUE) and near(colours, VERMILION)
    assert near(colours, (220, 235, 247)) and near(colours, (251, 229, 216))  # the soft ones, behind the text


def test_verdicts_differ_in_underline_and_sign_too_and_their_text_can_be_read_in_light_and_dark(browser: Browser, page: Path) -> None:
    lines = "['correct', 'incorrect'].map(c => getComputedStyle(document.querySelector('.bio .' + c)).borderBottomStyle)"
    signs = "['correct', 'incorrect'].map(c => document.querySelector('.bio .' + c + ' sup').textContent)"
    inks = """[...document.querySelectorAll('.bio .fact, .bio .fact sup, .bio .vague')].map(
      e => [getComputedStyle(e).color, getComputedStyle(e.closest('.fact') || e).backgroundColor])"""
    for dark in (False, True):
        browser.open(page, 1280, dark=dark)
        assert browser.run(lines) == ["solid", "dashed"] and browser.run(signs) == ["✓", "✗"]
        for ink, paper in {tuple(pair) for pair in browser.run(inks)}:
            assert contrast(ink, paper) >= 4.5, (dark, ink, paper)  # WCAG 2, AA


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two CSS colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dim = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dim + 0.05)


def test_what_a_verdict_rests_on_shows_on_keyboard_focus(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    assert browser.run(TIP)[2] == 0
    before = "const f = [...document.querySelectorAll('a, [tabindex], summary')]; f[f.indexOf(document.querySelector('.bio .fact')) - 1].focus()"
    browser.run(f"(() => {{ {before} }})()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run(f"document.activeElement === {FIRST_FACT}") and browser.run(TIP)[2] > 1000
    assert "Evidence" in browser.run(f"{FIRST_FACT}.querySelector('.tip').innerText")


def test_what_a_verdict_rests_on_shows_under_the_mouse(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    point(browser, "mouseMoved")
    assert browser.run(TIP)[2] > 1000


def test_what_a_verdict_rests_on_shows_on_a_tap_and_fits_the_phone(browser: Browser, page: Path) -> None:
    browser.open(page, 360, touch=True)
    x, y = place(browser)
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.run("new Promise(done => setTimeout(done, 400))")  # a tap becomes a click once it can be no double tap
    left, right, area = browser.run(TIP)
    assert area > 1000 and left >= 0 and right <= 360
    assert browser.run("document.documentElement.scrollWidth") <= 360


def place(browser: Browser) -> tuple[float, float]:
    browser.run(f"{FIRST_FACT}.scrollIntoView({{block: 'center'}})")
    x, y = browser.run(f"(() => {{ const r = {FIRST_FACT}.getClientRects()[0]; return [r.left + 20, r.top + r.height / 2]; }})()")
    return x, y


def point(browser: Browser, kind: str) -> None:
    x, y = place(browser)
    browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y)


def test_the_list_of_facts_opens_without_a_script(browser: Browser, page: Path) -> None:
    browser.open(page, 360)
    shown = "document.querySelector('.facts ol').checkVisibility()"
    assert browser.run(shown) is False
    browser.run("document.querySelector('.facts summary').click()")
    assert browser.run(shown) is True and browser.run("document.scripts.length") == 0


def test_paper_has_every_fact_opened_and_nothing_is_cut_off(browser: Browser, page: Path) -> None:
    browser.open(page, 700)  # about what A4 leaves between its margins
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run("[...document.querySelectorAll('details')].every(d => [...d.children].every(c => c.checkVisibility() && c.getBoundingClientRect().height > 0))")
    assert browser.run("[...document.querySelectorAll('.scroll')].filter(e => getComputedStyle(e).overflowX != 'visible').length") == 0
    wide = "[...document.querySelectorAll('table, svg, p')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"
    assert browser.run(wide) == []
    browser.call("Emulation.setEmulatedMedia", media="")
    data = base64.b64decode(browser.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)["data"])
    assert data.startswith(b"%PDF") and 3 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 40
    streams = [unpack(part) for part in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)]
    assert sum(stream.count(b"Tj") + stream.count(b"TJ") for stream in streams) > 200  # operators that show text


def unpack(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:  # a font or a picture, packed otherwise
        return b""
