"""The page says what the warehouse holds, needs nothing else, and takes nothing of a catalogue for markup."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import five_questions
import numpy as np
import pytest
from audio_files import wav_bytes
from commands import command
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.report.collect import STEP_S, as_json, collect, line_of, playable
from catalog_tagger.report.page import render
from catalog_tagger.report.write import write_report
from catalog_tagger.storage import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    audio = tmp_path / "audio"
    audio.mkdir()
    for name in ("a.wav", "show.wav", "new.wav"):
        (audio / name).write_bytes(wav_bytes(np.arange(160_000, dtype=np.int16)))
    store = Store(tmp_path / "tags")
    five_questions.make(store, place=str(audio), extension=".wav")
    return store


def data_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.split('id="data">')[1].split("</script>", maxsplit=1)[0])
    return found


class _Elements(HTMLParser):
    """Elements that were opened and not closed, and all addresses."""

    VOID = ("meta", "input", "link", "br", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_one_file_that_needs_nothing_else(store: Store) -> None:
    place = write_report(store)
    assert place == f"{store.uri}/reports/c2.html"
    page = Path(place).read_text()
    elements = _Elements()
    elements.feed(page)
    assert elements.open == []
    assert elements.addresses == ["#flags-of-editors"]
    assert "default-src 'none'" in unescape(page)
    data = data_of(page)
    assert [flag["i"] for flag in data["flags"]] == ["f2", "f1", "f0", "f9"]
    assert all(flag["g"][0].startswith("data:image/webp;base64,") for flag in data["flags"])
    tracks = {track["i"]: track for track in data["tracks"]}
    assert tracks["a"]["a"] == "../../audio/a.wav"
    assert tracks["show"]["o"] == [[1.0, 3.5, "a", 0.0], [1.0, 9.0, "b", 0.0]]
    assert tracks["show"]["m"] == "QQ....", "and nothing is known of the rest"
    assert [data["tracks"][at]["i"] for at, *_ in data["shows"]] == ["show"]
    assert ">empty<" in page
    assert "the object has no bytes" in page


def test_audio_that_has_gone_leaves_the_page_without_its_picture(store: Store, tmp_path: Path) -> None:
    (tmp_path / "audio" / "new.wav").unlink()
    flags = {flag["i"]: flag for flag in data_of(Path(write_report(store)).read_text())["flags"]}
    assert "g" not in flags["f2"]
    assert "g" in flags["f1"]


def test_nothing_of_a_catalogue_is_markup(store: Store) -> None:
    report = collect(store, page=None, most_flags=10, most_shows=10)
    hostile = '</script><img src=x onerror="alert(1)">\u2028'
    report.tracks[0]["i"] = hostile
    report.flags[0]["r"] = hostile
    report.quarantined.append((hostile, hostile, 1, hostile, hostile))
    page = render(report)
    assert "<img" not in page
    assert data_of(page)["tracks"][0]["i"] == hostile
    assert not re.search(r"</script>(?!\s*(<script>|</body>))", page)


@given(st.recursive(st.none() | st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists))
def test_data_comes_back_out_of_the_page(value: Any) -> None:
    text = as_json(value)
    assert json.loads(text) == value
    assert "<" not in text


@given(st.lists(st.none() | st.floats(0.0, 1.0), min_size=1, max_size=30), st.data())
def test_a_timeline_has_a_character_for_every_segment(p: list[float | None], data: st.DataObject) -> None:
    heard = data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p)))
    pairs = [(at * STEP_S, one) for at, (one, here) in enumerate(zip(p, heard, strict=True)) if here]
    line = line_of([start for start, _ in pairs], [one for _, one in pairs])
    for at, one in pairs:
        character = line[round(at / STEP_S)]
        if one is None:
            assert character == "."
        else:
            assert abs(int(character, 36) / 35 - one) <= 0.5 / 35 + 1e-9
    assert len([character for character in line if character != "."]) == len(
        [one for _, one in pairs if one is not None]
    )


def test_what_browsers_play_is_linked_from_where_the_page_lies(tmp_path: Path) -> None:
    page = tmp_path / "tags" / "reports" / "r.html"
    assert playable(str(tmp_path / "a b" / "ü#1.mp3"), page) == "../../a%20b/%C3%BC%231.mp3"
    assert playable("https://host/a.mp3", page) == "https://host/a.mp3"
    for uri in ("s3://bucket/a.mp3", str(tmp_path / "x.tar#a.mp3"), str(tmp_path / "a.wma")):
        assert playable(uri, page) is None
    assert playable(str(tmp_path / "a.mp3"), None) is None


def test_the_command_says_where_the_page_is(store: Store, tmp_path: Path) -> None:
    done = command("report", "-w", store.uri, "--out", str(tmp_path / "page.html"), "--grams", "0")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'page.html'}\n"), done.stderr
    assert data_of((tmp_path / "page.html").read_text())["tracks"][0]["a"].startswith("audio/")
    none = command("report", "-w", str(tmp_path / "nowhere"))
    assert none.returncode == 2
    assert "no committed run to report on" in none.stderr
