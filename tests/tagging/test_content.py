"""From segment scores to what a track is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.tagging.content import CONTENT_TYPES, MIXTURES, Verdict, judge

probabilities = st.floats(0, 1, width=32)
tracks = st.lists(st.tuples(probabilities, probabilities, st.floats(0.01, 5.0)), min_size=1, max_size=12)


def verdict(rows: list[tuple[float, float, float]]) -> Verdict:
    speech, music, seconds = (np.array(column) for column in zip(*rows, strict=True))
    return judge(speech.astype(np.float32), music.astype(np.float32), seconds)


@given(tracks)
def test_fractions_and_confidence_are_shares(rows: list[tuple[float, float, float]]) -> None:
    result = verdict(rows)
    assert -1e-9 <= result.speech_fraction <= 1 + 1e-9
    assert -1e-9 <= result.music_fraction <= 1 + 1e-9
    assert 0.25 <= result.content_confidence <= 1, "the most probable of four is at least a quarter"
    assert result.content_type in CONTENT_TYPES
    assert all(isinstance(value, (float, str, dict)) for value in vars(result).values())
    types = {kind: result.content_probabilities[kind] for kind in CONTENT_TYPES}
    assert sum(types.values()) == pytest.approx(1.0)
    assert max(types.values()) == result.content_confidence
    parts = sum(result.content_probabilities[part] for part in MIXTURES)
    assert parts <= types["mixed"] + 1e-9


@given(tracks)
def test_fractions_are_the_seconds_at_or_above_one_half(rows: list[tuple[float, float, float]]) -> None:
    result = verdict(rows)
    total = sum(seconds for _, _, seconds in rows)
    assert result.speech_fraction == pytest.approx(sum(s for p, _, s in rows if p >= 0.5) / total)
    assert result.music_fraction == pytest.approx(sum(s for _, p, s in rows if p >= 0.5) / total)


@given(tracks)
def test_speech_and_music_are_treated_alike(rows: list[tuple[float, float, float]]) -> None:
    one, other = verdict(rows), verdict([(music, speech, seconds) for speech, music, seconds in rows])
    assert one.speech_fraction == pytest.approx(other.music_fraction)
    assert one.content_confidence == pytest.approx(other.content_confidence)
    if one.content_confidence > 0.5:  # else two types may tie
        swapped = {"speech": "music", "music": "speech"}
        assert other.content_type == swapped.get(one.content_type, one.content_type)


@given(tracks, st.randoms())
def test_the_order_of_segments_does_not_matter(rows: list[tuple[float, float, float]], dice: object) -> None:
    shuffled = list(rows)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = verdict(rows), verdict(shuffled)
    assert one.content_confidence == pytest.approx(other.content_confidence, abs=0.05)
    assert one.music_fraction == pytest.approx(other.music_fraction)


@given(tracks, st.data())
def test_more_speech_never_makes_less_of_it(rows: list[tuple[float, float, float]], data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(rows) - 1))
    raised = list(rows)
    raised[i] = (data.draw(st.floats(rows[i][0], 1, width=32)), *rows[i][1:])
    before, after = verdict(rows), verdict(raised)
    assert after.speech_fraction >= before.speech_fraction - 1e-9
    assert after.music_fraction == before.music_fraction
    if before.content_type == "speech":
        assert after.content_type in ("speech", "mixed") or after.content_confidence < 0.5


@given(st.floats(0.01, 5.0), st.floats(0.03125, 0.96875, width=32), st.floats(0.03125, 0.96875, width=32))
def test_of_one_segment_the_type_is_the_likeliest_of_four(seconds: float, speech: float, music: float) -> None:
    result = verdict([(speech, music, seconds)])
    expected = {
        "speech": speech * (1 - music),
        "music": music * (1 - speech),
        "mixed": speech * music,
        "other": (1 - speech) * (1 - music),
    }
    assert result.content_confidence == pytest.approx(max(expected.values()), abs=0.04)
    assert expected[result.content_type] == pytest.approx(max(expected.values()), abs=0.04)


@pytest.mark.parametrize("n", [1, 2, 50, 1000])
def test_undecided_scores_give_low_confidence_however_many_there_are(n: int) -> None:
    assert verdict([(0.5, 0.5, 5.0)] * n).content_confidence < 0.35
    assert verdict([(0.5, 0.999, 5.0)] * n).content_confidence == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("speech_s", "music_s", "rest_s", "expected"),
    [
        (300, 0, 0, "speech"),
        (0, 300, 0, "music"),
        (0, 0, 300, "other"),
        (290, 0, 10, "speech"),
        (15, 0, 285, "other"),
        (35, 0, 265, "speech"),
        (30, 270, 0, "music"),
        (65, 235, 0, "mixed"),
        (55, 245, 0, "music"),
        (150, 150, 0, "mixed"),
        (270, 30, 0, "speech"),
    ],
)
def test_shows_and_songs_of_sure_scores_are_what_they_are(
    speech_s: int, music_s: int, rest_s: int, expected: str
) -> None:
    rows = [(0.99, 0.01, 5.0)] * (speech_s // 5) + [(0.01, 0.99, 5.0)] * (music_s // 5)
    rows += [(0.01, 0.01, 5.0)] * (rest_s // 5)
    result = verdict(rows)
    assert result.content_type == expected
    assert result.content_confidence > 0.9


@pytest.mark.parametrize(
    ("speech", "music", "together", "part"),
    [(20, 8, 0, "speech_led"), (8, 20, 0, "music_led"), (14, 14, 0, "by_turns"), (14, 0, 14, "speech_led")],
)
def test_a_mixed_track_is_told_by_what_of_it_is_one_of_the_two_alone(
    speech: int, music: int, together: int, part: str
) -> None:
    rows = [(0.99, 0.01, 5.0)] * speech + [(0.01, 0.99, 5.0)] * music + [(0.98, 0.98, 5.0)] * together
    result = verdict(rows)
    assert result.content_type == "mixed"
    assert result.content_probabilities[part] > 0.9


def test_speech_over_music_is_mixed() -> None:
    result = verdict([(0.97, 0.95, 5.0)] * 10)
    assert result.content_type == "mixed"
    assert all(result.content_probabilities[part] < 0.1 for part in MIXTURES)
    assert (result.speech_fraction, result.music_fraction) == pytest.approx((1.0, 1.0))


def test_a_short_tail_weighs_by_its_seconds() -> None:
    result = verdict([(0.99, 0.01, 5.0), (0.01, 0.99, 0.5)])
    assert result.music_fraction == pytest.approx(0.5 / 5.5)
    assert result.content_type == "speech"
