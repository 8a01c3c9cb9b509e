"""Peaks are what they are said to be, whatever the gram."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.fingerprints.peaks import NO_PEAK, SHOW_PEAKS, SONG_PEAKS, listed, pick_peaks


def _gram(seed: int, frames: int, bins: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 12, (2, frames, bins)).astype(np.float32))


def _mean_around(gram: torch.Tensor, frame: int, bin_: int) -> float:
    return float(gram[max(0, frame - 10) : frame + 11, max(0, bin_ - 12) : bin_ + 13].mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 50))
def test_a_peak_is_the_greatest_near_it_and_the_prominent_come_first(seed: int, frames: int, bins: int) -> None:
    gram = _gram(seed, frames, bins)
    for one, codes in zip(gram, pick_peaks(gram, most=500), strict=True):
        found = [divmod(int(code), bins) for code in codes if code != NO_PEAK]
        assert len(set(found)) == len(found)
        assert list(codes[len(found) :]) == [NO_PEAK] * (500 - len(found))
        near = {
            (frame, bin_): float(one[max(0, frame - 2) : frame + 3, max(0, bin_ - 2) : bin_ + 3].max())
            for frame in range(1, frames - 1)
            for bin_ in range(bins)
        }
        wanted = {place for place, greatest in near.items() if one[place] == greatest and greatest > 1.0}
        assert set(found) == wanted
        prominence = [float(one[place]) - _mean_around(one, *place) for place in found]
        assert all(one >= other - 1e-4 for one, other in pairwise(prominence))


def test_what_a_song_is_known_by_is_the_strongest_of_what_a_show_has() -> None:
    gram = _gram(3, 216, 144)
    assert torch.equal(pick_peaks(gram, most=SONG_PEAKS), pick_peaks(gram)[:, :SONG_PEAKS])
    assert pick_peaks(gram).shape == (2, SHOW_PEAKS)


def test_silence_has_no_peaks() -> None:
    assert bool((pick_peaks(torch.zeros(1, 216, 144)) == NO_PEAK).all())


def test_grams_whose_codes_would_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="300 frames of 144 bins do not fit"):
        pick_peaks(torch.zeros(1, 300, 144))


@given(st.integers(0, 2**32 - 1), st.lists(st.booleans(), min_size=3, max_size=3))
def test_lists_hold_the_strongest_first_and_each_part_in_order_of_time(seed: int, every: list[bool]) -> None:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.permutation(1 << 15)[:SHOW_PEAKS] for _ in range(3)]).astype(np.int16)
    counts = rng.integers(0, SHOW_PEAKS + 1, 3)
    for row, count in zip(codes, counts, strict=True):
        row[count:] = NO_PEAK
    values, offsets = listed(codes, every=np.array(every))
    for row, count, start, end, kept in zip(codes, counts, offsets, offsets[1:], every, strict=False):
        found = values[start:end]
        assert sorted(row[: min(count, SONG_PEAKS)]) == list(found[:SONG_PEAKS])
        assert sorted(row[SONG_PEAKS : max(count, SONG_PEAKS)] if kept else []) == list(found[SONG_PEAKS:])
