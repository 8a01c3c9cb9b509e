"""The reference is `librosa`'s folding of its own constant-Q transform."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.chroma import Chroma, ChromaMFCC
from catalog_tagger.frontends.mfcc import MFCC, slope_in_time

RATE_HZ = 16000
CHROMA = Chroma()


def tone(hertz: float, n_samples: int = 16000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(n_samples) / RATE_HZ)[None]


def test_agrees_with_librosa_on_a_chord_in_noise() -> None:
    rng = np.random.default_rng(0)
    time_s = np.arange(40000) / RATE_HZ
    signal = sum(np.sin(2 * np.pi * hertz * time_s) for hertz in (110.0, 277.2, 659.3, 1760.0))
    signal = (0.2 * signal + 0.01 * rng.standard_normal(time_s.size)).astype(np.float32)
    values = CHROMA(torch.from_numpy(signal)[None])[0].numpy()
    magnitudes = np.abs(
        librosa.cqt(
            signal.astype(np.float64),
            sr=RATE_HZ,
            hop_length=743,
            fmin=73.42,
            n_bins=216,
            bins_per_octave=36,
            sparsity=0,
            dtype=np.complex128,
        )
    )
    wanted = librosa.feature.chroma_cqt(C=magnitudes, fmin=73.42, bins_per_octave=36, norm=np.inf, threshold=0.0).T
    np.testing.assert_allclose(values, wanted, atol=2e-3)


def test_a_note_is_its_class_in_every_octave() -> None:
    notes = torch.cat([tone(440.0 * 2.0 ** ((midi - 69) / 12.0)) for midi in range(60, 96)])
    classes = CHROMA(notes)[:, 5:-5].argmax(dim=2)
    assert (classes == torch.arange(36)[:, None] % 12).all()


@given(cents=st.floats(-35.0, 35.0), midi=st.integers(50, 90))
@settings(max_examples=10, deadline=None)
def test_a_note_out_of_tune_keeps_its_class(cents: float, midi: int) -> None:
    hertz = 440.0 * 2.0 ** ((midi - 69 + cents / 100.0) / 12.0)
    assert (CHROMA(tone(hertz))[0, 5:-5].argmax(dim=1) == midi % 12).all()


def test_the_largest_class_is_one_and_silence_is_zero() -> None:
    both = torch.cat([tone(440.0), torch.zeros(1, 16000)])
    values = CHROMA(both)
    torch.testing.assert_close(values[0].amax(dim=1), torch.ones(values.shape[1]))
    assert (values[1] == 0).all()


def test_the_aggregate_holds_its_parts_as_maps() -> None:
    waveform = 0.1 * torch.randn(2, 80000, generator=torch.Generator().manual_seed(0))
    values = ChromaMFCC()(waveform)
    assert values.shape == (2, 3, 108, 12)
    torch.testing.assert_close(values[:, 0], CHROMA(waveform))
    torch.testing.assert_close(values[:, 1], MFCC()(waveform))
    torch.testing.assert_close(values[:, 2], slope_in_time(values[:, 1]))
    torch.testing.assert_close(ChromaMFCC(delta=False)(waveform), values[:, :2])


@pytest.mark.parametrize("n_samples", [0, 1, 742, 743, 8000])
@pytest.mark.parametrize("batch", [0, 2])
def test_any_length_and_batch_has_its_shape(n_samples: int, batch: int) -> None:
    module = ChromaMFCC()
    out = module(torch.rand(batch, n_samples, dtype=torch.float64))
    assert out.shape == (batch, 3, 1 + n_samples // 743, 12)
    assert out.shape[2] == module.n_frames(n_samples)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("bins_per_octave", [24, 40, 12 * 4])
def test_bins_without_one_in_the_middle_of_a_semitone_are_refused(bins_per_octave: int) -> None:
    with pytest.raises(UsageError, match=f"odd multiple of 12, not {bins_per_octave}"):
        Chroma(bins_per_octave=bins_per_octave)
