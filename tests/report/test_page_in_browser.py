"""The page in a real browser, as an editor uses it: it lists, filters, draws, plays, and is kept on the keyboard."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import five_questions
import numpy as np
import pytest
from audio_files import wav_bytes

from catalog_tagger.reconcile.reviewed import latest, read_reviewed
from catalog_tagger.report.collect import collect
from catalog_tagger.report.page import render
from catalog_tagger.report.review import ReviewServer
from catalog_tagger.report.write import write_report
from catalog_tagger.storage import Store


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here")
    with api.sync_playwright() as playwright:
        one = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield one
        one.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    audio = tmp_path / "audio"
    audio.mkdir()
    tone = (8000 * np.sin(np.arange(480_000) / 5)).astype(np.int16)
    for name in ("a.wav", "show.wav", "new.wav"):
        (audio / name).write_bytes(wav_bytes(tone))
    store = Store(tmp_path / "tags")
    five_questions.make(store, place=str(audio), extension=".wav")
    return store


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    one = context.new_page()
    wrong: list[str] = []
    one.on("pageerror", lambda error: wrong.append(str(error)))
    one.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield one
    context.close()
    assert wrong == []


def wait_until(page: Any, expression: str) -> None:
    """Ask again and again: the page's policy forbids what Playwright's own waiting evaluates."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def test_flags_are_listed_filtered_and_played(page: Any, store: Store) -> None:
    page.goto(f"file://{write_report(store)}")
    flags = page.locator("#flags article")
    assert flags.count() == 4
    assert page.locator("#count").inner_text() == "4 of 4 flags"
    first = flags.first
    assert first.locator("h3").inner_text() == "new"
    assert first.locator("svg").get_attribute("aria-label") == "0:40 long: no speech; music 0:00 to 0:10"
    picture = first.locator("img")
    picture.scroll_into_view_if_needed()
    wait_until(page, "document.querySelector('#flags img').naturalWidth > 0")
    page.fill("input[name=text]", "show")
    assert flags.count() == 1
    page.fill("input[name=text]", "")
    page.select_option("select[name=state]", "dismissed")
    assert page.locator("#count").inner_text() == "1 of 4 flags"
    page.select_option("select[name=state]", "")
    flags.first.get_by_role("button", name="play new from 0:00").click()
    wait_until(page, "document.querySelector('audio').currentTime > 0.05")
    shows = page.locator("#shows article")
    assert shows.count() == 1
    assert "2 songs" in shows.inner_text()


def test_the_keyboard_alone_goes_through_the_flags(page: Any, store: Store) -> None:
    page.goto(f"file://{write_report(store, grams=0)}")
    focused = "document.activeElement.querySelector('h3')?.textContent"
    page.keyboard.press("j")
    assert page.evaluate(focused) == "new"
    page.keyboard.press("j")
    assert page.evaluate(focused) == "show"
    page.keyboard.press("k")
    assert page.evaluate(focused) == "new"
    page.keyboard.press("p")
    wait_until(page, "document.querySelector('audio') && !document.querySelector('audio').paused")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.type("jkp")
    assert page.input_value("input[name=text]") == "jkp"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_readable(browser: Any, store: Store, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(f"file://{write_report(store, grams=0)}")

    def contrast(selector: str) -> float:
        found: list[float] = page.evaluate(
            """selector => {
                const light = (rgb) => rgb.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
                    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                const bright = (rgb) => { const [r, g, b] = light(rgb); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
                const element = document.querySelector(selector);
                return [getComputedStyle(element).color, getComputedStyle(document.body).backgroundColor].map(bright);
            }""",
            selector,
        )
        low, high = sorted(found)
        return (high + 0.05) / (low + 0.05)

    for selector in ("h1", ".soft", "#flags article p", "th"):
        assert contrast(selector) >= 4.5, selector
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    context.close()


def test_thousands_of_flags_stay_responsive(page: Any, store: Store, tmp_path: Path) -> None:
    report = collect(store, page=None, most_flags=10, most_shows=10)
    line = "Z0" * 360
    report.tracks[:] = [
        {**report.tracks[0], "i": f"t{n}", "d": 3600.0, "h": 3600.0, "s": line, "m": line} for n in range(5000)
    ]
    report.flags[:] = [{**report.flags[0], "i": f"f{n}", "t": n} for n in range(5000)]
    report.shows.clear()
    place = tmp_path / "many.html"
    place.write_text(render(report))
    page.goto(f"file://{place}")
    assert page.locator("#count").inner_text() == "5,000 of 5,000 flags"
    assert page.locator("#flags article").count() <= 200
    longest = page.evaluate(
        """() => {
            const input = document.querySelector("input[name=text]");
            const begun = performance.now();
            input.value = "t49";
            input.dispatchEvent(new Event("input", { bubbles: true }));
            document.body.getBoundingClientRect();
            return performance.now() - begun;
        }"""
    )
    assert page.locator("#count").inner_text() == "111 of 5,000 flags"
    assert longest < 1000
    page.fill("input[name=text]", "")
    for _ in range(5):
        page.locator("#flags article").last.scroll_into_view_if_needed()
        page.wait_for_timeout(100)
    assert page.locator("#flags article").count() > 120


def test_a_reviewer_decides_on_the_keyboard_and_sees_the_others(page: Any, store: Store, tmp_path: Path) -> None:
    report = collect(store, page=None, most_flags=10, most_shows=10)
    server = ReviewServer(store, report, roots=[str(tmp_path / "audio")], reviewer="ada")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        page.goto(server.url)
        page.keyboard.press("j")
        page.keyboard.press("a")
        page.locator("#flags article .verdict", has_text="accepted by ada").wait_for()
        page.keyboard.press("j")
        page.keyboard.press("d")
        page.locator("#flags article .verdict", has_text="dismissed by ada").wait_for()
        page.keyboard.press("u")
        wait_until(page, "document.getElementById('kept').textContent === '1 decided.'")
        page.keyboard.press("p")
        wait_until(page, "document.querySelector('audio').currentTime > 0.05")
        server.session.__class__(store, "ben").decide("f0", "c2", "dismissed")
        page.locator("#flags article .verdict", has_text="dismissed by ben").wait_for(timeout=10_000)
        assert {flag: row.decision for flag, row in latest(read_reviewed(store)[0]).items()} == {
            "f2": "accepted",
            "f1": "withdrawn",
            "f0": "dismissed",
        }
    finally:
        server.shutdown()
        server.server_close()
