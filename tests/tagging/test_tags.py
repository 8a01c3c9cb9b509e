"""From segment scores to tags: the arithmetic, and what is left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from catalog_tagger.tables.schemas import TAG_LIST
from catalog_tagger.tagging.tags import SEGMENT_FLOOR, SEGMENT_MOST, TRACK_FLOOR, segment_tags, track_tags

TAGS = tuple("abcdefghijkl")
scores = hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(len(TAGS))), elements=st.floats(0, 1, width=32))


def test_a_tag_of_a_track_is_the_share_it_is_expected_in() -> None:
    p = np.array([[1.0, 0.0, 0.004], [0.5, 0.2, 0.004], [0.0, 0.2, 0.004]], np.float32)
    found = track_tags(p, np.array([5.0, 5.0, 2.5]), ("dog", "rain", "flute"))
    assert list(found) == ["dog", "rain"], "the greatest first, and what is hardly there not at all"
    assert found["dog"] == pytest.approx((5 + 2.5) / 12.5)
    assert found["rain"] == pytest.approx(0.2 * 7.5 / 12.5)


@settings(deadline=None)
@given(p=scores, last_s=st.floats(0.01, 5))
def test_tags_of_a_track_are_bounded_by_its_segments_and_sorted(p: np.ndarray, last_s: float) -> None:
    seconds = np.array([*[5.0] * (len(p) - 1), last_s])
    found = track_tags(p, seconds, TAGS)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    for i, tag in enumerate(TAGS):
        least, most = p[:, i].min(), p[:, i].max()
        assert least - 1e-6 <= found.get(tag, 0.0) or least < TRACK_FLOOR + 1e-6
        assert found.get(tag, 0.0) <= most + 1e-6
    assert all(score >= TRACK_FLOOR for score in found.values())


@settings(deadline=None)
@given(p=scores)
def test_a_segment_keeps_its_likeliest_tags(p: np.ndarray) -> None:
    rows = segment_tags(p, TAGS)
    assert rows.type == TAG_LIST
    assert len(rows) == len(p)
    for values, row in zip(p, rows.to_pylist(), strict=True):
        kept = {entry["tag"]: entry["score"] for entry in row}
        assert list(kept.values()) == sorted(kept.values(), reverse=True)
        assert len(kept) == min(SEGMENT_MOST, int((np.round(values.astype(np.float64) * 100) >= 10).sum()))
        for tag, score in kept.items():
            assert score == pytest.approx(values[TAGS.index(tag)], abs=0.005 + 1e-6)
            assert score >= np.float32(SEGMENT_FLOOR)
        left_out = [value for tag, value in zip(TAGS, values, strict=True) if tag not in kept]
        if len(kept) == SEGMENT_MOST:
            assert max(left_out) <= min(values[TAGS.index(tag)] for tag in kept)
        else:
            assert all(value < SEGMENT_FLOOR + 1e-6 for value in left_out)


def test_scores_of_segments_take_few_values_so_that_their_column_compresses() -> None:
    p = np.random.default_rng(0).random((500, len(TAGS)), dtype=np.float32)
    kept = {entry["score"] for row in segment_tags(p, TAGS).to_pylist() for entry in row}
    assert len(kept) <= 91
    assert 0.87 in {round(score, 6) for score in kept}
