"""Whose voice a track has: what the verdict may and may not do, whatever the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.tagging.voices import DECISION, VOICE_GENDERS, judge_voice

_FEW = settings(max_examples=40, deadline=None)
_P = st.floats(0, 1, width=32)
_SEGMENTS = st.lists(st.tuples(_P, _P, st.floats(0.01, 5.0)), min_size=1, max_size=40)


def _judge(segments: list[tuple[float, float, float]], **decision: float) -> tuple[str, float]:
    female, voice, seconds = (np.array(column) for column in zip(*segments, strict=True))
    verdict = judge_voice(female.astype(np.float32), voice.astype(np.float32), seconds, decision)
    return verdict.voice_gender, verdict.confidence


@_FEW
@given(_SEGMENTS)
def test_confidence_is_a_probability_of_a_known_answer(segments: list[tuple[float, float, float]]) -> None:
    gender, confidence = _judge(segments)
    assert gender in VOICE_GENDERS
    assert 0.0 <= confidence <= 1.0
    if gender != "unknown":
        assert confidence >= DECISION["abstain_below"]


@_FEW
@given(_SEGMENTS, st.randoms(use_true_random=False))
def test_order_of_segments_does_not_matter(segments: list[tuple[float, float, float]], random: object) -> None:
    shuffled = segments.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    gender, confidence = _judge(segments)
    again, sure = _judge(shuffled)
    assert sure == pytest.approx(confidence, abs=1e-9)
    assert again == gender


@_FEW
@given(_SEGMENTS)
def test_women_and_men_are_judged_alike(segments: list[tuple[float, float, float]]) -> None:
    other = {"female": "male", "male": "female"}
    # scores on the grid of levels themselves fall on one side of it or the other
    segments = [(np.float32(round(64 * female) / 64), voice, seconds) for female, voice, seconds in segments]
    gender, confidence = _judge(segments, abstain_below=0.7)
    swapped, sure = _judge([(1 - female, voice, seconds) for female, voice, seconds in segments], abstain_below=0.7)
    assert sure == pytest.approx(confidence, abs=1e-6)
    if abs(confidence - 0.7) > 1e-6 and abs(confidence - 0.3) > 1e-6:
        assert swapped == other.get(gender, gender)


@_FEW
@given(st.floats(0.72, 0.99), st.floats(0.5, 1.0), st.integers(1, 30))
def test_more_of_the_same_is_surer_but_not_as_sure_as_witnesses_apart(p: float, voice: float, count: int) -> None:
    few, more = _judge([(p, voice, 5.0)] * count), _judge([(p, voice, 5.0)] * (count + 1))
    assert few[0] == more[0] == "female"
    assert more[1] >= few[1]
    odds = p / (1 - p)
    apart = odds ** (count + 1) / (1 + odds ** (count + 1))
    assert more[1] <= max(apart, few[1]) + 1e-6


@_FEW
@given(_P, st.floats(0.5, 1.0), st.floats(0.05, 5.0))
def test_one_segment_has_its_own_probability(p: float, voice: float, seconds: float) -> None:
    gender, confidence = _judge([(p, voice, seconds)], abstain_below=0.5)
    assert gender != "mixed"
    if gender != "unknown":
        assert confidence == pytest.approx(np.clip(max(p, 1 - p), 0.5, 0.999), abs=1e-6)


@_FEW
@given(_SEGMENTS)
def test_nobody_speaks_and_nobody_is_named(segments: list[tuple[float, float, float]]) -> None:
    assert _judge([(female, 0.49 * voice, seconds) for female, voice, seconds in segments])[0] == "unknown"


def test_a_song_with_one_doubtful_segment_has_no_speaker() -> None:
    assert _judge([(0.99, 0.01, 5.0)] * 40 + [(0.99, 0.9, 5.0)])[0] == "unknown"


def test_two_hosts_are_mixed_and_a_slip_is_not() -> None:
    assert _judge([(0.98, 0.99, 5.0), (0.02, 0.99, 5.0)] * 10)[0] == "mixed"
    assert _judge([(0.98, 0.99, 5.0)] * 19 + [(0.02, 0.99, 5.0)])[0] == "female"
    # a short clip whose second segment is judged otherwise
    assert _judge([(0.98, 0.99, 5.0), (0.02, 0.99, 3.0)])[0] != "mixed"


def test_abstains_below_its_threshold() -> None:
    assert _judge([(0.7, 0.99, 5.0)], abstain_below=0.65)[0] == "female"
    assert _judge([(0.7, 0.99, 5.0)], abstain_below=0.75)[0] == "unknown"
