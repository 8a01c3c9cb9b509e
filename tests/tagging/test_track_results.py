"""What was heard of a track, gathered from its segments in whatever parts they come."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.audio import StreamInfo
from catalog_tagger.tagging.bundle_set import BundleSet, load_bundles
from catalog_tagger.tagging.content import judge
from catalog_tagger.tagging.heard import Heard, Scores, TrackResult, rounded
from catalog_tagger.tagging.tags import track_tags
from catalog_tagger.tagging.voices import judge_voice

INFO = StreamInfo(container="mp3", codec="mp3", sample_rate_hz=44100, channels=2, announced_s=None)
N_SAMPLES = 4 * 80000 + 16000
SECONDS = np.array([5.0, 5.0, 5.0, 5.0, 1.0])


def some_scores(count: int = len(SECONDS), seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    p = rng.random((count, 7), dtype=np.float32)
    embedding = rng.standard_normal((count, 6)).astype(np.float32)
    return Scores(presence=p[:, :2], voices=p[:, 2:4], tags=p[:, 4:], embedding=embedding)


def gathered(scores: Scores, cuts: list[int], bundles: BundleSet) -> TrackResult:
    heard = Heard()
    for start, stop in zip([0, *cuts], [*cuts, len(SECONDS)], strict=True):
        heard.add(scores.part(start, stop))
    return heard.result(INFO, N_SAMPLES, bundles)


@pytest.fixture(scope="module")
def chosen(bundles: tuple[str, ...]) -> BundleSet:
    return load_bundles(bundles)


def test_every_rule_is_given_the_segments_with_their_seconds(chosen: BundleSet) -> None:
    scores = some_scores()
    result = gathered(scores, [], chosen)
    assert (result.duration_s, result.scanned_s) == (21.0, 21.0)
    np.testing.assert_allclose(result.end_s - result.start_s, SECONDS)
    assert scores.presence is not None
    assert scores.voices is not None
    assert scores.tags is not None
    assert result.verdict == judge(scores.presence[:, 0], scores.presence[:, 1], SECONDS)
    # the set holds female second in the bundle's own labels, first in the scores
    assert result.voice == judge_voice(scores.voices[:, 0], scores.voices[:, 1], SECONDS, {"abstain_below": 0.55})
    assert (result.voice_gender, result.voice_gender_confidence) == (result.voice.voice_gender, result.voice.confidence)
    assert result.tags == track_tags(scores.tags, SECONDS, ("dog", "flute", "rain"))


def test_an_embedding_is_the_mean_over_the_seconds(chosen: BundleSet) -> None:
    scores = some_scores()
    result = gathered(scores, [], chosen)
    assert scores.embedding is not None
    assert result.embedding is not None
    assert result.embedding.dtype == np.float32
    mean = SECONDS @ scores.embedding.astype(np.float64) / SECONDS.sum()
    np.testing.assert_allclose(result.embedding, mean, rtol=2**-11)
    one = Heard()
    one.add(scores.part(0, 1))
    np.testing.assert_allclose(one.result(INFO, 16000, chosen).embedding, scores.embedding[0], rtol=2**-11)


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(1, len(SECONDS) - 1), unique=True).map(sorted))
def test_it_does_not_matter_in_what_parts_scores_come(cuts: list[int], chosen: BundleSet) -> None:
    scores = some_scores(seed=3)
    whole, parts = gathered(scores, [], chosen), gathered(scores, cuts, chosen)
    assert (parts.verdict, parts.voice, parts.tags) == (whole.verdict, whole.voice, whole.tags)
    np.testing.assert_allclose(parts.embedding, whole.embedding, rtol=2**-10)
    for name in ("p_speech", "p_music", "p_female"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    assert parts.segments().equals(whole.segments())


def test_female_is_said_of_segments_with_a_voice_alone(chosen: BundleSet) -> None:
    voices = np.array([[0.9, 0.8], [0.9, 0.2], [0.1, 0.5]], np.float32)
    heard = Heard()
    heard.add(Scores(presence=None, voices=voices, tags=None, embedding=None))
    result = heard.result(INFO, 3 * 80000, chosen)
    np.testing.assert_array_equal(result.p_female, np.array([0.9, np.nan, 0.1], np.float32))
    assert (result.verdict, result.content_type, result.p_speech, result.embedding) == (None, None, None, None)
    frame = result.segments()
    assert list(frame.columns) == ["start_s", "end_s", "p_speech", "p_music", "p_female", "tags"]
    assert frame["p_music"].isna().all()
    assert voices[1, 0] == np.float32(0.9), "the scores themselves stay"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False), min_size=1, max_size=20))
def test_rounding_keeps_eleven_bits_and_clears_the_others(values: list[float]) -> None:
    before = np.array(values, np.float32)
    after = rounded(before)
    np.testing.assert_allclose(after, before, rtol=2**-11)
    assert not (after.view(np.uint32) & 0x1FFF).any()
    np.testing.assert_array_equal(rounded(after), after)
    half = np.array([1.0 + 2**-11, 1.0 + 3 * 2**-11], np.float32)  # halfway: to the even neighbour, as half precision
    np.testing.assert_array_equal(rounded(half), half.astype(np.float16).astype(np.float32))
