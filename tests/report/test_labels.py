"""Stretches are those of the segments, and every format gives them back."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.report.labels import FORMATS, audacity, file_name, rttm, textgrid
from catalog_tagger.report.timeline import Stretch, Timeline, stretches

SCORES = st.one_of(st.none(), st.floats(0.0, 1.0, width=32))


def segment(at: int, *, speech: float | None = 0.0, music: float | None = 0.0, **more: Any) -> dict[str, Any]:
    return {
        "start_s": 5.0 * at,
        "end_s": 5.0 * at + 5.0,
        "p_speech": speech,
        "p_music": music,
        "p_female": None,
        "tags": None,
        **more,
    }


@given(st.lists(st.tuples(SCORES, SCORES, st.booleans()), max_size=40))
def test_stretches_cover_what_is_heard_and_nothing_else(rows: list[tuple[float | None, float | None, bool]]) -> None:
    segments = [segment(at, speech=p, music=q) for at, (p, q, heard) in enumerate(rows) if heard]
    found = stretches(segments)
    for label, column in (("speech", "p_speech"), ("music", "p_music")):
        own = [one for one in found if one.label == label]
        covered = {at for one in own for at in range(round(one.start_s / 5), round(one.end_s / 5))}
        assert covered == {
            round(row["start_s"] / 5) for row in segments if row[column] is not None and row[column] >= 0.5
        }
        assert all(one.score is not None and 0.5 <= one.score <= 1.0 for one in own)
        assert all(before.end_s < after.start_s for before, after in pairwise(own))


def test_voices_and_tags_have_stretches_of_their_own() -> None:
    rain = [{"tag": "rain", "score": 0.75}, {"tag": "speech", "score": 0.9}, {"tag": "dog", "score": 0.25}]
    found = stretches([segment(0, speech=0.75, p_female=0.25, tags=rain), segment(1, speech=0.5, p_female=0.75)])
    assert found == [
        Stretch("speech", 0.0, 10.0, 0.625),
        Stretch("female", 5.0, 10.0, 0.75),
        Stretch("male", 0.0, 5.0, 0.75),
        Stretch("rain", 0.0, 5.0, 0.75),
    ]


LINE = Timeline(
    track_id='shows/a "b" c.mp3',
    uri="/audio/a.mp3",
    duration_s=31.5,
    scanned_s=31.5,
    content_type="mixed",
    heard=(Stretch("speech", 0.0, 10.0, 0.9), Stretch("speech", 20.0, 31.5, 0.8), Stretch("music", 5.0, 20.0, 0.7)),
    songs=(Stretch('The "Song"', 6.25, 15.0, None), Stretch("other", 14.0, 19.0, None)),
)


def test_audacity_has_a_line_per_stretch_in_order_of_time() -> None:
    rows = [line.split("\t") for line in audacity(LINE).splitlines()]
    assert [row[2] for row in rows] == ["speech", "music", 'song:The "Song"', "song:other", "speech"]
    assert [float(number) for number in rows[2][:2]] == [6.25, 15.0]


def test_textgrid_covers_the_track_tier_by_tier() -> None:
    text = textgrid(LINE)
    tiers = text.split("    item [")[2:] if text.count("    item [") > 3 else text.split("    item [")[1:]
    found = {}
    for tier in tiers:
        name = re.search(r'name = "(.*)"', tier)
        intervals = re.findall(r'xmin = (\S+)\n\s+xmax = (\S+)\n\s+text = "(.*)"', tier)
        assert name is not None
        found[name[1]] = [(float(a), float(b), label.replace('""', '"')) for a, b, label in intervals]
        assert f"intervals: size = {len(intervals)}\n" in tier
    assert list(found) == ["speech", "music", "songs"]
    for intervals in found.values():
        assert intervals[0][0] == 0.0
        assert intervals[-1][1] == 31.5
        assert all(before[1] == after[0] for before, after in pairwise(intervals))
    assert [one for one in found["speech"] if one[2]] == [(0.0, 10.0, "speech"), (20.0, 31.5, "speech")]
    assert [one for one in found["songs"] if one[2]] == [(6.25, 14.0, 'The "Song"'), (14.0, 19.0, "other")]


def test_rttm_has_ten_fields_whatever_the_names() -> None:
    rows = [line.split(" ") for line in rttm(LINE).splitlines()]
    assert all(len(row) == 10 and row[0] == "SPEAKER" for row in rows)
    assert {row[1] for row in rows} == {"shows/a%20%22b%22%20c.mp3"}
    assert [(row[7], float(row[3]), float(row[4])) for row in rows][:2] == [("speech", 0.0, 10.0), ("music", 5.0, 15.0)]


def test_json_has_all_of_it() -> None:
    found = json.loads(FORMATS["json"][1](LINE))
    assert found["heard"][0] == {"label": "speech", "start_s": 0.0, "end_s": 10.0, "score": 0.9}
    assert found["songs"][0]["label"] == 'The "Song"'


@pytest.mark.parametrize("write", [write for _, write in FORMATS.values()], ids=list(FORMATS))
def test_a_track_in_which_nothing_is_heard_has_a_file_too(write: Any) -> None:
    empty = Timeline(track_id="t", uri="", duration_s=4.0, scanned_s=4.0, content_type="other", heard=())
    assert isinstance(write(empty), str)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_names_of_files_are_safe_and_each_track_has_its_own(one: str, other: str) -> None:
    name = file_name(one, ".txt")
    assert "/" not in name
    assert not name.startswith(".")
    assert len(name.encode()) <= 255
    assert (name == file_name(other, ".txt")) == (one == other)
