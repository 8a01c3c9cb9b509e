"""The arithmetic between seconds, samples and segments."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog_tagger.audio import (
    BLOCK_S,
    MIN_TAIL_SAMPLES,
    SAMPLE_RATE_HZ,
    SEGMENT_S,
    SEGMENT_SAMPLES,
    cut_segments,
    pcm_to_float,
    seconds_to_samples,
    segment_count,
)

lengths = st.one_of(
    st.integers(0, 4 * SEGMENT_SAMPLES),
    st.builds(lambda k, d: max(0, k * SEGMENT_SAMPLES + d), st.integers(0, 3), st.integers(-2, MIN_TAIL_SAMPLES + 2)),
)


def ramp(n: int) -> np.ndarray:
    return (np.arange(n) % 30000 + 1).astype(np.int16)


def test_the_constants_fit_each_other() -> None:
    assert SEGMENT_S * SAMPLE_RATE_HZ == SEGMENT_SAMPLES
    assert seconds_to_samples(0.25) == MIN_TAIL_SAMPLES
    assert BLOCK_S % SEGMENT_S == 0, "a block must hold whole segments, or segments would straddle blocks"


@given(st.floats(0, 1e6))
def test_seconds_become_the_nearest_sample(seconds: float) -> None:
    exact = Fraction(seconds) * SAMPLE_RATE_HZ
    # a float product may round a value just under a half up to it
    assert abs(seconds_to_samples(seconds) - exact) <= Fraction(1, 2) + Fraction(1, 10**4)


@given(st.integers(0, 10**12))
def test_samples_to_seconds_and_back_is_the_identity(n: int) -> None:
    assert seconds_to_samples(n / SAMPLE_RATE_HZ) == n


@pytest.mark.parametrize(("samples", "expected"), [(0.5, 1), (1.5, 2), (2.5, 3), (0.49, 0), (-0.5, 0)])
def test_halves_are_rounded_up_always(samples: float, expected: int) -> None:
    assert seconds_to_samples(samples / SAMPLE_RATE_HZ) == expected


@given(lengths, st.booleans())
def test_segment_count_is_the_rule_of_the_docstring(n: int, continued: bool) -> None:
    whole, tail = floor(n / SEGMENT_SAMPLES), n % SEGMENT_SAMPLES
    first_of_all = whole == 0 and not continued
    assert segment_count(n, continued=continued) == whole + (1 if tail >= 4000 or (tail > 0 and first_of_all) else 0)


@given(lengths)
def test_any_sound_at_all_has_a_segment_and_none_has_none(n: int) -> None:
    assert (segment_count(n) > 0) == (n > 0)


@given(lengths, st.booleans())
def test_cut_segments_keeps_the_samples_in_order_and_pads_with_zeros(n: int, continued: bool) -> None:
    pcm = ramp(n)
    cut = cut_segments(pcm, continued=continued)
    assert cut.shape == (segment_count(n, continued=continued), SEGMENT_SAMPLES)
    assert cut.dtype == np.int16
    flat = cut.reshape(-1)
    kept = min(n, len(flat))
    np.testing.assert_array_equal(flat[:kept], pcm[:kept])
    assert not flat[kept:].any()
    assert n - kept < MIN_TAIL_SAMPLES, "only a short tail may be dropped"


@given(st.integers(1, 10 * SEGMENT_SAMPLES), st.integers(1, 4))
def test_cutting_blocks_one_after_the_other_is_cutting_the_whole(n: int, block_segments: int) -> None:
    pcm = ramp(n)
    size = block_segments * SEGMENT_SAMPLES
    parts = [cut_segments(pcm[at : at + size], continued=at > 0) for at in range(0, n, size)]
    np.testing.assert_array_equal(np.concatenate(parts), cut_segments(pcm))


@given(st.lists(st.integers(-32768, 32767), min_size=1))
def test_floats_are_the_integers_over_32768_exactly(values: list[int]) -> None:
    pcm = np.array(values, dtype=np.int16)
    floats = pcm_to_float(pcm)
    assert floats.dtype == np.float32
    assert floats.min() >= -1.0
    assert floats.max() < 1.0
    np.testing.assert_array_equal(floats.astype(np.float64) * 32768.0, pcm)
