"""Chroma, and the aggregates of chroma with cepstral coefficients.

Defaults are those of speech/music on a streaming catalogue, Table 4.2 (6 octaves from 73.42 Hz, 36
bins per octave), with the 108 frames in 5 s of Table 4.6. The table also gives a window of 64 ms;
semitones at 73 Hz are 4 Hz apart, which takes a window four times as long at least, so ours are the
constant-Q kernels whole.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from catalog_tagger.errors import UsageError
from catalog_tagger.frontends.cqt import CQT
from catalog_tagger.frontends.mfcc import MFCC, slope_in_time

_PITCH_CLASSES = 12
_C0_HZ = 440.0 * 2.0 ** (-57.0 / 12.0)
_SILENCE = 1e-6


class Chroma(nn.Module):
    """How strong each of the twelve pitch classes is, over all octaves.

    Magnitudes of a constant-Q transform are added over octaves, and over the bins that are nearest
    to each semitone; each frame is divided by its largest class. Class 0 is C. Frames of silence
    are zeros.

    Parameters
    ----------
    sample_rate_hz
        Rate of the input.
    f_min_hz, n_octaves, bins_per_octave
        The constant-Q transform; `bins_per_octave` an odd multiple of 12, so that semitones have a
        bin in their middle, and `f_min_hz` a note of the tempered scale (A = 440 Hz).
    hop_samples
        Distance of frames; frame ``n`` is centred on sample ``n * hop_samples``.

    Raises
    ------
    UsageError
        Parameters outside the ranges above, or that `CQT` refuses.
    """

    def __init__(
        self,
        *,
        sample_rate_hz: int = 16000,
        f_min_hz: float = 73.42,
        n_octaves: int = 6,
        bins_per_octave: int = 36,
        hop_samples: int = 743,
    ) -> None:
        super().__init__()
        self.per_semitone, left = divmod(bins_per_octave, _PITCH_CLASSES)
        if left or self.per_semitone % 2 == 0:
            raise UsageError(f"chroma: bins_per_octave must be an odd multiple of 12, not {bins_per_octave}")
        self.cqt = CQT(
            sample_rate_hz=sample_rate_hz,
            f_min_hz=f_min_hz,
            n_octaves=n_octaves,
            bins_per_octave=bins_per_octave,
            hop_samples=hop_samples,
            compression=0.0,
        )
        self.n_bins = _PITCH_CLASSES
        self.first_class = round(12.0 * math.log2(f_min_hz / _C0_HZ)) % _PITCH_CLASSES

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of `n_samples` samples: ``1 + n_samples // hop_samples``."""
        return self.cqt.n_frames(n_samples)

    def forward(self, waveform: Tensor) -> Tensor:
        """Chroma of `waveform`, (batch, samples) to (batch, frames, 12), float32 in [0, 1].

        (batch, 108, 12) for 5 s at the defaults.
        """
        magnitudes = cast(Tensor, self.cqt(waveform))
        batch, frames, _ = magnitudes.shape
        octaves = magnitudes.reshape(batch, frames, self.cqt.n_octaves, self.cqt.bins_per_octave)
        # A semitone's bins lie on both sides of it: those just under the first note end the octave.
        near = octaves.sum(dim=2).roll(self.per_semitone // 2, dims=2)
        semitones = near.reshape(batch, frames, _PITCH_CLASSES, self.per_semitone).sum(dim=3)
        classes = semitones.roll(self.first_class, dims=2)
        largest = classes.amax(dim=2, keepdim=True)
        return torch.where(largest > _SILENCE, classes / largest.clamp_min(_SILENCE), 0.0)


class ChromaMFCC(nn.Module):
    """Chroma and cepstral coefficients as maps of one tensor (Table 4.2, "(C)+(M)" and "(C)+(M)+Δ(M)").

    Parameters
    ----------
    sample_rate_hz, hop_samples
        Rate of the input and distance of frames, of both.
    delta
        Also the slope of the coefficients in time, as a third map.
    """

    def __init__(self, *, sample_rate_hz: int = 16000, hop_samples: int = 743, delta: bool = True) -> None:
        super().__init__()
        self.chroma = Chroma(sample_rate_hz=sample_rate_hz, hop_samples=hop_samples)
        self.mfcc = MFCC(sample_rate_hz=sample_rate_hz, hop_samples=hop_samples)
        self.delta = delta
        self.n_bins = self.chroma.n_bins

    def n_frames(self, n_samples: int) -> int:
        """Frames of a waveform of `n_samples` samples: ``1 + n_samples // hop_samples``."""
        return self.mfcc.n_frames(n_samples)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) to (batch, maps, frames, 12), float32; 3 maps with the slope, else 2."""
        coefficients = cast(Tensor, self.mfcc(waveform))
        maps = [cast(Tensor, self.chroma(waveform)), coefficients]
        if self.delta:
            maps.append(slope_in_time(coefficients))
        return torch.stack(maps, dim=1)
