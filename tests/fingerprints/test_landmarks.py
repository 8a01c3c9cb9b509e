"""Keys of landmarks say how three peaks lie to one another, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.fingerprints.landmarks import (
    BINS,
    REACH_BINS,
    REACH_FRAMES,
    SEGMENT_FRAMES,
    Peaks,
    landmarks_of,
    peaks_of,
)

PEAKS = st.lists(st.tuples(st.integers(0, 300), st.integers(8, BINS - 9)), min_size=0, max_size=120, unique=True)


def _peaks(places: list[tuple[int, int]], *, later: float = 0.0, higher: int = 0) -> Peaks:
    places = sorted(places)
    frame = np.array([frame for frame, _ in places], np.float64) + later
    return Peaks(frame=frame, bin=np.array([bin_ for _, bin_ in places], np.int64) + higher)


def _told(key: int) -> tuple[tuple[int, int], tuple[int, int], int]:
    near = key >> 25, (key >> 14 & 63) - 32
    other = key >> 20 & 31, (key >> 8 & 63) - 32
    return near, other, (key & 255) - 8


@settings(max_examples=60, deadline=None)
@given(PEAKS, st.integers(1, 12))
def test_a_key_names_three_peaks_that_are_there(places: list[tuple[int, int]], fan: int) -> None:
    peaks = _peaks(places)
    landmarks = landmarks_of(peaks, fan=fan)
    there = set(places)
    for key, frame, bin_ in zip(landmarks.key, landmarks.frame, landmarks.bin, strict=True):
        near, other, anchor = _told(int(key))
        assert anchor == bin_
        assert near <= other
        for frames, bins in (near, other):
            assert (int(frame) + frames, anchor + bins) in there
            assert 2 <= frames < REACH_FRAMES
            assert abs(bins) <= REACH_BINS
    anchors = list(zip(landmarks.frame, landmarks.bin, strict=True))
    assert all(anchors.count(one) <= fan * (fan - 1) // 2 for one in set(anchors))


@settings(max_examples=60, deadline=None)
@given(PEAKS, st.integers(-8, 8), st.floats(0, 5000))
def test_a_transposition_moves_a_key_by_its_bins_and_time_does_not(
    places: list[tuple[int, int]], higher: int, later: float
) -> None:
    plain = landmarks_of(_peaks(places), fan=4)
    moved = landmarks_of(_peaks(places, later=round(later), higher=higher), fan=4)
    assert (moved.key.astype(np.int64) - plain.key.astype(np.int64) == higher).all()
    np.testing.assert_allclose(moved.frame - plain.frame, round(later), atol=1e-3)


def test_long_recordings_have_the_landmarks_of_their_parts() -> None:
    rng = np.random.default_rng(4)
    frame = np.sort(rng.uniform(0, 20_000, 70_000))
    peaks = Peaks(frame=frame, bin=rng.integers(0, BINS, len(frame)))
    landmarks = landmarks_of(peaks, fan=3)
    part = landmarks_of(Peaks(frame=frame[:40_000], bin=peaks.bin[:40_000]), fan=3)
    whole = landmarks.key[landmarks.frame < frame[39_000]]
    np.testing.assert_array_equal(whole, part.key[part.frame < frame[39_000]])


def test_codes_of_segments_are_placed_in_the_recording() -> None:
    codes = np.array([[5 * BINS + 7, 2 * BINS + 9, -1], [3 * BINS, -1, -1]], np.int16)
    peaks = peaks_of(codes, first=2)
    np.testing.assert_allclose(peaks.frame, [2 * SEGMENT_FRAMES + 2, 2 * SEGMENT_FRAMES + 5, 3 * SEGMENT_FRAMES + 3])
    assert peaks.bin.tolist() == [9, 7, 0]
    assert len(peaks_of(np.zeros((0, 3), np.int16))) == 0


def test_peaks_without_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="need a bin each"):
        Peaks(frame=np.zeros(3), bin=np.zeros(2, np.int64))
